"""Plain-language advice on prepared data: what was measured, why it matters, which key changes it.

Every rule looks at counts that stand in the manifest, the profile or the token profile; it says nothing where there is
nothing to do. The bounds are our own judgement.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator

from assay.core.words import count
from assay.data.facts import Facts, Json, listed, percent

ALL_WELL = "Nothing to advise: no check of the prepared data found anything to change."

_CUT = 0.01  # share of training rows cut at max_length
_UNLEARNED = 0.001  # share of training rows without a learned token
_LEARNED = 0.1  # share of tokens that count in the loss
_PACKED = 0.8  # share of a packed sequence that holds tokens
_GROUPS = 30  # test groups: with fewer only large differences show
_ONE_GROUP = 0.25  # of all bytes in one group
_TEST = 0.01  # of all texts
_DROPPED = 0.1  # of what came in, for one reason
_DUPLICATES = 0.05  # of what came in
_REPEATED = 0.01  # of a split's rows
_UNTIDY = 0.01  # of the rows looked at
_QUOTES = 0.02  # of the rows looked at, each kind
_LANGUAGE = 0.05  # of the rows judged
_SHORT = 20  # bytes; of a quarter of the texts
_LONG = 50  # longest ÷ median
_COPIES = ("duplicate", "near-duplicate")
_EXPECTED = (*_COPIES, "beyond-max-rows", "not-in-train-rows", "leak", "benchmark-match")  # asked for, or spoken of

# Of a sign in the text: the share of rows from which it is spoken of, what they do, why it matters, what helps.
_WRITTEN = "each costs tokens, and the model learns to write them"
SIGN_ADVICE: dict[str, tuple[float, str, str, str]] = {
    "mojibake": (
        0, "were decoded wrongly, as in “{}”", "the model learns to write it", "data.clean.mojibake=true repairs them"
    ),
    "replacement-character": (
        0, "lost characters in decoding, as in “{}”", "the model learns to write it",
        "get the source again in UTF-8: the characters are gone",
    ),
    "html-tag": (
        _UNTIDY, "hold HTML tags, as in “{}”", "the model learns the markup in place of the language",
        "unless it is to write HTML, turn the source into plain text before it is read",
    ),
    "html-entity": (
        _UNTIDY, "hold HTML entities, as in “{}”", "the model learns the markup in place of the language",
        "unless it is to write HTML, turn the source into plain text before it is read",
    ),
    "no-words": (
        0.001, "hold no letter and no digit", "they teach the model to answer with nothing",
        "data.clean.keep=['\\w'] keeps the others only",
    ),
    "control-character": (_UNTIDY, "hold control characters", _WRITTEN, "data.clean.unicode=true"),
    "zero-width": (_UNTIDY, "hold invisible characters", _WRITTEN, "data.clean.unicode=true"),
    "carriage-return": (_UNTIDY, "hold carriage returns", _WRITTEN, "data.clean.whitespace=true"),
    "trailing-space": (_UNTIDY, "have blanks at the end of a line", _WRITTEN, "data.clean.whitespace=true"),
}  # fmt: skip

Words = tuple[str, str, str]  # what, why, fix


def advise(manifest: Json, profile: Json, tokens: Json | None = None) -> list[dict[str, str]]:
    """Advice, the most important first.

    Args:
        manifest: as in data/manifest.json.
        profile: as `Profile.result` gives it.
        tokens: the token profile, or None where no tokenizer was at hand.

    Returns:
        ``[{"what", "why", "fix"}]``: a finding with its numbers, its consequence, and what to set or do. Empty where
        all is well (`ALL_WELL` says so).
    """
    facts = Facts(manifest, profile, tokens)
    return [{"what": what, "why": why, "fix": fix} for rule in RULES for what, why, fix in rule(facts)]


def _benchmarks(facts: Facts) -> Iterator[Words]:
    against = facts.manifest.get("against") or {}
    touched = against.get("touched", 0)
    if touched:
        yield (
            f"{count(touched, 'training text')} shared passages with {listed(against.get('files') or [])}",
            "a benchmark that stands in training measures memory, not skill",
            "dropped from training already; read the passages below, and look where such texts come from",
        )


def _template_tokens(facts: Facts) -> Iterator[Words]:
    special, sign = facts.train_tokens.get("special_tokens_in_text") or {}, facts.sign("template-token")
    if special:
        token, rows = max(special.items(), key=lambda pair: (pair[1], pair[0]))
        share = rows / max(1, facts.train_tokens.get("rows", 0))
        others = f", and {count(len(special) - 1, 'other')} of its kind" if len(special) > 1 else ""
        found = f"the model's own token {token} is written out in {count(rows, 'training text')}{others}"
    elif sign["rows"]:
        token, share = sign["example"]["match"], sign["share"]
        found = f"template tokens such as {token} are written out in {facts.seen('template-token')}"
    else:
        return
    drop = f"; or drop these texts: data.clean.drop={json.dumps([re.escape(token)])}" if share < _DROPPED else ""
    yield (
        found,
        "a tokenizer that knows it reads it as the real one, so that a text can end a turn in its middle",
        f"take it out of the source{drop}",
    )


def _unlearned(facts: Facts) -> Iterator[Words]:
    rows, without = facts.train_tokens.get("rows", 0), facts.train_tokens.get("without_learned", 0)
    if rows and without / rows >= _UNLEARNED:
        longer = _longer(facts)
        yield (
            f"{without:,} of {rows:,} training rows ({percent(without / rows)}) have no token that is learned",
            "they cost time and teach nothing",
            f"train.max_length={longer[0]} keeps more of the answers behind long prompts"
            if longer
            else "give these rows an answer, or drop them",
        )


def _seam(facts: Facts) -> Iterator[Words]:
    glued = int((facts.tokens or {}).get("glued_pairs") or 0)
    if glued:
        yield (
            f"{count(glued, 'pair')} of {facts.train_tokens.get('rows')} have nothing between prompt and completion",
            "the words run together, as no text does: the base is judged on a stumble that any training repairs",
            'write a seam: data.template="{prompt column}\\n{completion column}"',
        )


def _truncation(facts: Facts) -> Iterator[Words]:
    share, limit = _cut(facts), (facts.tokens or {}).get("max_length")
    if share <= _CUT:
        return
    longer = _longer(facts)
    what = f"{percent(share)} of the training rows are cut at train.max_length={limit}"
    fixes = [f"train.max_length={longer[0]}"] if longer else []
    if facts.is_plain:
        # every token of a plain text is learned, in one sequence or another
        yield (
            f"{what} into several sequences",
            "a sequence that begins in the middle of a text is learned without what stands before it",
            ", or ".join([*fixes, "data.chunk.by=paragraph cuts between paragraphs instead"]),
        )
        return
    yield (
        f"{what}; {longer[0]} would cut {percent(longer[1])}" if longer else what,
        "what is cut off is never learned, and a cut answer has no end",
        ", or ".join(fixes) or "shorten the rows: none of the usual lengths cuts fewer",
    )


def _cut(facts: Facts) -> float:
    return float((facts.train_tokens.get("cut") or {}).get("max_length") or 0.0)


def _longer(facts: Facts) -> tuple[int, float] | None:
    """The shortest length at which at most 1 % of the rows would be cut, else the one at which the fewest would."""
    by_length, limit = (facts.train_tokens.get("cut") or {}).get("by_length") or {}, (facts.tokens or {})["max_length"]
    lengths = sorted((int(length), share) for length, share in by_length.items())
    better = [(length, share) for length, share in lengths if length > limit and share < _cut(facts)]
    enough = [(length, share) for length, share in better if share <= _CUT]
    return enough[0] if enough else better[-1] if better else None


def _leaks(facts: Facts) -> Iterator[Words]:
    leaks = facts.manifest.get("leaks") or {}
    if leaks.get("count"):
        yield (
            f"{count(leaks['count'], 'held-out text')} ({percent(leaks['share'])}) also stood in training",
            "the model would be tested on what it has read; up to 1 % is dropped, more would end the run",
            "dropped from the held-out texts already; a data.group that keeps copies together prevents it",
        )


def _repeating(facts: Facts) -> Iterator[Words]:
    columns = facts.manifest.get("repeating_columns") or []
    rule = (facts.manifest.get("group_rule") or {}).get("rule")
    if columns and not isinstance(rule, str):
        best = max(columns, key=lambda column: column["values"])
        others = [column["column"] for column in columns if column is not best]
        yield (
            f"the column {best['column']!r} has {best['values']:,} values, one of them in {best['largest']:,} rows",
            "rows that share a value are likely about one thing, and now stand on both sides of the split: the test "
            "then measures memory, and its interval is too narrow",
            f"data.group={best['column']}" + (f" (or {listed(others)})" if others else ""),
        )


def _few_groups(facts: Facts) -> Iterator[Words]:
    held, every = facts.split("test").get("groups", 0), facts.every("groups")
    if not 0 < held < _GROUPS:
        return
    if every >= 2 * _GROUPS:
        fix = f"data.split.test={_GROUPS} holds {_GROUPS} of them out"
    else:
        fix = f"bring more groups: {every} are too few to hold {_GROUPS} out and learn from the rest"
    yield (
        f"{count(held, 'group')} of {every:,} {'is' if held == 1 else 'are'} held out for the test",
        f"the groups are what an interval counts: with fewer than {_GROUPS} only large differences show",
        fix,
    )


def _one_group(facts: Facts) -> Iterator[Words]:
    groups = facts.profile.get("groups") or {}
    largest = groups.get("largest") or {}
    if groups.get("count", 0) > 1 and (largest.get("share") or 0) >= _ONE_GROUP:
        yield (
            f"one group of {groups['count']:,}, {largest['group']!r}, holds {percent(largest['share'])} of the text",
            "a group is never divided, so the split cannot be balanced: where this one goes, most of the text goes",
            "a finer data.group: another column, {heading: <regular expression>} or {blocks: 40}",
        )


def _small_test(facts: Facts) -> Iterator[Words]:
    held, every = facts.split("test").get("items", 0), facts.every("items")
    if held and held / every < _TEST and facts.split("test").get("groups", 0) < 10 * _GROUPS:
        yield (
            f"the test split holds {held:,} of {every:,} texts ({percent(held / every)})",
            "the fewer texts are held out, the wider the interval of the verdict",
            "a larger data.split.test, such as 0.1",
        )


def _bad_rows(facts: Facts) -> Iterator[Words]:
    rows, most = facts.manifest.get("rows") or {}, facts.manifest.get("max_bad_rows")
    if most and rows.get("in") and rows.get("bad", 0) / rows["in"] > most / 2:
        yield (
            f"{rows['bad']:,} of {rows['in']:,} rows ({percent(rows['bad'] / rows['in'])}) are malformed; "
            f"above {percent(most)} they would be refused",
            "a few bad rows are usual in an export, many mean that it was read wrongly",
            "look at the dropped rows below; correct the file, data.format or data.fields",
        )


def _dropped(facts: Facts) -> Iterator[Words]:
    for what, noun in (("rows", "rows read"), ("items", "texts")):
        tally = facts.manifest.get(what) or {}
        for reason, amount in (tally.get("dropped") or {}).items():
            if reason not in _EXPECTED and amount / tally["in"] >= _DROPPED:
                yield (
                    f"{amount:,} of {tally['in']:,} {noun} ({percent(amount / tally['in'])}) were dropped as {reason}",
                    "so large a loss is seldom meant",
                    "look at the examples below; where they are good texts, loosen what dropped them (data.clean, "
                    "data.fields)",
                )


def _copies(facts: Facts) -> Iterator[Words]:
    dropped, came = facts.items.get("dropped") or {}, facts.items.get("in", 0)
    equal, near = (dropped.get(reason, 0) for reason in _COPIES)
    if came and (equal + near) / came >= _DUPLICATES:
        yield (
            f"{equal + near:,} of {came:,} texts ({percent((equal + near) / came)}) repeat another one and were "
            f"dropped: {equal:,} equal, {near:,} nearly equal",
            "a repeated text weighs double in training, and gives the answer away where it is held out",
            "nothing, if the examples below are repeats; else data.clean.near_duplicates=null drops equal texts only",
        )
    rows = sum(part.get("rows", 0) for part in (facts.profile.get("splits") or {}).values())
    kept = sum(part.get("exact_duplicates", 0) for part in (facts.profile.get("splits") or {}).values())
    if rows and kept / rows >= _REPEATED:
        yield (
            f"{kept:,} of {rows:,} texts ({percent(kept / rows)}) are equal to another one of their split",
            "a repeated text weighs double in training, and is learned by heart first",
            "data.clean.duplicates=drop",
        )


def _encoding(facts: Facts) -> Iterator[Words]:
    yield from _signs(facts, ("mojibake", "replacement-character"))


def _learned(facts: Facts) -> Iterator[Words]:
    share = facts.train_tokens.get("learned_share")
    if share is not None and share < _LEARNED:
        on = (facts.tokens or {}).get("loss_on")
        yield (
            f"{percent(share)} of the training tokens are learned (train.loss_on={on}); the others are context",
            "most of the time goes into reading prompts",
            "shorten the prompts or the system prompt; train.loss_on=all learns the prompts too"
            + (", train.loss_on=completion every answer" if on == "last" else ""),
        )


def _packing(facts: Facts) -> Iterator[Words]:
    share, limit = facts.train_tokens.get("packing_efficiency"), (facts.tokens or {}).get("max_length")
    if share is not None and share < _PACKED and limit:
        yield (
            f"packing fills {percent(share)} of each sequence of {limit} tokens",
            "the rest is padding, which costs time and teaches nothing",
            f"train.max_length={2 * limit} packs tighter",
        )


def _round_trip(facts: Facts) -> Iterator[Words]:
    trip = facts.train_tokens.get("round_trip") or {}
    if trip.get("sample") and trip["exact"] < trip["sample"]:
        yield (
            f"{trip['sample'] - trip['exact']:,} of {trip['sample']:,} texts do not come back from the tokenizer as "
            f"they were ({percent(trip['lossy_bytes_share'])} of the bytes)",
            "what the tokenizer cannot write, the model cannot learn",
            "data.clean.unicode=true composes characters; else choose a base whose tokenizer works on bytes",
        )


def _untidy(facts: Facts) -> Iterator[Words]:
    yield from _signs(facts, [name for name in SIGN_ADVICE if name not in ("mojibake", "replacement-character")])
    curly, straight = facts.sign("curly-quotes"), facts.sign("straight-quotes")
    if min(curly["share"], straight["share"]) >= _QUOTES:
        yield (
            f"curly quotes stand in {percent(curly['share'])} of the texts, straight ones in "
            f"{percent(straight['share'])}",
            "the same word with another apostrophe is another token",
            "data.clean.quotes=true makes all of them straight",
        )


def _signs(facts: Facts, names: Iterable[str]) -> Iterator[Words]:
    for name in names:
        least, said, why, fix = SIGN_ADVICE[name]
        if facts.sign(name)["rows"] and facts.sign(name)["share"] >= least:
            example = facts.sign(name)["example"]
            shown = " ".join(f"{example['before'][-12:]}{example['match']}{example['after'][:8]}".split())
            yield f"{facts.seen(name)} {said.format(shown)}", why, fix


def _languages(facts: Facts) -> Iterator[Words]:
    spoken = facts.profile.get("languages") or {}
    ranked = list((spoken.get("shares") or {}).items())
    others = [(code, share) for code, share in ranked[1:] if share >= _LANGUAGE]
    if others:
        listed = ", ".join(f"{code} {percent(share)}" for code, share in [ranked[0], *others])
        yield (
            f"the texts are in several languages: {listed} (of {spoken['judged']:,} judged)",
            "a model that is to speak one language spends its training on the others too",
            f"nothing, if that is meant; data.clean.languages=[{ranked[0][0]}] keeps one",
        )


def _system(facts: Facts) -> Iterator[Words]:
    turns = facts.profile.get("turns") or {}
    system = turns.get("system") or {}
    if system.get("distinct", 0) > 1:
        yield (
            f"the rows have {system['distinct']:,} different system prompts; the most frequent stands in "
            f"{percent(system['largest']['share'])} of those that have one",
            "the model learns an answer to each of them, and none to a prompt that it never saw",
            "ask the model with the system prompt that you trained most on, or give all rows the same one",
        )
    if 0 < system.get("rows", 0) < turns.get("rows", 0):
        yield (
            f"{system['rows']:,} of {turns['rows']:,} rows have a system prompt, the others have none",
            "the model learns two manners, one with and one without",
            "data.system_prompt=<text> gives one to the others",
        )


def _lengths(facts: Facts) -> Iterator[Words]:
    train = (facts.profile.get("splits") or {}).get("train") or {}
    sizes = (train.get("quantiles") or {}).get("bytes") or {}
    if not sizes:
        return
    if sizes["0.25"] < _SHORT:
        yield (
            f"a quarter of the training texts have {sizes['0.25']:.0f} bytes or fewer",
            "so short a text teaches little, and its score is mostly chance",
            f"data.clean.min_bytes={_SHORT} drops them",
        )
    if facts.is_plain and sizes["1.0"] > _LONG * sizes["0.5"]:
        yield (
            f"the longest training text has {sizes['1.0']:,.0f} bytes, the median one {sizes['0.5']:,.0f}",
            "one text then outweighs many others",
            "data.chunk.by=paragraph cuts long texts",
        )


# In the order of importance: first what makes a result wrong, then what wastes training, then what is untidy.
RULES: tuple[Callable[[Facts], Iterator[Words]], ...] = (
    _benchmarks, _leaks, _repeating, _template_tokens, _unlearned, _seam, _truncation, _few_groups, _one_group,
    _small_test, _bad_rows, _dropped, _encoding, _copies, _learned, _packing, _round_trip, _untidy, _languages, _system,
    _lengths,
)  # fmt: skip
