"""`assay decode`: ways to generate are tried on a trained model, one is chosen, confirmed, and kept as its preset."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
import transformers

from assay.config.decode import GREEDY, DecodeConfig, expand, references
from assay.config.schema import Experiment
from assay.config.values import HELD_OUT
from assay.core.console import Console
from assay.core.errors import InputError
from assay.core.files import directory_atomic, read_json, sha256_file, write_json, write_lines, write_text
from assay.core.others import Others
from assay.core.records import Decoding, Setting
from assay.core.rundir import RunDir, now
from assay.data.looks import note_look
from assay.data.manifest import read_manifest
from assay.model.assist import Guess, speeds
from assay.model.generate import check_supported
from assay.model.load import load_base
from assay.model.registry import BaseRef
from assay.model.session import open_session
from assay.stages.decode.choose import Candidate, Choice, Confirmation, choose, compared, confirm, with_loops
from assay.stages.decode.kept import Kept
from assay.stages.decode.laboratory import Laboratory, Tried
from assay.stages.decode.measure import Reference, human_row, measured
from assay.stages.decode.prompts import Case, Source, check_apart
from assay.stats.intervals import Undefined, t_interval

SCHEMA = 1
ROUNDS = 3  # of timing
TIMED_PROMPTS = 4
# the numbers of a setting, each with its unit
NUMBERS = {
    "loop": "share of texts",
    "groups_with_loop": "share of groups with any",
    "ends_in_loop": "share of texts",
    "repeated_4": "share of 4-grams of words",
    "distinct_1": "different ÷ all words",
    "distinct_2": "different ÷ all pairs of words",
    "mtld": "words",
    "compression": "bytes ÷ compressed bytes",
    "similarity": "share of word pairs, between seeds",
    "tokens": "tokens",
    "stopped": "share of texts",
    "bits_per_byte": "bits per byte, by the base",
    "distance": "spreads of human texts",
}
Table = dict[str, Any]


def decode(
    run: RunDir,
    experiment: Experiment,
    base: BaseRef,
    cache: Path,
    looks: Path,
    console: Console,
    *,
    assistant: BaseRef | None = None,
) -> Table:
    """Try the experiment's settings on a trained run; write decode/ and return its table.

    Args:
        run: a trained run.
        experiment: its own, with the section `decode`.
        base: the one that it was trained on.
        cache: where downloads are kept.
        looks: the file that every look at a test split is written to.
        console: where it speaks.
        assistant: the model that `decode.assistant` names.

    Raises:
        InputError: the weights are not the trained ones, or prompts are missing, too long, or in both sets.
        MachineError: the installed library cannot do one of the settings.
    """
    started, d = time.perf_counter(), experiment.decode
    default = experiment.evaluate.decoding.decoding()
    settings = expand(d, default)
    for setting in settings:
        check_supported(setting.decoding)
    weights = _weights(run)
    decisions = read_json(run.plan)["decisions"]
    torch.set_num_threads(decisions["threads"])
    session = open_session(
        run, base, cache, kind=experiment.adapter.kind, chat_template=experiment.data.chat_template,
        system=experiment.data.system_prompt, which="tuned", console=console,
    )  # fmt: skip
    at = Laboratory(session, experiment.seed, d.seeds, _kept(run, weights, decisions), console)
    guesses = _guesses(at, d.lookup, assistant, cache, decisions)
    bench = _bench(run, experiment, at, settings)

    def look() -> None:
        if d.confirm == HELD_OUT:
            note_look(
                looks, read_manifest(run.manifest_rows)["test"], run=run.path.name, weights=weights, what="decode"
            )

    found = _try(bench, at, settings, references(d, default, settings), look)
    table = {
        **_table(bench, found),
        "weights": weights,
        "speed": _speed(at, bench.choosing, guesses, d.max_new_tokens, decisions["precision"]["value"]),
        "seconds": round(time.perf_counter() - started, 3),
    }
    _write(run, table, next(s for s in settings if s.name == found.choice.name), found)
    at.kept.forget()
    return table


def _kept(run: RunDir, weights: str, decisions: Mapping[str, Any]) -> Kept:
    about = {
        "weights": weights, "device": decisions["device"], "dtype": decisions["precision"]["value"],
        "threads": decisions["threads"], "versions": [torch.__version__, transformers.__version__],
    }  # fmt: skip
    return Kept(run.undecoded, about)


@dataclass(frozen=True)
class _Bench:
    """What settings are tried on: two sets of prompts, and what people wrote."""

    given: DecodeConfig
    choosing: list[Case]
    confirming: list[Case]  # none where there are no other prompts
    people: Reference


@dataclass(frozen=True)
class _Found:
    """What was tried, as it came and in numbers, and what follows."""

    first: list[Tried]
    second: list[Tried]
    rows: list[Table]  # of `first`
    again: list[Table]  # of `second`
    choice: Choice
    confirmation: Confirmation


def _bench(run: RunDir, experiment: Experiment, at: Laboratory, settings: Sequence[Setting]) -> _Bench:
    d = experiment.decode
    longest = max(setting.decoding.max_new_tokens for setting in settings)
    source = Source(run, d.groups, d.per_group, d.prompt_words, longest, experiment.data.split.seed)
    choosing = at.fitting(source.cases(d.prompts, "dev"), settings, where=_where("decode.prompts", d.prompts))
    confirming = at.fitting(source.cases(d.confirm, "test"), settings, where=_where("decode.confirm", d.confirm))
    check_apart(choosing, confirming)
    return _Bench(d, choosing, confirming, at.human(source.people(), settings[0]))


def _try(
    bench: _Bench, at: Laboratory, settings: Sequence[Setting], against: Sequence[str], look: Callable[[], None]
) -> _Found:
    """All settings on the first prompts; after a `look` the chosen one and those it is held `against` on the others."""
    most = bench.given.max_loops
    first = at.tries(bench.choosing, settings, "choosing")
    rows = [_row(one, bench.people) for one in first]
    choice = choose([Candidate(r["name"], r["groups"]["loop"], r["groups"]["distance"]) for r in rows], most)
    second: list[Tried] = []
    if bench.confirming:
        look()
        finalists = [s for s in settings if s.name in (choice.name, *against)]
        second = at.tries(bench.confirming, finalists, "confirming")
    again = [_row(one, bench.people) for one in second]
    return _Found(first, second, rows, again, choice, _confirmed(choice, again, against, most))


def _table(bench: _Bench, found: _Found) -> Table:
    d, people = bench.given, bench.people
    return {
        "schema": SCHEMA,
        "time": now(),
        "numbers": NUMBERS,
        "prompts": _about(d.prompts, "dev", bench.choosing),
        "confirm": _about(d.confirm, "test", bench.confirming),
        "seeds": d.seeds,
        "max_loops": d.max_loops,
        "human": {"texts": len(people.texts), "groups": len({one.group for one in people.texts}),
                  "numbers": human_row(people, d.max_new_tokens), "tokens": d.max_new_tokens},
        "settings": found.rows,
        "choice": asdict(found.choice),
        "confirmed_on": found.again,
        "confirmation": asdict(found.confirmation),
        "batch": "16 prompts together",
    }  # fmt: skip


def _weights(run: RunDir) -> str:
    """The hash of the trained weights, which are to be still there."""
    known = read_json(run.training)["weights"]
    file = run.path / known["file"]
    if not file.is_file() or sha256_file(file) != known["sha256"]:
        raise InputError(
            "these are not the weights that training left",
            where=str(file),
            fix="restore them, or train again with --new",
        )
    return str(known["sha256"])


def _guesses(
    at: Laboratory, lookup: int, assistant: BaseRef | None, cache: Path, decisions: Mapping[str, Any]
) -> list[Guess]:
    found = [Guess(f"prompt lookup, {lookup} tokens at a time", lookup=lookup)] if lookup else []
    if assistant is None:
        return found
    model, tokenizer = load_base(
        assistant, cache, dtype=decisions["precision"]["value"], device=decisions["device"], console=at.console
    )
    if tokenizer.sha256 != at.session.encoder.tokenizer.sha256:
        raise InputError(
            "the assistant has another tokenizer than the base: what it guesses are other ids",
            where=f"decode.assistant: {assistant.spec}", fix="name a smaller model of the same family, or leave it out",
        )  # fmt: skip
    return [*found, Guess(f"assisted by {assistant.spec}", assistant=model)]


def _where(key: str, named: str | list[str]) -> str | None:
    """The key to blame for a prompt that is too long; None where excerpts are taken, of which one may go."""
    return None if named == HELD_OUT else key


def _confirmed(choice: Choice, again: Sequence[Table], against: Sequence[str], max_loops: float) -> Confirmation:
    if not again:
        return Confirmation(None, "not confirmed on other prompts: none were given", [])
    own = {row["name"]: row["groups"] for row in again}
    chosen = own.pop(choice.name)
    reference = next((name for name in against if name in own), None)
    return confirm(
        choice.name, chosen["loop"], compared(chosen, own), max_loops=max_loops, reference=reference,
        default=against[-1],
    )  # fmt: skip


def _row(tried: Tried, reference: Reference) -> Table:
    """A setting's numbers: each with its mean over groups and the interval of that, or why there is none."""
    most = tried.setting.decoding.max_new_tokens
    groups = measured(tried.outputs, reference, most)
    groups["groups_with_loop"] = {group: float(share > 0) for group, share in groups["loop"].items()}
    return {
        "name": tried.setting.name,
        "words": str(tried.setting.decoding),
        "decoding": tried.setting.decoding.given(),
        "template": tried.setting.template,
        "numbers": {name: _cell(groups[name], name, drawn=tried.setting.decoding.drawn) for name in NUMBERS},
        "apart": {
            name.removesuffix("_apart"): fmean(own.values()) for name, own in groups.items() if name.endswith("_apart")
        },
        "groups": {name: groups[name] for name in NUMBERS},
        "cost": tried.cost,
    }


