"""Criteria of what models write: how little it repeats itself, how varied it is, how rich its words are; and ratings.

All compared models' texts are cut to one length together: what depends on length is compared at equal length only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean

from assay.core.files import read_json, read_lines, sha256_file, sha256_json
from assay.core.guard import limits
from assay.core.words import count, listed
from assay.data.items import read_items
from assay.data.passages import spread, written
from assay.stages.compare.criterion import Criterion, Json, Kind, from_cells, from_units, nothing
from assay.stages.compare.measured import Measured
from assay.stages.compare.words import percent, short
from assay.text.metrics import diversity
from assay.text.metrics.equal import EqualLength, equal_length
from assay.text.metrics.words import words

REFERENCE = 64  # held-out texts that the generated ones are held against
NO_TEXTS = "no texts were generated (evaluate.prompts)"
Number = Callable[[Sequence[str]], float | None]


@dataclass(frozen=True)
class Written:
    """What one run wrote for its prompts, and how it was asked."""

    run: Measured
    rows: list[Json]

    @property
    def ids(self) -> list[str]:
        """Of the prompts, in order."""
        return [str(row["id"]) for row in self.rows]

    @property
    def texts(self) -> list[str]:
        """Of the tuned model, in the prompts' order."""
        return [str(row["tuned"]) for row in self.rows]

    @cached_property
    def basis(self) -> dict[str, str]:
        """What the texts depend on beside the model."""
        prompts = sorted((str(row["id"]), str(row["prompt"])) for row in self.rows)
        decoding = ", ".join(f"{k} {v}" for k, v in sorted((self.run.settings.get("decoding") or {}).items()))
        return {"prompts": sha256_json(prompts)[:12], "decoding": decoding}

    @property
    def bytes_per_token(self) -> float | None:
        """Of what it wrote, in UTF-8."""
        tokens = sum(int(row.get("tokens_tuned") or 0) for row in self.rows)
        return sum(len(text.encode("utf-8", "replace")) for text in self.texts) / tokens if tokens else None


def read_written(run: Measured) -> Written | None:
    """What a run wrote; None where it wrote nothing."""
    path = run.run.generations
    rows = [row for row in (read_lines(path) if path.is_file() else []) if "tuned" in row and "id" in row]
    return Written(run, rows) if rows else None


@dataclass(frozen=True)
class Together:
    """The texts of several runs, cut to one length."""

    runs: list[Written]
    equal: EqualLength

    @property
    def basis(self) -> dict[str, str]:
        """As `Written.basis`, with the length."""
        return self.runs[0].basis | {"length of texts": count(self.equal.words, "word")}

    def by_unit(self, number: Number) -> list[dict[str, float]]:
        """Of each run the number of each prompt; prompts that have none in one of the runs are left out."""
        ids = [self.runs[0].ids[k] for k in self.equal.kept]
        found: list[dict[str, list[float]]] = []
        for arm in self.equal.arms.values():
            own: dict[str, list[float]] = {}
            for unit, text in zip(ids, arm, strict=True):
                value = number(words(text))
                if value is not None:
                    own.setdefault(unit, []).append(value)
            found.append(own)
        return [
            {unit: fmean(values) for unit, values in own.items() if all(unit in other for other in found)}
            for own in found
        ]

    def reference(self, number: Number) -> float | None:
        """The mean of the number over the held-out texts, cut likewise."""
        values = [value for text in self.equal.reference if (value := number(words(text))) is not None]
        return fmean(values) if values else None


def together(runs: Sequence[Written]) -> Together | None:
    """The runs' texts at one length; None where no prompt has texts that are long enough in all runs."""
    if len({sha256_json(run.basis) for run in runs}) > 1 or len({tuple(run.ids) for run in runs}) > 1:
        return None
    held = [written(item) for item in spread(read_items(runs[0].run.run.split("test")), REFERENCE)]
    equal = equal_length({str(n): run.texts for n, run in enumerate(runs)}, held)
    return Together(list(runs), equal) if equal.kept else None


def _unrepeated(said: Sequence[str]) -> float | None:
    repeated = diversity.repeated(said)
    return None if repeated is None else 1 - repeated


