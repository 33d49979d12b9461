"""`assay generate` and `assay chat`: trying a model by hand."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from assay.config.load import load_experiment
from assay.config.schema import Experiment
from assay.core.console import Console
from assay.core.errors import InputError
from assay.core.ledger import resolve_run
from assay.core.records import Decoding

HELP = """\
/tuned            answer with the tuned model
/base             answer with the base model
/temperature X    0 always takes the likeliest token; higher is bolder
/clear            forget what was said
/quit             end (so does the end of the input)"""


class Talker(Protocol):
    """A loaded model, as `assay.byhand.session` gives it; `which` of the two answers may be switched."""

    which: str

    @property
    def has_template(self) -> bool:
        """Whether the model knows turns; without a template it continues plain text."""

    def generate(self, prompts: Sequence[str], decoding: Decoding, *, seed: int) -> list[str]:
        """The new text behind each prompt."""

    def stream(self, prompt: str, decoding: Decoding, *, seed: int) -> Iterator[str]:
        """The new text behind one prompt, in pieces."""

    def chat_stream(self, messages: Sequence[dict[str, str]], decoding: Decoding, *, seed: int) -> Iterator[str]:
        """The answer to the last message, in pieces."""


def generate(name: str, prompts: list[str], runs_dir: Path, overrides: Sequence[str], console: Console) -> None:
    """Print each prompt with the tuned model's continuation; without prompts, standard input is one.

    Raises:
        InputError: there is no such run, or no prompt.
    """
    experiment = _experiment(name, runs_dir, overrides)
    if not prompts:
        if sys.stdin.isatty():
            console.note("type a prompt, and end it with Ctrl-D on a line of its own")
        prompts = [text] if (text := sys.stdin.read().rstrip("\n")) else []
    if not prompts or not all(prompts):
        raise InputError("the prompt is empty", fix="assay generate RUN 'Once upon a time'")
    talker = _talker(name, runs_dir, console)
    answers = talker.generate(prompts, _decoding(experiment), seed=experiment.seed)
    console.result("\n\n".join(prompt + answer for prompt, answer in zip(prompts, answers, strict=True)))


def chat(name: str, runs_dir: Path, overrides: Sequence[str], console: Console) -> None:
    """Answer line by line until the input ends.

    Raises:
        InputError: there is no such run.
    """
    experiment = _experiment(name, runs_dir, overrides)
    talker = _talker(name, runs_dir, console)
    Chat(talker, console, seed=experiment.seed, decoding=_decoding(experiment)).loop(_lines())


def _talker(name: str, runs_dir: Path, console: Console) -> Talker:
    from assay.byhand import session

    return session(name, runs_dir=runs_dir, which="tuned", console=console)


def _experiment(name: str, runs_dir: Path, overrides: Sequence[str]) -> Experiment:
    run = resolve_run(name, runs_dir)
    return load_experiment(run.resolved, overrides).experiment


def _decoding(experiment: Experiment) -> Decoding:
    return Decoding(**experiment.evaluate.decoding.model_dump())


def _lines() -> Iterator[str]:
    """What is typed, with line editing at a terminal; else the lines of standard input."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    import readline  # noqa: F401  (its import gives `input` line editing and history)

    while True:
        try:
            yield input("> ")
        except EOFError:
            return


class Chat:
    """A conversation with one run's two models, of which one answers at a time."""

    def __init__(self, talker: Talker, console: Console, *, seed: int, decoding: Decoding) -> None:
        self._talker, self._console = talker, console
        self._seed, self._decoding = seed, decoding
        self._messages: list[dict[str, str]] = []

    def loop(self, lines: Iterable[str]) -> None:
        """Answer each line; a line that begins with a slash is a command."""
        self._console.note("the tuned model answers; /help lists the commands")
        for line in lines:
            text = line.strip()
            if text == "/quit":
                return
            if text.startswith("/"):
                self._command(text)
            elif text:
                self._answer(text)

    def _command(self, text: str) -> None:
        command, _, value = text.partition(" ")
        if command in ("/tuned", "/base"):
            self._talker.which = command.removeprefix("/")
            self._console.note(f"the {self._talker.which} model answers")
        elif command == "/temperature":
            self._set_temperature(value.strip())
        elif command == "/clear":
            self._messages = []
            self._console.note("forgotten")
        else:
            self._console.note(HELP if command == "/help" else f"there is no command {command}\n{HELP}")

    def _set_temperature(self, value: str) -> None:
        try:
            temperature = float(value)
        except ValueError:
            temperature = -1.0
        if not 0 <= temperature < float("inf"):
            self._console.note(
                f"{value or 'nothing'!r} is no temperature: give a number from 0 up, as in /temperature 0.7"
            )
            return
        self._decoding = replace(self._decoding, temperature=temperature)
        self._console.note(f"temperature {temperature:g}")

    def _answer(self, text: str) -> None:
        self._messages.append({"role": "user", "content": text})
        if self._talker.has_template:
            pieces = self._talker.chat_stream(self._messages, self._decoding, seed=self._seed)
        else:
            pieces = self._talker.stream(text, self._decoding, seed=self._seed)
        answer = []
        for piece in pieces:
            answer.append(piece)
            self._console.write(piece)
        self._console.write("\n")
        self._messages.append({"role": "assistant", "content": "".join(answer)})
        self._seed += 1  # asked the same again, a sampled answer differs
