"""Stage prepare: read, clean and cut the sources, split them by group, look for leaks, and freeze the result.

Items wait on disk between the passes; memory holds a few hundred bytes of each (see `data.intake`, `data.dedup`
and `data.leakage`), and the held-out side's index.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from assay.config.data import DataConfig
from assay.config.values import as_list
from assay.core.console import Console, size
from assay.core.errors import InputError
from assay.core.files import directory_atomic, write_json
from assay.core.records import Item, item_id
from assay.core.rundir import RunDir
from assay.core.usage import give_back
from assay.data.against import Benchmarks, Match, read_benchmarks
from assay.data.arrange import Arranged, Duplicates, arrange
from assay.data.clean import Cleaner
from assay.data.grams import Template
from assay.data.intake import Gathered, Settings, gather
from assay.data.items import ItemWriter, groups_of, item_batches, item_ids, without
from assay.data.leakage import Leak, LeakIndex
from assay.data.manifest import write_manifest
from assay.data.profile import Profile
from assay.data.sources import SourceFile, SourceInfo, locate, source_fingerprint, with_names
from assay.data.split import SPLITS, Amount, nested_subset
from assay.data.tally import Drop, Tally
from assay.guards.data import power, split_leak


def prepare(data: DataConfig, out: RunDir, cache: Path, console: Console) -> None:
    """Write data/{train,dev,test}.parquet, data/manifest.{json,parquet} and data/profile.json; record two guards.

    The folder appears as a whole or not at all; equal input gives equal bytes.

    Args:
        data: the section `data` of the experiment.
        out: the run.
        cache: where downloads are kept.
        console: for notes.

    Raises:
        InputError: the sources are missing, malformed or too few.
        MachineError: a download failed, or there is no room.
        GuardError: more than 1 % of the held-out items also stand in training (`split-leak`); no data is written.
    """
    files, source = _sources(data, cache)
    settings = _settings(data)
    with directory_atomic(out.data) as folder, tempfile.TemporaryDirectory(dir=folder) as work:
        gathered = gather(files, settings, Path(work))
        template = Template.find(gathered.spill.texts(), len(gathered))
        duplicates = Duplicates(gathered, drop=data.clean.duplicates == "drop")
        duplicates.exact()
        near = duplicates.near(data.clean.near_duplicates, template) if data.clean.near_duplicates else None
        arranged = arrange(
            gathered, duplicates, dev=_amount(data.split.dev), test=_amount(data.split.test), seed=data.split.seed,
            stratified=data.split.stratify is not None,
        )  # fmt: skip
        give_back()
        paths = {name: folder / out.split(name).name for name in SPLITS}
        _write_splits(gathered, arranged, paths)
        _say(console, gathered, arranged)
        benchmarks = read_benchmarks(data.against, cache=cache)
        leaks, matches = _search(LeakIndex(_held(paths), template, Path(work)), benchmarks, paths["train"])
        leaked = _judge_leaks(leaks, paths, gathered.items, out)
        _drop_matches(matches, paths["train"], gathered.items)
        # last, so that the held-out texts are the same however many rows are trained on
        _choose(paths["train"], data.split.train_rows, data.split.seed, gathered.items)
        found = {
            "cleaned": dict(settings.cleaner.changed), "near_duplicates": near, "leaks": leaked,
            "against": benchmarks.summary(matches),
        }  # fmt: skip
        pa.default_memory_pool().release_unused()
        give_back()
        splits = write_manifest(folder / out.manifest_rows.name, paths)
        manifest = _manifest(data, gathered, source) | found | {"splits": splits}
        write_json(folder / out.manifest.name, manifest)
        profile = Profile()
        for name, path in paths.items():
            for batch in item_batches(path):
                profile.add(name, batch)
        write_json(folder / out.profile.name, profile.result())
        _judge_power(manifest["splits"], out, console)


def _sources(data: DataConfig, cache: Path) -> tuple[list[tuple[SourceFile, str]], SourceInfo]:
    """The files to read, each with the split that it was given for, and what they are."""
    located = {"": locate(data.sources, sha256=data.sha256, cache=cache)}
    for side, held in (("dev", data.split.dev), ("test", data.split.test)):
        if not isinstance(held, int | float):
            located[side] = locate(as_list(held), sha256=None, cache=cache)
    sides = [side for side, found in located.items() for _ in found.files]
    # named anew: two sides may hold files of one name
    files = list(zip(with_names([f for found in located.values() for f in found.files]), sides, strict=True))
    taken: dict[tuple[str, ...], str] = {}
    for file, side in files:
        if taken.setdefault(file.parts, side) != side:
            keys = [f"data.split.{name}" if name else "data.source" for name in (taken[file.parts], side)]
            raise InputError(
                f"is named both by {keys[0]} and by {keys[1]}",
                where=file.where,
                fix="give each split files of its own",
            )
    return files, SourceInfo.of(located.values())


def _amount(held: int | float | str | list[str]) -> Amount | None:
    return held if isinstance(held, int | float) else None


def _settings(data: DataConfig) -> Settings:
    c = data.clean
    return Settings(
        format=data.format,
        fields=data.fields.model_dump(),
        template=data.template,
        system_prompt=data.system_prompt,
        group=data.group,
        stratify=data.split.stratify,
        chunk_by=data.chunk.by,
        chunk_bytes=data.chunk.max_bytes,
        overlap_bytes=data.chunk.overlap_bytes,
        cleaner=Cleaner(
            mojibake=c.mojibake, unicode=c.unicode, quotes=c.quotes, whitespace=c.whitespace, languages=c.languages,
            keep=c.keep, drop=c.drop, repeated_turns=c.repeated_turns,
        ),
        min_bytes=c.min_bytes,
        max_bytes=c.max_bytes,
        max_rows=data.max_rows,
        max_bad_rows=data.max_bad_rows,
    )  # fmt: skip


def _write_splits(gathered: Gathered, arranged: Arranged, paths: dict[str, Path]) -> None:
    """Write what is kept, in the order it was read. A held-out chunk never repeats the end of the one before it."""
    copies: Counter[str] = Counter()  # equal items are there only where duplicates are kept
    writers = [ItemWriter(paths[name]) for name in SPLITS]
    done = 0
    for batch in gathered.spill.batches():
        split = arranged.split[done : done + batch.num_rows]
        for at, name in enumerate(SPLITS):
            chosen = np.flatnonzero(split == at)
            if not len(chosen):
                continue
            numbers = (done + chosen).tolist()
            groups = [arranged.names[arranged.group[number]] for number in numbers]
            hashes = [gathered.digest(number).hex() for number in numbers]
            ids = []
            for group, content in zip(groups, hashes, strict=True):
                own = item_id(group, content)
                copies[own] += 1
                ids.append(own if copies[own] == 1 else f"{own}-{copies[own]}")
            part = batch.take(pa.array(chosen))
            texts, sizes = part.column("text"), [gathered.size[number] for number in numbers]
            overlaps = part.column("overlap").to_pylist()
            if any(overlaps):
                pairs = zip(texts.to_pylist(), overlaps, strict=True)
                kept = [text if name == "train" else text[overlap:] for text, overlap in pairs]
                texts, sizes = pa.array(kept, pa.string()), [len(text.encode()) for text in kept]
            writers[at].add_columns(ids, groups, hashes, sizes, texts, part.column("turns"))
        done += batch.num_rows
    for writer in writers:
        writer.close()


def _held(paths: dict[str, Path]) -> Iterator[list[Item]]:
    for name in SPLITS[1:]:
        yield from item_batches(paths[name])


def _search(index: LeakIndex, benchmarks: Benchmarks, path: Path) -> tuple[list[Leak], list[Match]]:
    """Leaks and benchmark matches, in one pass over the training items."""
    matches: list[Match] = []

    def training() -> Iterator[list[Item]]:
        for batch in item_batches(path):
            matches.extend(benchmarks.scan(batch))
            yield batch

    return index.scan(training()), matches


def _judge_leaks(leaks: Sequence[Leak], paths: dict[str, Path], tally: Tally, out: RunDir) -> dict[str, Any]:
    """Record the guard, and drop leaking held-out items where they are few enough."""
    leaking = {leak.held_id for leak in leaks}
    counts = {name: Counter(own in leaking for own in item_ids(paths[name])) for name in SPLITS[1:]}
    held = sum(count.total() for count in counts.values())
    groups = groups_of(paths.values(), {i for leak in leaks for i in (leak.held_id, leak.train_id)}) if leaks else {}
    out.guards.check(split_leak(leaks, held, groups, emptied=not all(count[False] for count in counts.values())))
    for name in SPLITS[1:]:
        if counts[name][True]:
            _drop(paths[name], {i: Drop("leak", "also stands in training") for i in leaking}, tally)
    return {"share": len(leaking) / held, "count": len(leaking), "dropped_ids": sorted(leaking)}


def _drop_matches(matches: Sequence[Match], path: Path, tally: Tally) -> None:
    """Leave training items out that share a passage with a benchmark."""
    if not matches:
        return
    _drop(path, {m.train_id: Drop("benchmark-match", f"shares a passage with {m.benchmark}") for m in matches}, tally)
    if not any(item_batches(path)):
        raise InputError("every training text matches a benchmark", where="data.against", fix="bring other texts")


def _choose(path: Path, count: int | None, seed: int, tally: Tally) -> None:
    """Keep `count` training items, chosen by the seed; None keeps all.

    Raises:
        InputError: there are fewer.
    """
    if count is None:
        return
    rows = pl.read_parquet(path, columns=["id", "sha256"])
    if count > len(rows):
        raise InputError(
            f"data.split.train_rows is {count:,}, and there are {len(rows):,} training rows",
            where="data.split.train_rows",
            fix="give a smaller number, or remove it to train on all",
        )
    chosen = nested_subset([bytes.fromhex(digest) for digest in rows["sha256"]], count, seed)
    left = set(rows["id"]) - set(rows["id"].gather(chosen))
    without(path, left)
    tally.unkeep_many("not-in-train-rows", len(left))


def _drop(path: Path, drops: dict[str, Drop], tally: Tally) -> None:
    """Write a split's file again without some of its items."""
    for batch in item_batches(path):
        for item in batch:
            if item.id in drops:
                tally.unkeep(drops[item.id], f"item {item.id} of {item.group}", item.text)
    without(path, drops)


