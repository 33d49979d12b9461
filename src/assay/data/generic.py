"""Generic texts that training has nothing to do with: read as they are, to see what a model has forgotten."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from assay.core.records import Item, item_id
from assay.data.arrow import turns_of
from assay.data.clean import Cleaner
from assay.data.excerpts import excerpts
from assay.data.intake import Settings, gather
from assay.data.sources import locate

GROUPS, GROUP_BYTES = 24, 2000  # of a source, at most; enough for an interval, and soon scored

_AS_THEY_ARE = Settings(
    format="auto", fields={}, template=None, system_prompt=None, group=None, stratify=None, chunk_by=None,
    chunk_bytes=0, overlap_bytes=0, cleaner=Cleaner(), min_bytes=None, max_bytes=None, max_rows=None, max_bad_rows=0.0,
)  # fmt: skip


def generic_items(spec: str, *, seed: int, cache: Path) -> list[Item]:
    """Seeded excerpts of a source's groups: at most 24 of them, and of each at most 2,000 bytes.

    Args:
        spec: a source as in `data.source`; files are groups where there are three or more, else headings or blocks.
        seed: of the choice.
        cache: where downloads are kept.

    Raises:
        InputError: it is missing or unreadable.
    """
    files = [(file, "") for file in locate([spec], sha256=None, cache=cache).files]
    with TemporaryDirectory() as folder:
        gathered = gather(files, _AS_THEY_ARE, Path(folder))
        names = list(gathered.groups)
        found: list[Item] = []
        for batch in gathered.spill.batches():
            contents = zip(batch.column("text").to_pylist(), turns_of(batch.column("turns")), strict=True)
            for text, turns in contents:
                number = len(found)
                group = names[gathered.group[number]]
                found.append(Item(item_id(group, gathered.digest(number).hex()), group, text, turns))
    groups = sorted({item.group for item in found}, key=lambda group: item_id(str(seed), group))[:GROUPS]
    chosen = [item for item in found if item.group in groups]
    return excerpts(chosen, GROUP_BYTES, seed=seed)
