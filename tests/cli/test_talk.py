"""The loop of `assay chat`, with a model that only repeats what it was given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from assay.cli.main import main
from assay.cli.talk import Chat
from assay.config.decode import DecodingConfig
from assay.core.console import Console
from assay.core.errors import InputError, MachineError
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


@pytest.mark.parametrize(
    ("typed", "used"),
    [
        ("temperature=0.5 top_p=0.8", Decoding(5, 0.5, 0.8)),
        ("temperature=0 beams=4", Decoding(5, 0, 0.9, beams=4)),
        ("max_new_tokens=9", Decoding(9, 0.8, 0.9)),
        ("repetition_penalty=1.2", Decoding(5, 0.8, 0.9, repetition_penalty=1.2)),
    ],
)
def test_settings_by_hand(typed: str, used: Decoding) -> None:
    parrot = Parrot()
    talk(parrot, f"/set {typed}", "a", "/preset", "b")
    assert [call["decoding"] for call in parrot.calls] == [used, DECODING]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("temprature=1", "there is no key temprature: did you mean temperature?"),
        ("zzz=1", "the keys are max_new_tokens, temperature"),
        ("top_p=2", "'2' is no top_p: give a number > 0 and ≤ 1, as in /set top_p=0.95"),
        ("beams=1.5", "'1.5' is no beams"),
        ("temperature=", "'' is no temperature"),
        ("temperature", "temperature has no value"),
        ("beams=4", "4 beams search for the likeliest text, and temperature 0.8 draws one"),
        ("temperature=0 penalty_alpha=0.5", "chooses among top_k candidates"),
        ("temperature=nan", "'nan' is no temperature"),
        ("", "nothing to set"),
    ],
)
def test_nonsense_is_said_and_changes_nothing(typed: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    parrot = Parrot()
    talk(parrot, f"/set {typed}", "a")
    assert said in capsys.readouterr().err
    assert parrot.calls[0]["decoding"] == DECODING


def test_greedy_and_the_list_of_settings(capsys: pytest.CaptureFixture[str]) -> None:
    parrot = Parrot()
    talk(parrot, "/greedy", "/settings", "a")
    assert parrot.calls[0]["decoding"] == Decoding(5, 0.0, 1.0)
    said = capsys.readouterr().err
    assert "greedy, at most 5 tokens" in said
    assert all(key in said for key in DecodingConfig.model_fields)


def test_a_setting_that_this_machine_cannot_do_ends_no_conversation(capsys: pytest.CaptureFixture[str]) -> None:
    class Unable(Parrot):
        def chat_stream(self, messages: Sequence[dict[str, str]], decoding: Decoding, **settings: Any) -> Iterator[str]:
            if decoding.penalty_alpha:
                raise MachineError("there is no contrastive search here", fix="leave it out")
            yield from super().chat_stream(messages, decoding, **settings)

    parrot = Unable()
    talk(parrot, "/set temperature=0 top_k=4 penalty_alpha=0.6", "a", "/preset", "b")
    said = capsys.readouterr()
    assert "there is no contrastive search here" in said.err
    assert said.out == "tuned heard b\n"
    assert [len(call["messages"]) for call in parrot.calls] == [1]


def test_a_full_conversation_is_said_to_be_and_goes_on_once_it_is_cleared(capsys: pytest.CaptureFixture[str]) -> None:
    class Full(Parrot):
        def chat_stream(self, messages: Sequence[dict[str, str]], decoding: Decoding, **settings: Any) -> Iterator[str]:
            if len(messages) > 1:
                raise InputError("the conversation no longer fits", fix="shorten it")
            yield from super().chat_stream(messages, decoding, **settings)

    parrot = Full()
    talk(parrot, "a", "b", "/clear", "c")
    said = capsys.readouterr()
    assert said.err.count("the conversation no longer fits") == 1
    assert "/clear forgets what was said" in said.err
    assert said.out == "tuned heard a\ntuned heard c\n"
    assert [call["messages"] for call in parrot.calls] == [[{"role": "user", "content": one}] for one in "ac"]


def test_prompts_stand_in_the_presets_words() -> None:
    parrot = Parrot(has_template=False)
    Chat(parrot, Console(), seed=7, setting=Setting("x", DECODING, "told", "Go on: {prompt}")).loop(["Once"])
    assert parrot.calls[0]["prompt"] == "Go on: Once"


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
