"""`assay generate` and `assay chat`: trying a model by hand."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from assay.cli.tables import table
from assay.config.decode import DecodingConfig
from assay.config.schema import allowed
from assay.config.values import near
from assay.core.console import Console
from assay.core.errors import InputError, MachineError
from assay.core.records import Decoding, Setting

if TYPE_CHECKING:
    from assay.byhand import Manner

HELP = """\
/tuned            answer with the tuned model
/base             answer with the base model
/set KEY=VALUE... decode otherwise: /set temperature=0.7 top_p=0.9; /settings lists the keys
/temperature X    0 always takes the likeliest token; higher is bolder
/greedy           always the likeliest token, nothing else
/preset           back to how the conversation began
/settings         show how tokens are chosen
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
    how = _manner(name, runs_dir, overrides)
    if not prompts:
        if sys.stdin.isatty():
            console.note("type a prompt, and end it with Ctrl-D on a line of its own")
        prompts = [text] if (text := sys.stdin.read().rstrip("\n")) else []
    if not prompts or not all(prompts):
        raise InputError("the prompt is empty", fix="assay generate RUN 'Once upon a time'")
    talker = _talker(name, runs_dir, console)
    if how.note:
        console.note(how.note)
    answers = talker.generate([how.setting.put(text) for text in prompts], how.setting.decoding, seed=how.seed)
    console.result("\n\n".join(prompt + answer for prompt, answer in zip(prompts, answers, strict=True)))


def chat(name: str, runs_dir: Path, overrides: Sequence[str], console: Console) -> None:
    """Answer line by line until the input ends.

    Raises:
        InputError: there is no such run.
    """
    how = _manner(name, runs_dir, overrides)
    talker = _talker(name, runs_dir, console)
    if how.note:
        console.note(how.note)
    Chat(talker, console, seed=how.seed, setting=how.setting).loop(_lines())


def _talker(name: str, runs_dir: Path, console: Console) -> Talker:
    from assay.byhand import session

    return session(name, runs_dir=runs_dir, which="tuned", console=console)


def _manner(name: str, runs_dir: Path, overrides: Sequence[str]) -> Manner:
    from assay.byhand import manner

    return manner(name, runs_dir=runs_dir, overrides=overrides)


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

    def __init__(self, talker: Talker, console: Console, *, seed: int, setting: Setting) -> None:
        self._talker, self._console = talker, console
        self._seed, self._setting, self._decoding = seed, setting, setting.decoding
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
        elif command in ("/set", "/temperature"):
            self._set(f"temperature={value.strip()}" if command == "/temperature" else value)
        elif command == "/greedy":
            self._use(Decoding(self._decoding.max_new_tokens, 0.0, 1.0))
        elif command == "/preset":
            self._use(self._setting.decoding)
        elif command == "/settings":
            self._console.note(settings_text(self._decoding))
        elif command == "/clear":
            self._messages = []
            self._console.note("forgotten")
        else:
            self._console.note(HELP if command == "/help" else f"there is no command {command}\n{HELP}")

    def _set(self, text: str) -> None:
        found = changed(self._decoding, text)
        if isinstance(found, str):
            self._console.note(found)
        else:
            self._use(found)

    def _use(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._console.note(f"{decoding}, at most {decoding.max_new_tokens} tokens")

    def _answer(self, text: str) -> None:
        text = self._setting.put(text)
        messages = [*self._messages, {"role": "user", "content": text}]
        if self._talker.has_template:
            pieces = self._talker.chat_stream(messages, self._decoding, seed=self._seed)
        else:
            pieces = self._talker.stream(text, self._decoding, seed=self._seed)
        answer = []
        try:
            for piece in pieces:
                answer.append(piece)
                self._console.write(piece)
        except MachineError as error:  # a setting that this machine cannot do ends no conversation
            self._console.error(f"{error}\n/preset goes back to how the conversation began")
            return
        except InputError as error:  # nor does one that is full by now, or that the template refuses
            self._console.error(f"{error}\n/clear forgets what was said; /set max_new_tokens=... asks for less")
            return
        self._console.write("\n")
        self._messages = [*messages, {"role": "assistant", "content": "".join(answer)}]
        self._seed += 1  # asked the same again, a sampled answer differs


def changed(decoding: Decoding, text: str) -> Decoding | str:
    """A way to choose tokens with some ``key=value`` set anew, or what is wrong with them in words."""
    fields = DecodingConfig.model_fields
    values: dict[str, Any] = asdict(decoding)
    if not text.split():
        return "nothing to set: give keys with their values, as in /set temperature=0.7 top_p=0.9"
    for part in text.split():
        key, equals, given = part.partition("=")
        if key not in fields:
            return f"there is no key {key}: {near(key, list(fields)) or 'the keys are ' + ', '.join(fields)}"
        value = _number(given)
        try:
            # alone, so that the message is about this value and not about what it stands beside
            DecodingConfig.model_validate({"temperature": 0.0, "top_k": 2, key: value})
        except ValidationError:
            wrong = f"{given!r} is no {key}" if equals else f"{key} has no value"
            return f"{wrong}: give {allowed(fields[key])}, as in /set {key}={fields[key].default}"
        values[key] = value
    found = Decoding(**values)
    mistake = found.mistake()
    return found if mistake is None else f"{mistake[0]}: {mistake[1]}"


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def settings_text(decoding: Decoding) -> str:
    """Every key with its value and what it does; a star marks those that do something."""
    active = decoding.given()
    rows = [
        ("*" if key in active else "", key, f"{value:g}", DecodingConfig.model_fields[key].description or "")
        for key, value in asdict(decoding).items()
    ]
    return f"{decoding}\n{table(('', 'key', 'value', 'meaning'), rows)}"