def _manifest(data: DataConfig, gathered: Gathered, source: SourceInfo) -> dict[str, Any]:
    """data/manifest.json, as far as it is known from the reading; raises if something was lost on the way."""
    if gathered.layout is None or gathered.rule is None:
        raise ValueError("nothing was gathered")
    layout = gathered.layout
    return {
        "schema": 2,
        "format": {
            "name": layout.format, "fields": layout.fields, "reason": layout.reason, "unused": list(layout.unused),
        },
        "group_rule": asdict(gathered.rule),
        "repeating_columns": gathered.repeats.found(),
        "split_seed": data.split.seed,
        "source": asdict(source),
        "max_bad_rows": data.max_bad_rows,
        "rows": gathered.rows.as_json(),
        "items": gathered.items.as_json(),
    }  # fmt: skip


def _say(console: Console, gathered: Gathered, arranged: Arranged) -> None:
    sizes, reason = np.asarray(gathered.size), gathered.rule.reason if gathered.rule else ""
    parts = []
    for number, name in enumerate(SPLITS):
        members = arranged.split == number
        parts.append(f"{name} {len(np.unique(arranged.group[members])):,} ({size(int(sizes[members].sum()))})")
    console.note(f"prepare: groups: {', '.join(parts)}; {reason}")
    for tally in (gathered.rows, gathered.items):
        if tally.dropped:
            lost = ", ".join(f"{count:,} x {why}" for why, count in tally.dropped.most_common())
            console.note(f"prepare: of {tally.came:,} {tally.what} dropped {lost}")


def _judge_power(splits: dict[str, dict[str, Any]], out: RunDir, console: Console) -> None:
    result = power(splits["test"]["groups"], sum(split["groups"] for split in splits.values()))
    out.guards.check(result)
    for judged in out.guards.records():
        if judged.stage == "prepare" and judged.status != "pass":
            console.note(f"prepare: {judged.guard}: {judged.why}")


def without_paths(data: DataConfig) -> dict[str, Any]:
    """The section `data`, but for where its files lie: their content counts instead (`content`)."""
    values = data.model_dump(mode="json", exclude={"source", "sha256", "against"})
    for name in ("dev", "test"):
        if not isinstance(values["split"][name], int | float):
            values["split"][name] = "files"
    return values


def content(data: DataConfig, cache: Path) -> dict[str, Any]:
    """What every source that the section names holds now."""
    held = source_fingerprint(data.sources, sha256=data.sha256, cache=cache)
    others = {"dev": data.split.dev, "test": data.split.test, "against": data.against or 0}
    for name, source in others.items():
        if not isinstance(source, int | float):
            held[name] = source_fingerprint(as_list(source), sha256=None, cache=cache)
    return held
