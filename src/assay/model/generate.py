"""Generation: new tokens only, seeded per prompt, from base and tuned alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, cast

import torch
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast, TextIteratorStreamer

from assay.core.console import Console
from assay.core.files import read_json
from assay.core.rundir import RunDir
from assay.model.adapters import causal, load_adapter, load_tuned
from assay.model.load import load_base, silent
from assay.model.registry import BaseRef
from assay.text.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Generation:
    """What one prompt gave: the new text, with special tokens as they came in `raw`."""

    text: str
    raw: str
    tokens: int
    stopped: bool  # by itself, before the limit


def _config(tokenizer: TextTokenizer, max_new_tokens: int, temperature: float, top_p: float) -> GenerationConfig:
    sampling: dict[str, Any] = {"do_sample": False}
    if temperature > 0:
        sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
    pad = tokenizer.eos if tokenizer.eos is not None else 0
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        eos_token_id=tokenizer.eos,
        pad_token_id=pad,
        bos_token_id=tokenizer.bos,
        **sampling,
    )


def prompt_ids(tokenizer: TextTokenizer, prompt: str) -> list[int]:
    """A prompt as the model was trained to see a text's beginning; never empty."""
    ids = [*tokenizer.prefix, *tokenizer.encode(prompt)]
    if not ids:
        ids = [tokenizer.context if tokenizer.context is not None else 0]
    return ids


def generate(
    model: PreTrainedModel | PeftModel,
    tokenizer: TextTokenizer,
    prompt: str,
    *,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    seed: int,
) -> Generation:
    """Continue one prompt. The same seed gives the same text, whatever was generated before.

    Args:
        max_new_tokens: the limit.
        temperature: 0 takes the likeliest token each time.
        top_p: nucleus sampling (arXiv 1904.09751).
    """
    ids = torch.tensor([prompt_ids(tokenizer, prompt)], device=causal(model).device)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), silent():
        torch.manual_seed(seed)
        out = cast(Any, causal(model)).generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=_config(tokenizer, max_new_tokens, temperature, top_p),
        )
    new: list[int] = out[0, ids.shape[1] :].tolist()
    stopped = tokenizer.eos is not None and tokenizer.eos in new
    if stopped:
        new = new[: new.index(tokenizer.eos)]  # type: ignore[arg-type]
    return Generation(tokenizer.decode(new), tokenizer.decode(new, keep_special=True), len(new), stopped)


@dataclass
class Session:
    """A model held in memory to be tried by hand; `which` may be switched between `tuned` and `base`."""

    model: PreTrainedModel | PeftModel
    base: PreTrainedModel | None  # a separate base, for a full fine-tune
    tokenizer: TextTokenizer
    which: str = "tuned"

    @property
    def has_template(self) -> bool:
        """Whether the base came with a chat template."""
        return self.tokenizer.chat_template is not None

    def _active(self) -> tuple[PreTrainedModel | PeftModel, Any]:
        if self.which == "base":
            if self.base is not None:
                return self.base, nullcontext()
            if isinstance(self.model, PeftModel):
                return self.model, self.model.disable_adapter()
        return self.model, nullcontext()

    def generate(
        self, prompts: Sequence[str], *, max_new_tokens: int, temperature: float, top_p: float, seed: int
    ) -> list[str]:
        """The new text of each prompt."""
        model, switched = self._active()
        with switched:
            return [
                generate(
                    model, self.tokenizer, prompt,
                    max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed,
                ).text
                for prompt in prompts
            ]  # fmt: skip

    def stream(self, prompt: str, *, max_new_tokens: int, temperature: float, top_p: float, seed: int) -> Iterator[str]:
        """The new text piece by piece, as it comes."""
        settings = _config(self.tokenizer, max_new_tokens, temperature, top_p)
        yield from self._stream(prompt_ids(self.tokenizer, prompt), settings, seed)

    def _stream(self, prompt: list[int], settings: GenerationConfig, seed: int) -> Iterator[str]:
        model, switched = self._active()
        streamer = TextIteratorStreamer(self._wrapper(), skip_prompt=True, skip_special_tokens=True)
        ids = torch.tensor([prompt], device=causal(model).device)

        def work() -> None:
            try:
                with torch.no_grad(), silent():
                    torch.manual_seed(seed)
                    cast(Any, causal(model)).generate(
                        input_ids=ids,
                        attention_mask=torch.ones_like(ids),
                        generation_config=settings,
                        streamer=streamer,
                    )
            finally:
                streamer.end()

        with switched, torch.random.fork_rng(devices=[]):
            thread = Thread(target=work, daemon=True)
            thread.start()
            yield from (piece for piece in streamer if piece)
            thread.join()

    def chat_stream(
        self, messages: Sequence[dict[str, str]], *, max_new_tokens: int, temperature: float, top_p: float, seed: int
    ) -> Iterator[str]:
        """The answer to a conversation, through the base's own chat template."""
        # the template writes the beginning-of-text token itself, so nothing is put in front again
        prompt = str(self._wrapper().apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))
        settings = _config(self.tokenizer, max_new_tokens, temperature, top_p)
        yield from self._stream(self.tokenizer.encode(prompt), settings, seed)

    def _wrapper(self) -> PreTrainedTokenizerFast:
        return PreTrainedTokenizerFast(
            tokenizer_object=self.tokenizer.backend, chat_template=self.tokenizer.chat_template
        )


def open_session(run: RunDir, base: BaseRef, cache: Path, *, kind: str, which: str, console: Console) -> Session:
    """Load a trained run's model, in the precision and on the device of its plan."""
    decisions = read_json(run.plan)["decisions"]
    dtype, device = decisions["precision"]["value"], decisions["device"]
    model, tokenizer = load_base(base, cache, dtype=dtype, device=device, console=console)
    if kind == "full":
        return Session(load_tuned(run.model, dtype=dtype, device=device), model, tokenizer, which)
    return Session(load_adapter(model, run.adapter), None, tokenizer, which)
