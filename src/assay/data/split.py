"""From documents to items in groups, and from groups to the splits train, dev and test.

The group is the independent unit (a play, a chapter, a conversation): texts of one group never
stand on both sides of a split. Splitting knows no tokenizer.
"""

from __future__ import annotations

import difflib
import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

from assay.core.errors import InputError
from assay.core.files import sha256_text
from assay.data.formats import Document
from assay.data.items import Item
from assay.data.segment import blocks, compiled, detect_heading, paragraphs, sections

__all__ = ["GroupRule", "Item", "make_items", "split_groups"]

GroupRule = str | Mapping[str, Any] | None
SPLITS = ("train", "dev", "test")
_BLOCKS = 40
_Pieces = list[tuple[str, str]]  # group and text, in order


def make_items(docs: Sequence[Document], group_rule: GroupRule) -> tuple[list[Item], dict[str, Any]]:
    """Cut documents into items and give each its group.

    Args:
        docs: what `read_source` gave: at least one, all whole files or all rows.
        group_rule: a column's name; ``{"heading": regex}`` cuts text files at the lines in which it is found;
            ``{"file": True}`` makes each file a group; ``{"blocks": n}`` makes n contiguous blocks of rows or
            paragraphs, balanced by bytes. None decides by the source: three text files or more are groups each; a
            text with headings is cut there; anything else gives 40 blocks.

    Returns:
        The items (a row each; of text files one each, or a section or block each), and
        ``{"rule", "reason", "dropped": {reason: pieces}}``. An item's id is a hash of its group and text, the second
        of two equal items has ``-2`` behind it.

    Raises:
        InputError: the rule does not fit the documents, or fewer than three groups come out.
    """
    rule, reason = (dict(group_rule) if isinstance(group_rule, Mapping) else group_rule), "named in the experiment"
    if rule is None:
        rule, reason = _decide(docs)
    dropped: dict[str, int] = {}
    if isinstance(rule, str):
        pieces = _by_column(docs, rule)
    elif "heading" in rule:
        pieces, dropped = _by_heading(docs, str(rule["heading"]))
    elif "blocks" in rule:
        wanted = int(rule["blocks"])
        pieces = _by_blocks(docs, wanted)
        made = len({group for group, _ in pieces})
        if made != wanted:
            rule, reason = {"blocks": made}, f"{reason}; {wanted} blocks were wanted, the text makes {made}"
    else:
        pieces = list(zip(_file_groups(docs), (doc.text for doc in docs), strict=True))
    count = len({group for group, _ in pieces})
    if count < len(SPLITS):
        raise _too_few(count, rule, dropped)
    return _number(pieces), {"rule": rule, "reason": reason, "dropped": dropped}


def split_groups(groups: Iterable[str], dev: float, test: float, seed: int) -> dict[str, str]:
    """Give each group its split, whatever the order of the groups.

    The groups are sorted by sha256 of ``seed:group``; the first round(test x G) of them are test, the next
    round(dev x G) dev, the rest train; each split gets at least one. Halves are rounded up.

    Args:
        groups: their names; repeated ones count once.
        dev: share of groups, in (0, 1).
        test: share of groups, in (0, 1).
        seed: another seed gives another split.

    Returns:
        group → ``train``, ``dev`` or ``test``.

    Raises:
        InputError: fewer than three groups.
    """
    order = sorted(set(groups), key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())
    if len(order) < len(SPLITS):
        raise _too_few(len(order), None, {})
    held = {name: max(1, math.floor(share * len(order) + 0.5)) for name, share in (("dev", dev), ("test", test))}
    while sum(held.values()) >= len(order):
        held[max(held, key=lambda name: held[name])] -= 1
    names = ["test"] * held["test"] + ["dev"] * held["dev"]
    names += ["train"] * (len(order) - len(names))
    return dict(zip(order, names, strict=True))


def _decide(docs: Sequence[Document]) -> tuple[dict[str, Any], str]:
    if docs[0].kind == "row":
        return {"blocks": _BLOCKS}, "a table with no group named: contiguous rows stay together"
    if len(docs) >= len(SPLITS):
        return {"file": True}, f"{len(docs)} files: each is a group"
    texts = [doc.text for doc in docs]
    heading = detect_heading(texts)
    if heading is not None:
        title = next(section.title for text in texts for section in sections(text, heading)[0])
        return {"heading": heading}, f"the text has headings, such as {title!r}"
    return {"blocks": _BLOCKS}, "a text without headings: contiguous paragraphs stay together"


