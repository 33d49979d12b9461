"""Texts that were generated, kept until the table is written: `assay decode` after a kill goes on with them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assay.core.errors import InputError
from assay.core.files import read_json, sha256_json, write_json
from assay.model.generate import Generation

Made = tuple[list[Generation], dict[str, Any]]  # texts, and what they cost


@dataclass(frozen=True)
class Kept:
    """A folder with one file for each setting on a set of prompts.

    Args:
        folder: where they lie; made when the first is kept.
        about: all that decides a text beside what is asked: weights, device, number format, libraries.
    """

    folder: Path
    about: Mapping[str, Any]

    def once(self, asked: Mapping[str, Any], make: Callable[[], Made]) -> Made:
        """The texts of what is `asked`, made where they are not kept, or no longer whole."""
        file = self.folder / f"{sha256_json({**self.about, **asked})[:16]}.json"
        with suppress(InputError):  # missing or damaged
            known = read_json(file)
            return [Generation(**one | {"ids": tuple(one["ids"])}) for one in known["texts"]], known["cost"]
        texts, cost = make()
        write_json(file, {"texts": [asdict(one) for one in texts], "cost": cost})
        return texts, cost

    def forget(self) -> None:
        """Remove them: the table holds what they said."""
        shutil.rmtree(self.folder, ignore_errors=True)