def _cell(groups: Mapping[str, float], name: str, *, drawn: bool) -> Table:
    if not groups:
        why = "nothing is drawn: the same text each time" if name == "similarity" and not drawn else "no text has it"
        return {"mean": None, "low": None, "high": None, "groups": 0, "reason": why}
    values = list(groups.values())
    if name == "groups_with_loop":
        _, low, high = with_loops(groups)
        return {"mean": fmean(values), "groups": len(values), "low": low, "high": high, "reason": None}
    found = t_interval(values)
    ends: Table = {"low": None, "high": None, "reason": None}
    if isinstance(found, Undefined):
        ends["reason"] = found.reason
    elif found.half_width == 0:
        ends["reason"] = "all groups alike"
    else:
        ends |= {"low": found.low, "high": found.high}
    return {"mean": fmean(values), "groups": len(values), **ends}


def _about(named: str | list[str], split: str, cases: Sequence[Case]) -> Table:
    source = f"beginnings of {split} texts" if named == HELD_OUT else named if isinstance(named, str) else "a list"
    return {"source": source, "prompts": len(cases), "groups": len({case.group for case in cases})}


def _speed(at: Laboratory, cases: Sequence[Case], guesses: Sequence[Guess], most: int, precision: str) -> Table | None:
    """What guessing ahead gains with greedy decoding, on the first prompt of some groups."""
    if not guesses:
        return None
    first = {case.group: case for case in reversed(cases)}
    model, switched = at.session.active("tuned")
    bare = Setting(GREEDY, Decoding(most, 0.0, 1.0))
    prompts = [at.ids(case, bare) for case in list(reversed(first.values()))[:TIMED_PROMPTS]]
    at.console.note("timing greedy decoding with and without guessing ahead")
    others = Others()
    with switched:
        plain, found = speeds(
            model, at.session.encoder.tokenizer, prompts, guesses, stops=at.session.encoder.stops, most=most,
            rounds=ROUNDS,
        )  # fmt: skip
    return {
        "plain_tokens_per_s": median(plain),
        "precision": precision,
        "rounds": ROUNDS,
        **others.record(),
        "ways": [{**asdict(one), "ratio": median(one.ratios)} for one in found],
    }


