"""Every setting over the prompts and seeds: texts by the tuned model, scored by the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from assay.core.console import Console
from assay.core.errors import InputError
from assay.core.others import Others
from assay.core.records import Decoding, Setting
from assay.core.words import count
from assay.model.generate import ROWS, Clock, Generation, generate, room
from assay.model.score import Nats, Reading, Scorer
from assay.model.session import Session
from assay.stages.decode.kept import Kept, Made
from assay.stages.decode.measure import Human, Output, Reference
from assay.stages.decode.prompts import Case
from assay.text.asking import Asking

LONGEST_HUMAN = 2048  # tokens of a human text that are scored
_Asked = tuple[Case, int, list[int]]  # with its seed and its ids
_NOTHING = Decoding(0, 0.0, 1.0)  # no new token: what `room` is left for the prompt is all that the model reads


@dataclass(frozen=True)
class Tried:
    """One setting's texts and what they cost."""

    setting: Setting
    outputs: list[Output]
    cost: dict[str, Any]  # with what other processes did meanwhile: `core.others`


@dataclass(frozen=True)
class Laboratory:
    """A trained model in memory, with the ways in which it is asked."""

    session: Session
    seed: int
    seeds: int
    kept: Kept
    console: Console

    @property
    def asking(self) -> Asking:
        """How a prompt is put, as training saw one."""
        return Asking(self.session.encoder, self.session.chats, self.session.system)

    def ids(self, case: Case, setting: Setting) -> list[int]:
        """The ids of a prompt in a setting's words."""
        return self.asking.ids(setting.put(case.text), system=case.system)

    def fitting(self, cases: Sequence[Case], settings: Sequence[Setting], *, where: str | None) -> list[Case]:
        """The prompts that leave the model room for all new tokens, in every setting.

        Args:
            cases: the prompts.
            settings: what is tried.
            where: the key that named the prompts: none of those may be left out; None where they are excerpts.

        Raises:
            InputError: a named prompt is too long, or all prompts are.
        """
        model, kept = self.session.model, list[Case]()
        for case in cases:
            over = [s for s in settings if len(self.ids(case, s)) > room(model, s.decoding)]
            if over and where is not None:
                raise InputError(
                    f"the prompt {case.id!r} leaves no room for {over[0].decoding.max_new_tokens} new tokens",
                    where=where, fix="shorten it, or lower decode.max_new_tokens",
                )  # fmt: skip
            if not over:
                kept.append(case)
        if cases and not kept:
            most = max(setting.decoding.max_new_tokens for setting in settings)
            raise InputError(
                f"no prompt leaves room for {most} new tokens: the model reads {room(model, _NOTHING)} in all",
                where="decode.max_new_tokens", fix="lower it, there or in decode.grid and decode.settings",
            )  # fmt: skip
        if left := len(cases) - len(kept):
            self.console.note(f"{count(left, 'prompt')} of {len(cases)} left out: too long for the model")
        return kept

    def tries(self, cases: Sequence[Case], settings: Sequence[Setting], label: str) -> list[Tried]:
        """Generate with each setting, then score all texts by the base. What is not drawn is generated once."""
        found: list[tuple[Setting, list[_Asked], list[Generation], dict[str, Any]]] = []
        with self.console.progress(label, len(settings), "settings") as bar:
            for number, setting in enumerate(settings):
                draws = self.seeds if setting.decoding.drawn else 1
                asked = [
                    (case, self.seed + draw * len(cases) + at, self.ids(case, setting))
                    for draw in range(draws) for at, case in enumerate(cases)
                ]  # fmt: skip
                found.append((setting, asked, *self._generated(setting.decoding, asked)))
                bar.update(number + 1, setting.name)
        pairs = [
            (ids, one.ids, len(one.text.encode()))
            for _, asked, texts, _ in found for (_, _, ids), one in zip(asked, texts, strict=True)
        ]  # fmt: skip
        nats = iter(self.nats(pairs))
        return [
            Tried(
                setting,
                [
                    Output(case, seed, one.text, one.ids, one.stopped, next(nats))
                    for (case, seed, _), one in zip(asked, texts, strict=True)
                ],
                cost,
            )
            for setting, asked, texts, cost in found
        ]

    def _generated(self, decoding: Decoding, asked: Sequence[_Asked]) -> Made:
        encoder, rows = self.session.encoder, max(1, ROWS // decoding.beams)
        prompts, seeds = [ids for _, _, ids in asked], [seed for _, seed, _ in asked]

        def make() -> Made:
            clock, others = Clock(), Others()
            model, switched = self.session.active("tuned")
            with switched:
                texts = generate(
                    model, encoder.tokenizer, prompts, stops=encoder.stops, decoding=decoding, seeds=seeds, rows=rows,
                    clock=clock,
                )  # fmt: skip
            return texts, _cost(clock, len(texts)) | others.record()

        decides = {"prompts": prompts, "seeds": seeds, "stops": sorted(encoder.stops), "rows": rows}
        return self.kept.once(decides | {"decoding": asdict(decoding)}, make)

    def human(self, cases: Sequence[Case], bare: Setting) -> Reference:
        """The human continuations of cases that have one, scored by the base."""
        tokenizer = self.session.encoder.tokenizer
        own = [case for case in cases if case.human is not None]
        encoded = [ids[:LONGEST_HUMAN] for ids in tokenizer.encode_batch([str(case.human) for case in own])]
        longest = max((len(ids) for ids in encoded), default=1)
        space = room(self.session.model, _NOTHING)
        asked = [self.ids(case, bare) for case in own]
        kept = [
            (case, a, tuple(ids[: max(0, space - len(a))][:longest]))
            for case, a, ids in zip(own, asked, encoded, strict=True)
        ]
        nats = self.nats([(a, ids, len(tokenizer.decode(list(ids)).encode())) for _, a, ids in kept])
        texts = [Human(case.group, ids, n, case.answers) for (case, _, ids), n in zip(kept, nats, strict=True)]
        return Reference(texts, tokenizer)

    def nats(self, pairs: Sequence[tuple[list[int], Sequence[int], int]]) -> list[Nats]:
        """Of (prompt, continuation, its bytes) the nats of the continuation's tokens by the base, given the prompt."""
        readings = [_reading(*pair) for pair in pairs]
        window = max((len(one.ids) for one in readings), default=1)
        model, switched = self.session.active("base")
        with switched:
            scorer = Scorer(model, self.session.encoder.tokenizer, window=window, stride=window)
            return scorer.score_readings(readings)


def _reading(prompt: list[int], said: Sequence[int], size: int) -> Reading:
    ids = [*prompt[1:], *said]
    counts = np.arange(len(ids)) >= len(prompt) - 1
    return Reading(ids, prompt[0], size, counts)


def _cost(clock: Clock, texts: int) -> dict[str, Any]:
    return {
        "seconds": round(clock.seconds, 3),
        "tokens_per_s": clock.tokens / clock.seconds if clock.tokens and clock.seconds else None,
        "texts": texts,
        "tokens": clock.tokens,
    }
