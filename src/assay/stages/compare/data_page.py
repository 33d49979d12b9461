"""The report's section on the data: what was read, what became of it, what the model reads, and what to change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from assay.core.words import count as number
from assay.data.advice import ALL_WELL, advise
from assay.data.signs import SIGNS
from assay.stages.compare.evidence import Evidence, Json
from assay.stages.compare.plots import bars
from assay.stages.compare.plots_data import SPLITS, inline, length_figures, token_figure, turns_figure
from assay.stages.compare.words import UNKNOWN, count, data_size, defined, fixed, name, share, value_text

SHOWN = 20  # leaks, benchmark matches and strata; more are counted
SHOWN_FILES = 200
_NAMED_GROUP = 0.01  # of all bytes: a group as large as that is named
_ROW = 4000  # characters of a row as the loss sees it
_EXCERPT = 600  # characters of a prompt or a text that are shown
_NAMED = {"mojibake": "encoding repaired", "unicode": "Unicode composed", "quotes": "quotes straightened",
          "whitespace": "white space tidied", "repeated-turns": "repeated turns merged"}  # fmt: skip
_LEAK_KINDS = {
    "group": "the same group", "hash": "the same text", "jaccard": "a near-copy", "run": "a long passage",
    "cover": "most of a short text",
}  # fmt: skip
_LEARNED = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)
_KEYS = re.compile(r"((?:data|train)\.[a-z_.]+(?:=\S+?)?)(?=[,;:)]?(?:\s|$))")  # of an experiment file, with a value
# What cannot be seen, by a sign that can.
_UNSEEN: dict[int, str] = {
    **{code: f"⟨U+{code:04X}⟩" for code in (*range(0x20), *range(0x7F, 0xA0), 0x200B, 0x2060, 0xFEFF)},
    0x09: "→",
    0x0A: "↵",
}


def data(evidence: Evidence) -> Json:
    """Everything that the section shows, as words, or why there is nothing."""
    manifest, profile = evidence.manifest, evidence.profile or {}
    if manifest is None:
        return {"missing": evidence.why_missing("prepare")}
    turns = turns_figure(profile)
    return {
        "missing": None,
        "advice": [
            {"what": _sentence(a["what"]), "why": _sentence(a["why"]), "fix": _KEYS.split(a["fix"])}
            for a in advise(manifest, profile, evidence.tokens)
        ],
        "all_well": ALL_WELL,
        "facts": _facts(manifest),
        "files": _files(manifest),
        "tallies": [_tally(manifest, "rows", "Rows read"), _tally(manifest, "items", "Texts")],
        "splits": _splits(evidence),
        "strata": _strata(manifest),
        "lengths": [inline(figure) for figure in length_figures(profile)],
        "tokens": _tokens(evidence),
        "loss_rows": _loss_rows(evidence),
        "turns": _turns(profile, turns and inline(turns)),
        "copies": _copies(evidence),
        "leaks": _leaks(evidence),
        "against": _against(manifest),
        "signs": _signs(profile),
        "languages": _languages(profile),
    }


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _facts(manifest: Json) -> list[tuple[str, str, str | None]]:
    """What was read and how it was divided: name, value, why."""
    source, layout = manifest.get("source") or {}, manifest.get("format") or {}
    rule = manifest.get("group_rule") or {}
    cleaned = [f"{_NAMED.get(key, name(key))} in {count(n)}" for key, n in (manifest.get("cleaned") or {}).items() if n]
    found = [
        ("Source", str(source.get("spec") or UNKNOWN), None),
        ("Format", str(layout.get("name") or UNKNOWN), layout.get("reason")),
        ("Columns used", value_text(layout.get("fields")) if layout.get("fields") else "", None),
        ("Columns left aside", ", ".join(layout.get("unused") or []), None),
        ("Grouping rule", value_text(rule["rule"]) if "rule" in rule else UNKNOWN, rule.get("reason")),
        ("Split seed", value_text(manifest.get("split_seed")), None),
        ("Cleaned", ", ".join(cleaned), None),
    ]
    return [(label, value, why) for label, value, why in found if value]


def _files(manifest: Json) -> Json:
    source = manifest.get("source") or {}
    files = [*(source.get("archives") or []), *(source.get("files") or [])]
    rows = [(f.get("spec") or f.get("name"), data_size(f.get("bytes")), f.get("sha256")) for f in files[:SHOWN_FILES]]
    size = data_size(sum(f.get("bytes") or 0 for f in source.get("files") or []))
    return {"rows": rows, "count": count(len(files)), "left_out": len(files) - len(rows), "size": size}


def _tally(manifest: Json, key: str, label: str) -> Json:
    """One sum, in = kept + dropped by reason, with examples of each reason."""
    tally = manifest.get(key) or {}
    came = tally.get("in") or 0
    dropped, examples = tally.get("dropped") or {}, tally.get("examples") or {}
    return {
        "label": label,
        "in": count(tally.get("in")),
        "kept": count(tally.get("kept")),
        "kept_share": _share(tally.get("kept"), came),
        "dropped": [
            {
                "reason": reason,
                "count": count(amount),
                "share": _share(amount, came),
                "examples": [_unseen(example) for example in examples.get(reason, [])],
            }
            for reason, amount in dropped.items()
        ],
        "bars": bars(
            [
                ("kept", tally.get("kept") or 0, count(tally.get("kept")), "tuned"),
                *((reason, amount, count(amount), "base") for reason, amount in dropped.items()),
            ]
        ),
    }


def _splits(evidence: Evidence) -> Json:
    """A row for each split, with its tokens where they were counted."""
    manifest, profiled = evidence.manifest or {}, (evidence.profile or {}).get("splits") or {}
    counted = (evidence.tokens or {}).get("splits") or {}
    rows = []
    for key, label in SPLITS.items():
        part, own = (manifest.get("splits") or {}).get(key) or {}, profiled.get(key) or {}
        tokens = counted.get(key) or {}
        rows.append(
            {
                "label": label,
                "groups": count(part.get("groups")),
                "texts": count(part.get("items")),
                "bytes": count(part.get("bytes")),
                "words": count(own.get("words")),
                "tokens": count(tokens.get("tokens")) if tokens else None,
                "learned": share(tokens.get("learned_share")) if tokens else None,
                "longest": data_size((own.get("longest") or {}).get("bytes")),
                "repeats": count(own.get("exact_duplicates")),
                "non_ascii": share(own.get("non_ascii_share")),
            }
        )
    largest = ((evidence.profile or {}).get("groups") or {}).get("largest") or {}
    named = largest.get("group") if (largest.get("share") or 0) >= _NAMED_GROUP else None
    return {
        "rows": rows,
        "tokens": any(row["tokens"] for row in rows),
        "largest": f"{named}, with {share(largest.get('share'))} of all text" if named else None,
    }


def _strata(manifest: Json) -> Json | None:
    """Of a stratified split, the groups of each stratum in each split."""
    strata = manifest.get("strata") or {}
    groups = strata.get("groups") or {}
    if not groups:
        return None
    rows = [
        (stratum, [f"{count(n)} ({_share(n, sum(parts.values()))})" for n in (parts.get(key, 0) for key in SPLITS)])
        for stratum, parts in groups.items()
    ]
    return {"column": strata.get("column"), "rows": rows[:SHOWN], "left_out": max(0, len(rows) - SHOWN)}


def _tokens(evidence: Evidence) -> Json | None:
    """What the model reads: tokens of the training rows."""
    tokens = evidence.tokens
    train = ((tokens or {}).get("splits") or {}).get("train") or {}
    figure = token_figure(tokens)
    if not tokens or not train:
        return None
    trip, quantiles = train.get("round_trip") or {}, (train.get("quantiles") or {}).get("tokens") or {}
    cut = {int(length): lost for length, lost in ((train.get("cut") or {}).get("by_length") or {}).items()}
    special = train.get("special_tokens_in_text") or {}
    learned = f"{share(train.get('learned_share'))} ({count(train.get('learned'))} of {count(train.get('tokens'))})"
    facts = [
        ("Tokens that count in the loss, of all that were prepared", learned),
        ("Loss on", str(tokens.get("loss_on") or UNKNOWN)),
        ("Tokens in a row, median", count(quantiles.get("0.5"))),
        ("Tokens per byte", fixed(train.get("tokens_per_byte"), 3)),
        ("Tokens beyond the cut", share((train.get("cut") or {}).get("tokens"))),
        ("Packed sequences filled", share(train.get("packing_efficiency"))),
        ("Rows without a learned token", count(train.get("without_learned"))),
        ("Special tokens in the texts", ", ".join(f"{t} in {count(n)}" for t, n in special.items()) or "none"),
        (
            "Back from tokens unchanged",
            f"{count(trip.get('exact'))} of {count(trip.get('sample'))} texts"
            + (f", {share(trip['lossy_bytes_share'])} of bytes lost" if trip.get("lossy_bytes_share") else ""),
        ),
    ]
    return {
        "figure": figure and inline(figure),
        "limit": count(tokens.get("max_length")),
        "cut": bars(
            [
                (count(length), lost, share(lost), "tuned" if length == tokens.get("max_length") else "total")
                for length, lost in sorted(cut.items())
            ]
        ),
        "facts": facts,
    }


def _loss_rows(evidence: Evidence) -> list[Json]:
    """Rows as the loss sees them, from the record of the guard `supervision`: what is learned stands in [[ ]] there."""
    records = evidence.by_guard().get("supervision", [])
    shown: list[str] = next((r.measured["shown"] for r in records if (r.measured or {}).get("shown")), [])
    rows = []
    for text in shown:
        title, _, body = text.partition("\n")
        pieces = [(piece, bool(place % 2)) for place, piece in enumerate(_LEARNED.split(body)) if piece]
        rows.append({"title": title, "pieces": list(_cut_pieces(pieces))})
    return rows


def _cut_pieces(pieces: list[tuple[str, bool]]) -> Iterator[tuple[str, bool]]:
    room = _ROW
    for piece, learned in pieces:
        if room <= 0:
            yield " … (cut here)", False
            return
        yield piece[:room], learned
        room -= len(piece)


def _turns(profile: Json, figure: Any) -> Json | None:
    """Who speaks how much, and under which system prompt."""
    turns = profile.get("turns")
    if not turns:
        return None
    system = turns.get("system") or {}
    largest = system.get("largest") or {}
    said = "none"
    if system.get("rows"):
        said = f"{count(system['distinct'])} different, in {count(system['rows'])} of {count(turns['rows'])} rows"
    return {
        "figure": figure,
        "roles": bars(
            [
                (role, part["share"] or 0, share(part["share"]), _role_style(role))
                for role, part in (turns.get("roles") or {}).items()
            ]
        ),
        "facts": [
            ("Turns", count(turns.get("turns"))),
            ("Turns in a row, median", count(((turns.get("per_row") or {}).get("quantiles") or {}).get("0.5"))),
            ("System prompts", said),
        ],
        "system": _cut(largest["text"]) if largest.get("text") else None,
        "system_share": share(largest.get("share")),
    }


def _role_style(role: str) -> str:
    return "tuned" if role in ("assistant", "completion") else "base"


def _copies(evidence: Evidence) -> Json:
    """Texts that repeat others: what became of them, and pairs to look at."""
    manifest = evidence.manifest or {}
    dropped, near = (manifest.get("items") or {}).get("dropped") or {}, manifest.get("near_duplicates")
    equal, alike = dropped.get("duplicate", 0), dropped.get("near-duplicate", 0)
    parts = ((evidence.profile or {}).get("splits") or {}).values()
    kept = sum(part.get("exact_duplicates") or 0 for part in parts)
    said = [
        f"{number(equal, 'text')} equal to another one, and {number(alike, 'text')} nearly equal to one, were "
        "dropped before the split."
        if equal or alike
        else "No text was dropped because it repeats another one."
    ]
    if kept:
        said.append(f"{number(kept, 'text')} equal to another one of the same split were kept.")
    if near:
        said.append(
            f"Texts are nearly equal when {share(near.get('threshold'))} or more of their runs of five words are "
            f"common to both: {number(near.get('clusters') or 0, 'cluster')} of such texts came in, the largest of "
            f"{count(near.get('largest'))}."
            if near.get("clusters")
            else f"No two texts have {share(near.get('threshold'))} or more of their runs of five words in common."
        )
    else:
        said.append("Nearly equal texts were not searched for.")
    pairs = [pair[:2] for pair in (near or {}).get("examples") or [] if len(pair) > 1]
    return {"said": " ".join(said), "examples": pairs, "label": number(len(pairs), "pair")}


def _leaks(evidence: Evidence) -> Json:
    """What the guard `split-leak` found, with the passages."""
    records = evidence.by_guard().get("split-leak", [])
    measured: Mapping[str, Any] = records[0].measured if records and isinstance(records[0].measured, dict) else {}
    examples = [
        {
            "kind": _LEAK_KINDS.get(str(leak.get("kind")), str(leak.get("kind"))),
            "held": leak.get("held_group"),
            "train": leak.get("train_group"),
            "passage": " ".join(str(leak.get("passage") or "").split()),
        }
        for leak in (measured.get("examples") or [])[:SHOWN]
    ]
    return {"why": records[0].why if records else None, "examples": examples}


def _against(manifest: Json) -> Json | None:
    """Training texts that share passages with benchmark files."""
    against = manifest.get("against")
    if not against:
        return None
    matches = against.get("matches") or []
    touched, files = against.get("touched") or 0, ", ".join(str(file) for file in against.get("files") or [])
    found = f"{number(touched, 'training text')} shared passages with them, and {'was' if touched == 1 else 'were'}"
    return {
        "said": f"{number(against.get('rows') or 0, 'row')} of {files} were compared with every training text: "
        f"{f'{found} dropped' if touched else 'no passage is common to both'}.",
        "matches": [
            {
                "train": match.get("train_id"),
                "benchmark": match.get("benchmark"),
                "grams13": count(match.get("grams13")),
                "grams8": share(match.get("grams8_share")),
                "longest": count(match.get("longest")),
                "passage": " ".join(str(match.get("passage") or "").split()),
            }
            for match in matches[:SHOWN]
        ],
        "left_out": max(0, len(matches) - SHOWN),
    }


def _signs(profile: Json) -> Json:
    """Signs of trouble in the texts, with an example each."""
    signs = profile.get("signs") or {}
    rows = [
        {
            "meaning": SIGNS[key].meaning if key in SIGNS else key,
            "count": count(found.get("rows")),
            "share": share(found.get("share")),
            "example": {part: _visible(found["example"][part]) for part in ("before", "match", "after")},
        }
        for key, found in (signs.get("found") or {}).items()
    ]
    return {"rows": rows, "sample": count(signs.get("sample")), "looked": bool(signs.get("sample"))}


def _languages(profile: Json) -> Json:
    found = profile.get("languages") or {}
    shares = list((found.get("shares") or {}).items())
    shown = [(code, part, share(part), "tuned") for code, part in shares[:6]]
    rest = sum(part for _, part in shares[6:])
    return {
        "bars": bars([*shown, *([("others", rest, share(rest), "base")] if rest else [])]) if shown else None,
        "judged": f"{count(found.get('judged'))} of {count(found.get('sample'))}",
        "reason": found.get("reason"),
    }


def _unseen(example: Mapping[str, str]) -> Json:
    return {part: _visible(example.get(part) or "") for part in ("where", "detail", "text")}


def _visible(text: str) -> str:
    return text.translate(_UNSEEN)


def _cut(text: str) -> str:
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]} … ({len(text) - _EXCERPT} more characters)"


def _share(part: Any, whole: Any) -> str:
    return share(part / whole) if defined(part) is not None and whole else UNKNOWN