def texts_of(kinds: Mapping[str, Kind], whole: Together, own: slice) -> dict[str, Criterion]:
    """The criteria of one entry's texts.

    Args:
        kinds: of `coherence`, `creativity` and `vocabulary`.
        whole: all compared runs' texts.
        own: which of the runs are the entry's.
    """
    length, kept = whole.equal.words, count(len(whole.equal.kept), "prompt")
    at = f"in the first {length} words of the answers to {kept}"
    rich = length >= diversity.MTLD_WORDS
    found: dict[str, tuple[Number, str, tuple[float, float] | None]] = {
        "coherence": (
            _unrepeated,
            f"a stand-in, as nobody rated the texts: the share of runs of four words that repeat nothing, {at}; sense "
            "is not measured, and nonsense does not repeat itself either",
            (0.0, 1.0),
        ),
        "creativity": (
            lambda said: diversity.distinct([said], 2),
            f"a stand-in: the share of pairs of words that are different (distinct-2), {at}",
            (0.0, 1.0),
        ),
        "vocabulary": (
            (diversity.mtld if rich else lambda said: diversity.distinct([said], 1)),
            f"words until the vocabulary begins to repeat itself (MTLD), {at}"
            if rich
            else f"the share of words that are different (distinct-1: the texts are too short for MTLD), {at}",
            None if rich else (0.0, 1.0),
        ),
    }
    made = {}
    for name, (number, source, bounds) in found.items():
        reference = whole.reference(number)
        known = "" if reference is None else _number(reference, bounds)
        beyond = f"; of held-out texts it is {known}, and more counts no more" if known else ""
        rows = whole.by_unit(number)[own]
        basis = whole.basis | {"measure": "MTLD" if name == "vocabulary" and rich else name}
        unit = "words" if name == "vocabulary" and rich else "share"
        made[name] = from_units(
            replace(kinds[name], unit=unit), rows, bounds=bounds, source=source + beyond, basis=basis, enough=reference
        )  # fmt: skip
    return made


def _number(value: float, bounds: tuple[float, float] | None) -> str:
    return percent(value) if bounds else short(value, 3)


def rated(kind: Kind, runs: Sequence[Measured], who: str) -> Criterion:
    """How often an entry's texts were preferred to the base's, blind.

    Args:
        kind: the criterion.
        runs: of the entry; those that were rated count.
        who: `people` or `judge`.
    """
    found = [(run, one) for run in runs if (one := _rating(run, who))]
    if not found:
        return nothing(kind, "nobody rated the texts" if who == "people" else "no judge compared the texts")
    refused = [why for run, (whole, one) in found if (why := _unusable(run, whole, one))]
    if refused:
        return nothing(kind, f"the {'ratings' if who == 'people' else 'judgements'} cannot be used: {refused[0]}")
    whole, _ = found[0][1]
    texts = read_written(found[0][0])
    name = str((whole.get("judge") or {}).get("model", "a judge"))
    by = count(len(whole["raters"]), "rater") if who == "people" else f"the language model {name}"
    rows = [one for _, (_, one) in found]
    pairs = sum(one["pairs"] for one in rows)
    source = (
        f"blind {'ratings' if who == 'people' else 'judgements'} of {count(pairs, 'pair')} by {by}: how often the text "
        "was preferred to the base’s, a tie counting half; the text was judged as a whole"
    )
    basis = {
        "base": found[0][0].identity["base"]["hash"][:12], "raters": listed(sorted(map(str, whole["raters"]))),
        **(texts.basis if texts else {}),
    }  # fmt: skip
    return from_cells(
        kind, [one["rate"] for one in rows], bounds=(0.0, 1.0), source=source, n=pairs, basis=basis, rated=True
    )  # fmt: skip


def _rating(run: Measured, who: str) -> tuple[Json, Json] | None:
    path = run.run.ratings if who == "people" else run.run.judge
    whole = read_json(path) if path.is_file() else {}
    one = next((one for one in whole.get("comparisons", []) if one["against"] == "base" and one["pairs"]), None)
    return (whole, one) if one else None


def _unusable(run: Measured, whole: Json, one: Json) -> str | None:
    """Why ratings say nothing of the texts as they are."""
    path, agree = run.run.generations, one["consistency"]["mean"]
    if not path.is_file() or whole["generations_sha256"] != sha256_file(path):
        return "they are of texts that were generated anew since"
    if not one["blind"]:
        return "they were not blind"
    if one["rate"]["mean"] is None:
        return str(one["rate"]["reason"])
    if one["twice"] and agree is not None and limits("rating.consistency").status(agree) == "fail":
        return f"of the pairs answered twice {percent(agree, 0)} named the same winner again"
    return None
