"""The loop of `assay chat`, with a model that only repeats what it was given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from assay.cli.main import main
from assay.cli.talk import Chat
from assay.core.console import Console
from assay.core.records import Decoding, Setting
from assay.core.rundir import RunDir

DECODING = Decoding(max_new_tokens=5, temperature=0.8, top_p=0.9)


@dataclass
class Parrot:
    """Says what it was told, and remembers how it was called."""

    has_template: bool = True
    which: str = "tuned"
    calls: list[dict[str, Any]] = field(default_factory=list)

    def generate(self, prompts: Sequence[str], decoding: Decoding, **settings: Any) -> list[str]:
        return [f" {prompt}" for prompt in prompts]

    def stream(self, prompt: str, decoding: Decoding, **settings: Any) -> Iterator[str]:
        self.calls.append({"which": self.which, "prompt": prompt, "decoding": decoding, **settings})
        yield from (self.which, " goes on")

    def chat_stream(self, messages: Sequence[dict[str, str]], decoding: Decoding, **settings: Any) -> Iterator[str]:
        said = [dict(message) for message in messages]
        self.calls.append({"which": self.which, "messages": said, "decoding": decoding, **settings})
        yield from (self.which, " heard ", messages[-1]["content"])


def talk(parrot: Parrot, *lines: str) -> None:
    Chat(parrot, Console(), seed=7, setting=Setting("default", DECODING)).loop(lines)


def test_a_conversation_remembers_its_turns(capsys: pytest.CaptureFixture[str]) -> None:
    parrot = Parrot()
    talk(parrot, "hello\n", "\n", "and now?\n")
    assert capsys.readouterr().out == "tuned heard hello\ntuned heard and now?\n"
    assert parrot.calls[1]["messages"] == [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "tuned heard hello"},
        {"role": "user", "content": "and now?"},
    ]
    assert [call["seed"] for call in parrot.calls] == [7, 8]
    assert parrot.calls[0]["decoding"] == DECODING


def test_switching_between_base_and_tuned(capsys: pytest.CaptureFixture[str]) -> None:
    talk(Parrot(), "/base", "a", "/tuned", "b")
    assert capsys.readouterr().out == "base heard a\ntuned heard b\n"


def test_without_a_template_the_text_is_continued() -> None:
    parrot = Parrot(has_template=False)
    talk(parrot, "Once upon a time")
    assert parrot.calls[0]["prompt"] == "Once upon a time"


@pytest.mark.parametrize(
    ("typed", "used"), [("0", 0.0), ("1.5", 1.5), ("-1", 0.8), ("hot", 0.8), ("", 0.8), ("nan", 0.8)]
)
def test_the_temperature(typed: str, used: float) -> None:
    parrot = Parrot()
    talk(parrot, f"/temperature {typed}", "a")
    assert parrot.calls[0]["decoding"].temperature == used


def test_quit_clear_and_unknown_commands(capsys: pytest.CaptureFixture[str]) -> None:
    parrot = Parrot()
    talk(parrot, "a", "/clear", "b", "/nonsense", "/quit", "c")
    assert [len(call["messages"]) for call in parrot.calls] == [1, 1]
    assert "there is no command /nonsense" in capsys.readouterr().err


def test_generating_from_a_run_that_is_not_there_or_not_trained(
    make_run: Callable[..., RunDir], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(until="plan")
    monkeypatch.setenv("ASSAY_RUNS_DIR", str(run.path.parent.parent))
    assert main(["generate", "brad", "x"]) == 2
    assert "nearest: bard" in capsys.readouterr().err
    assert main(["generate", "bard", ""]) == 2
    assert "the prompt is empty" in capsys.readouterr().err
    assert main(["chat", "bard"]) == 2
    assert "has not been trained yet" in capsys.readouterr().err
    assert main(["generate", "bard", "x", "--set", "evaluate.decoding.top_p=2"]) == 2
    assert "top_p" in capsys.readouterr().err