def _by_column(docs: Sequence[Document], column: str) -> _Pieces:
    pieces = []
    for doc in docs:
        if doc.kind == "file":
            raise InputError(
                f"data.group names a column, {column!r}, but {doc.name} is a text and has none",
                where=doc.name,
                fix="set data.group to {heading: <regular expression>}, {file: true} or {blocks: 40}",
            )
        if column not in doc.columns:
            near = difflib.get_close_matches(column, doc.columns, n=1, cutoff=0.0)
            raise InputError(
                f"there is no column {column!r} to group by (row {doc.index}); beside the text there are "
                f"{', '.join(map(repr, doc.columns)) or 'none'}",
                where=doc.name,
                fix=f"--set data.group={near[0]}" if near else "set data.group to {blocks: 40}",
            )
        group = doc.columns[column].strip()
        if not group:
            raise InputError(
                f"row {doc.index} has no value in the column {column!r} that groups are made by",
                where=doc.name,
                fix="fill it in, or remove the row",
            )
        pieces.append((group, doc.text))
    return pieces


def _by_heading(docs: Sequence[Document], pattern: str) -> tuple[_Pieces, dict[str, int]]:
    compiled(pattern)
    pieces: _Pieces = []
    dropped: Counter[str] = Counter()
    several = len(docs) > 1
    for doc, file in zip(docs, _file_groups(docs), strict=True):
        if doc.kind == "row":
            raise InputError(
                "data.group cuts at headings, but this is a table",
                where=doc.name,
                fix="set data.group to a column's name, or to {blocks: 40}",
            )
        found, lost = sections(doc.text, pattern)
        pieces += [(f"{file}/{section.title}" if several else section.title, section.text) for section in found]
        dropped.update(lost)
    return pieces, dict(dropped)


def _by_blocks(docs: Sequence[Document], count: int) -> _Pieces:
    if docs[0].kind == "row":
        numbers = blocks([len(doc.text.encode()) for doc in docs], count)
        return [(_block_name(number, numbers[-1]), doc.text) for number, doc in zip(numbers, docs, strict=True)]
    total = sum(len(doc.text.encode()) for doc in docs)
    pieces: _Pieces = []
    for doc, file in zip(docs, _file_groups(docs), strict=True):
        spans = paragraphs(doc.text)
        share = max(1, math.floor(count * len(doc.text.encode()) / total + 0.5))
        numbers = blocks([len(doc.text[start:end].encode()) for start, end in spans], share)
        for number, members in groupby(zip(numbers, spans, strict=True), key=lambda pair: pair[0]):
            own = [span for _, span in members]
            name = _block_name(number, numbers[-1])
            # A slice of the text as it is: blank lines between the paragraphs stay as they were.
            pieces.append((f"{file}/{name}" if len(docs) > 1 else name, doc.text[own[0][0] : own[-1][1]]))
    return pieces


def _block_name(number: int, last: int) -> str:
    return f"block {number + 1:0{len(str(last + 1))}d}"


def _file_groups(docs: Sequence[Document]) -> list[str]:
    """Each document's file as a group's name: without its ending where no two files then share a name."""
    names = {doc.name for doc in docs}
    short = {name: str(PurePosixPath(name).with_suffix("")) for name in names}
    return [short[doc.name] if len(set(short.values())) == len(names) else doc.name for doc in docs]


def _number(pieces: _Pieces) -> list[Item]:
    seen: Counter[str] = Counter()
    items = []
    for group, text in pieces:
        digest = sha256_text(f"{group}\n{text}")[:16]
        seen[digest] += 1
        items.append(Item(digest if seen[digest] == 1 else f"{digest}-{seen[digest]}", group, text))
    return items


def _too_few(count: int, rule: str | dict[str, Any] | None, dropped: Mapping[str, int]) -> InputError:
    lost = f" ({', '.join(f'{n} x {reason}' for reason, n in dropped.items())} dropped)" if dropped else ""
    by = f" by {rule!r}" if rule is not None else ""
    fix = "bring more text, so that it can be cut" if isinstance(rule, dict) and "blocks" in rule else (
        "set data.group to {blocks: 40}, or to a rule that finds more groups"
    )  # fmt: skip
    return InputError(
        f"the data has {count} group{'' if count == 1 else 's'}{by}{lost}; "
        "train, dev and test need at least one each, 3 in all",
        where="data.group",
        fix=fix,
    )
