"""What is continued: prompts in independent groups, and human texts to hold the continuations against."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from assay.config.values import HELD_OUT
from assay.core.errors import InputError
from assay.core.files import sha256_text
from assay.core.records import Item
from assay.core.rundir import RunDir
from assay.data.excerpts import excerpts
from assay.data.items import read_groups
from assay.data.passages import asked, passages, system_of, written
from assay.text.suites import prompt_suite

HUMAN_TEXTS = 48  # that continuations are held against, at least where the dev texts have them
_TOKEN, _WORD = 8, 10  # characters that one takes up, more than on average


@dataclass(frozen=True)
class Case:
    """A prompt, the group that it is independent of others by, and the human continuation where it has one."""

    id: str
    group: str
    text: str
    system: str | None = None
    human: str | None = None
    answers: bool = False  # the human text is a whole answer, whose length tells something


@dataclass(frozen=True)
class Source:
    """Where prompts are taken from.

    Args:
        run: a prepared run.
        groups: the most held-out groups of a split.
        per_group: the most prompts of one of them.
        words: of a plain text that make a prompt; of a pair or a chat the prompt is what is asked.
        tokens: how long the continuation should be at least, where the text has it.
        seed: of the choice of groups and places.
    """

    run: RunDir
    groups: int
    per_group: int
    words: int
    tokens: int
    seed: int

    def cases(self, named: str | list[str], split: str) -> list[Case]:
        """Prompts by name, or, for ``held-out``, the beginnings of a split's texts with what follows there.

        Named prompts are groups of their own: nothing is known of what they have in common.

        Raises:
            InputError: there is no such suite or file, or no text is long enough.
        """
        if isinstance(named, list):
            return [Case(f"prompt-{i}", f"prompt-{i}", text) for i, text in enumerate(named, 1)]
        if named != HELD_OUT:
            return [Case(one.id, one.id, one.text, one.system) for one in prompt_suite(named)]
        found = self._held_out(split, self.per_group)
        if not found:
            raise InputError(
                f"no {split} text is long enough for a prompt and a continuation",
                where=str(self.run.split(split)),
                fix="lower decode.prompt_words, or name prompts",
            )
        return found

    def people(self) -> list[Case]:
        """Dev texts to hold generated ones against: of each group as many as make some 48 in all."""
        groups = max(1, len({case.group for case in self._held_out("dev", 1)}))
        return self._held_out("dev", max(self.per_group, math.ceil(HUMAN_TEXTS / groups)))

    def _held_out(self, split: str, per_group: int) -> list[Case]:
        file = self.run.split(split)
        names = pl.scan_parquet(file).select("group").unique().collect()["group"].to_list()
        chosen = sorted(names, key=lambda group: sha256_text(f"{self.seed}:{group}"))[: self.groups]
        size = self.words * _WORD + self.tokens * _TOKEN
        pieces = passages(excerpts(read_groups(file, set(chosen)), per_group * size * 2, seed=self.seed), size)
        seen, kept = Counter[str](), list[Case]()
        for case in (found for item in pieces if (found := _case(item, self.words))):
            seen[case.group] += 1
            if seen[case.group] <= per_group:
                kept.append(case)
        return kept


def _case(item: Item, words: int) -> Case | None:
    """None where the text ends before its continuation begins."""
    if item.turns:
        prompt, human = asked(item), written(item)
    else:
        begun = re.match(rf"\s*(?:\S+\s+){{0,{words - 1}}}\S+", item.text)
        prompt = begun.group() if begun else ""
        human = item.text[len(prompt) :]
    if not prompt or not human.strip():
        return None
    return Case(item.id, item.group, prompt, system_of(item), human, bool(item.turns))


def check_apart(choosing: Sequence[Case], confirming: Sequence[Case]) -> None:
    """Refuse a prompt that would both choose and confirm.

    Raises:
        InputError: one stands in both sets.
    """
    shared = {case.text.strip() for case in choosing} & {case.text.strip() for case in confirming}
    if shared:
        text = min(shared)
        raise InputError(
            f"{len(shared)} prompts stand in both sets, such as {text[:60]!r}: what chose a setting cannot confirm it",
            where="decode.prompts and decode.confirm",
            fix="give other prompts to confirm it on",
        )
