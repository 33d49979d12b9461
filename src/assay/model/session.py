"""A trained run's model held in memory, to be tried by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, cast

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerFast, TextIteratorStreamer

from assay.core.console import Console
from assay.core.errors import InputError
from assay.core.files import read_json
from assay.core.records import Decoding, Role, Turn
from assay.core.rundir import RunDir
from assay.model.adapters import causal, load_adapter, load_tuned
from assay.model.generate import check_supported, generate, processors, room, settings
from assay.model.load import load_base, silent
from assay.model.registry import BaseRef
from assay.text.tokens import Encoder
from assay.text.tokens import chat_template as template_of

# what is too long
ONE, SEVERAL = "the prompt does not fit", "the conversation no longer fits"


@dataclass
class Session:
    """A model held in memory to be tried by hand; `which` may be switched between `tuned` and `base`."""

    model: PreTrainedModel | PeftModel
    base: PreTrainedModel | None  # a separate base, for a full fine-tune
    encoder: Encoder
    which: str = "tuned"
    has_template: bool = False  # it knows turns: the base came with a chat template, or was trained on chats
    chats: bool = False  # it was trained on chats, so that a prompt is a user's turn
    system: str | None = None  # the system prompt that it was trained with

    def _asked(self, prompt: str) -> list[Turn]:
        """A prompt as training saw one."""
        return self._with_system([Turn("user", prompt)]) if self.chats else [Turn("prompt", prompt)]

    def _with_system(self, turns: list[Turn]) -> list[Turn]:
        own = self.system is not None and self.chats and turns[0].role != "system"
        return [Turn("system", str(self.system)), *turns] if own else turns

    def active(self, which: str | None = None) -> tuple[PreTrainedModel | PeftModel, AbstractContextManager[Any]]:
        """The model that answers (`which`, or the one switched to), and the context in which it does."""
        if (which or self.which) == "base":
            if self.base is not None:
                return self.base, nullcontext()
            if isinstance(self.model, PeftModel):
                return self.model, self.model.disable_adapter()
        return self.model, nullcontext()

    def generate(self, prompts: Sequence[str], decoding: Decoding, *, seed: int) -> list[str]:
        """The new text of each prompt, each drawn with `seed`.

        Raises:
            InputError: a prompt leaves no room for the new text.
        """
        model, switched = self.active()
        asked = [self.encoder.prompt(self._asked(prompt)) for prompt in prompts]
        for ids in asked:
            _check_room(model, ids, decoding, ONE)
        with switched:
            return self._whole(model, asked, decoding, seed)

    def _whole(
        self, model: PreTrainedModel | PeftModel, prompts: Sequence[list[int]], decoding: Decoding, seed: int
    ) -> list[str]:
        found = generate(
            model, self.encoder.tokenizer, prompts, stops=self.encoder.stops, decoding=decoding,
            seeds=[seed] * len(prompts),
        )  # fmt: skip
        return [one.text for one in found]

    def stream(self, prompt: str, decoding: Decoding, *, seed: int) -> Iterator[str]:
        """The new text piece by piece, as it comes.

        Raises:
            InputError: the prompt leaves no room for it.
            MachineError: the installed library cannot do it.
        """
        yield from self._stream(self._asked(prompt), decoding, seed, ONE)

    def _stream(self, turns: Sequence[Turn], decoding: Decoding, seed: int, what: str) -> Iterator[str]:
        model, switched = self.active()
        tokenizer = self.encoder.tokenizer
        check_supported(decoding)
        asked = self.encoder.prompt(turns)
        _check_room(model, asked, decoding, what)
        if decoding.beams > 1:  # a search knows its text only at the end
            with switched:
                yield self._whole(model, [asked], decoding, seed)[0]
            return
        wrapper = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend)
        streamer = TextIteratorStreamer(wrapper, skip_prompt=True, skip_special_tokens=True)
        ids = torch.tensor([asked], device=causal(model).device)
        failed: list[Exception] = []

        def work() -> None:
            try:
                with torch.no_grad(), silent():
                    cast(Any, causal(model)).generate(
                        input_ids=ids,
                        attention_mask=torch.ones_like(ids),
                        generation_config=settings(tokenizer, self.encoder.stops, decoding),
                        logits_processor=processors(decoding, [seed]),
                        streamer=streamer,
                    )
            except Exception as error:  # raised again where the pieces are read: a thread's own errors are lost
                failed.append(error)
            finally:
                streamer.end()

        with switched:
            thread = Thread(target=work, daemon=True)
            thread.start()
            yield from (piece for piece in streamer if piece)
            thread.join()
        if failed:
            raise failed[0]

    def chat_stream(self, messages: Sequence[dict[str, str]], decoding: Decoding, *, seed: int) -> Iterator[str]:
        """The answer to a conversation, through the chat template that training used.

        Raises:
            InputError: the conversation leaves no room for it, or the template refuses it.
            MachineError: the installed library cannot do it.
        """
        turns = [Turn(cast(Role, message["role"]), message["content"]) for message in messages]
        yield from self._stream(self._with_system(turns), decoding, seed, SEVERAL if len(messages) > 1 else ONE)


def _check_room(model: PreTrainedModel | PeftModel, ids: Sequence[int], decoding: Decoding, what: str) -> None:
    """Refuse what a model has no positions for: some fail behind the last one, others babble."""
    space = room(model, decoding)
    if len(ids) <= space:
        return
    most = space + decoding.max_new_tokens
    left = most - len(ids)
    raise InputError(
        f"{what}: {len(ids)} tokens leave no room for {decoding.max_new_tokens} new ones, as the model "
        f"reads {most} in all",
        where="max_new_tokens",
        fix=f"shorten it, or lower max_new_tokens to {left}" if left > 0 else "shorten it",
    )


def open_session(
    run: RunDir,
    base: BaseRef,
    cache: Path,
    *,
    kind: str,
    chat_template: str | None,
    system: str | None,
    which: str,
    console: Console,
) -> Session:
    """Load a trained run's model, in the precision and on the device of its plan."""
    decisions = read_json(run.plan)["decisions"]
    dtype, device = decisions["precision"]["value"], decisions["device"]
    model, tokenizer = load_base(base, cache, dtype=dtype, device=device, console=console, four_bit=kind == "qlora")
    encoder = Encoder(tokenizer, template_of(tokenizer, chat_template))
    chats = read_json(run.tokens_profile)["template_sha256"] is not None
    how = (encoder, which, chats or tokenizer.chat_template is not None, chats, system)
    if kind == "full":
        return Session(load_tuned(run.model, dtype=dtype, device=device), model, *how)
    return Session(load_adapter(model, run.adapter), None, *how)