def _write(run: RunDir, table: Table, setting: Setting, found: _Found) -> None:
    """All of decode/ at once: the table twice, every text, and the preset."""
    said = table["confirmation"]
    with directory_atomic(run.decode) as folder:
        write_json(folder / run.decoded.name, table)
        write_text(folder / "table.csv", _csv(table))
        write_lines(folder / "texts.jsonl", _texts(found))
        write_json(
            folder / run.preset.name,
            {
                "schema": SCHEMA, "time": table["time"], "weights": table["weights"], "name": setting.name,
                "decoding": asdict(setting.decoding), "template": setting.template, "frame": setting.frame,
                "why": table["choice"]["why"], "confirmed": said["confirmed"], "sentence": said["sentence"],
            },
        )  # fmt: skip
    run.event("decoded", preset=setting.name, confirmed=said["confirmed"], settings=len(table["settings"]))


def _texts(found: _Found) -> list[Table]:
    return [
        {
            "set": name, "setting": one.setting.name, "prompt_id": out.case.id, "group": out.case.group,
            "prompt": out.case.text, "seed": out.seed, "text": out.text, "tokens": len(out.ids), "stopped": out.stopped,
        }
        for name, some in (("prompts", found.first), ("confirm", found.second)) for one in some for out in one.outputs
    ]  # fmt: skip


def _csv(table: Table) -> str:
    """One line per setting and set of prompts."""
    stream = io.StringIO()
    names = [part for name in NUMBERS for part in (name, f"{name}_low", f"{name}_high")]
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["set", "setting", "chosen", *names, "tokens_per_s", "seconds"])
    for where, rows in (("prompts", table["settings"]), ("confirm", table["confirmed_on"])):
        for row in rows:
            cells = [row["numbers"][name][key] for name in NUMBERS for key in ("mean", "low", "high")]
            cost = [row["cost"]["tokens_per_s"], row["cost"]["seconds"]]
            writer.writerow([where, row["name"], row["name"] == table["choice"]["name"], *cells, *cost])
    return stream.getvalue()
