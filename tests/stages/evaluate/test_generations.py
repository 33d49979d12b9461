"""The same prompts with the same seeds in every arm; what the base is shown, and what stands in generations.jsonl."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixture_sample import lively
from hypothesis import given
from hypothesis import strategies as st

from assay.core.files import read_lines, write_lines
from assay.core.records import Decoding, Item, Turn
from assay.model.generate import Generation, generate, room
from assay.stages.evaluate.generations import ALONE, Arm, continue_all, examples, rows
from assay.text.asking import EXAMPLE_BYTES, Asking
from assay.text.suites import Prompt
from assay.text.tokenizer import byte_tokenizer
from assay.text.tokens import Encoder, chat_template

TOKENIZER = byte_tokenizer()
PLAIN = Encoder(TOKENIZER, None)
CHATS = Encoder(TOKENIZER, chat_template(TOKENIZER))
DRAWN = Decoding(8, 0.9, 0.95)
PROMPTS = [Prompt("a", "To be"), Prompt("b", "O"), Prompt("c", "What news on the Rialto?"), Prompt("d", "My lord")]


def texts(*sizes: int) -> list[Item]:
    return [Item(str(n), f"g{n}", chr(97 + n % 26) * size) for n, size in enumerate(sizes)]


def read_back(ids: list[int]) -> str:
    return TOKENIZER.decode(ids, keep_special=True)


# the examples


@given(st.lists(st.integers(1, 1200), min_size=1, max_size=20), st.integers(0, 6), st.integers(0, 50))
def test_examples_are_short_rows_chosen_by_the_seed(sizes: list[int], count: int, seed: int) -> None:
    items = texts(*sizes)
    found = examples(items, count, seed=seed)
    short = [item for item in items if item.size <= EXAMPLE_BYTES]
    assert len(found) == min(count, len(short or items))
    assert len({item.id for item in found}) == len(found)
    assert all(item in (short or items) for item in found)
    assert examples(items, count, seed=seed) == found
    assert examples(items, count + 1, seed=seed)[:count] == found  # one more is one more


def test_another_seed_chooses_others() -> None:
    items = texts(*[100] * 20)
    assert len({tuple(item.id for item in examples(items, 3, seed=seed)) for seed in range(10)}) > 5


def test_short_is_counted_in_bytes() -> None:
    fits, too_long = Item("a", "g", "é" * 300), Item("b", "g", "é" * 300 + "e")
    assert examples([too_long, fits], 2, seed=0) == [fits]


# how a model is asked


def test_a_plain_text_is_asked_by_its_beginning_behind_the_examples() -> None:
    asking = Asking(PLAIN, chat=False, system="never shown")
    pair = Item("p", "g", "", (Turn("prompt", "2 + 2 = "), Turn("completion", "4\n")))
    assert read_back(asking.ids("O Romeo")) == "O Romeo"
    shown = [Item("a", "g", "A first text. \n"), pair]
    assert read_back(asking.ids("O Romeo", shown)) == "A first text.\n\n2 + 2 = 4\n\nO Romeo"


@given(st.integers(0, 640), st.sampled_from("eé€😀"), st.integers(1, 99))
def test_an_example_is_cut_where_a_character_ends(before: int, character: str, count: int) -> None:
    text = "x" * before + character * count
    asking = Asking(PLAIN, chat=False, system=None)
    shown = read_back(asking.ids("Go on", [Item("a", "g", text)])).removesuffix("\n\nGo on")
    assert text.startswith(shown)
    assert len(shown.encode()) <= EXAMPLE_BYTES
    assert shown == text or len(shown.encode()) > EXAMPLE_BYTES - 4


@pytest.mark.parametrize("system", ["Be brief.", None])
def test_in_a_chat_the_examples_are_earlier_turns(system: str | None) -> None:
    talk = (Turn("system", "Be long."), Turn("user", "one?"), Turn("tool", "…"), Turn("assistant", "1"))
    shown = [Item("a", "g", "", talk), Item("b", "g", "", (Turn("user", "two?"), Turn("assistant", "2")))]
    ids = Asking(CHATS, chat=True, system=system).ids("three?", shown)
    said = [("user", "one?"), ("assistant", "1"), ("user", "two?"), ("assistant", "2"), ("user", "three?")]
    turns = [Turn(role, text) for role, text in said]
    first = [Turn("system", system)] if system else []
    assert CHATS.template is not None
    assert read_back(ids) == CHATS.template.prompt([*first, *turns])
    assert "Be long." not in read_back(ids)
    own = Asking(CHATS, chat=True, system=system).ids("three?", system="Be kind.")
    assert read_back(own) == CHATS.template.prompt([Turn("system", "Be kind."), turns[-1]])
    bare = Asking(CHATS, chat=True, system=system).ids("three?")
    assert read_back(bare) == CHATS.template.prompt([*first, turns[-1]])


def test_a_question_without_an_answer_is_no_example() -> None:
    talk = (Turn("user", "one?"), Turn("assistant", "1"), Turn("user", "thanks"))
    asking = Asking(CHATS, chat=True, system=None)
    shown = [Item("a", "g", "", talk), Item("b", "g", "", (Turn("user", "hello?"),))]
    assert asking.ids("two?", shown) == asking.ids("two?", [Item("a", "g", "", talk[:2])])


@given(st.lists(st.integers(1, 40), max_size=5), st.integers(0, 200))
def test_examples_go_from_the_first_until_the_prompt_fits(sizes: list[int], room: int) -> None:
    asking, shown = Asking(PLAIN, chat=False, system=None), texts(*sizes)
    ids = asking.fitting(Prompt("r", "O Romeo"), shown, room)
    kept = [shown[first:] for first in range(len(shown) + 1)]
    fits = [some for some in kept if len(asking.ids("O Romeo", some)) <= room] or [[]]
    assert ids == asking.ids("O Romeo", fits[0])


def test_there_is_room_for_all_new_tokens(model: Any) -> None:
    assert room(model, DRAWN) == model.config.max_position_embeddings - DRAWN.max_new_tokens


# what they say


@pytest.fixture(scope="module")
def model() -> Any:
    return lively()


def ids_of(encoder: Encoder = PLAIN, shown: tuple[Item, ...] = ()) -> list[list[int]]:
    return [Asking(encoder, chat=False, system=None).ids(prompt.text, shown) for prompt in PROMPTS]


def test_prompt_i_has_seed_plus_i_alone_or_with_others(model: Any) -> None:
    arm = continue_all(model, PLAIN, ids_of(), DRAWN, seed=40)
    for i, ids in enumerate(ids_of()):
        (alone,) = generate(model, TOKENIZER, [ids], stops=PLAIN.stops, decoding=DRAWN, seeds=[40 + i])
        assert arm.generations[i] == alone
    assert continue_all(model, PLAIN, ids_of(), DRAWN, seed=41).generations != arm.generations


def test_a_line_of_the_file_is_enough_to_make_its_text_again(model: Any, tmp_path: Path) -> None:
    shown = (Item("x", "g", "An example."),)
    asked = {"base": ids_of(), "prompt_only": ids_of(shown=shown)}
    arms = {name: continue_all(model, PLAIN, ids, DRAWN, seed=7) for name, ids in asked.items()}
    write_lines(tmp_path / "generations.jsonl", rows(PROMPTS, arms, seed=7))
    lines = read_lines(tmp_path / "generations.jsonl")
    assert [(line["id"], line["prompt"]) for line in lines] == [(prompt.id, prompt.text) for prompt in PROMPTS]
    for line in lines:
        for arm, before in (("base", ()), ("prompt_only", shown)):
            ids = Asking(PLAIN, chat=False, system=None).ids(line["prompt"], before)
            (one,) = generate(model, TOKENIZER, [ids], stops=PLAIN.stops, decoding=DRAWN, seeds=[line["seed"]])
            assert line[arm] == one.text
            assert line[f"raw_{arm}"] == one.raw
            assert (line[f"tokens_{arm}"], line[f"stopped_{arm}"]) == (len(one.ids), one.stopped)
    assert any(line["base"] != line["prompt_only"] for line in lines)  # what is shown is read


def test_rows_hold_each_arms_own_text() -> None:
    arms = {arm: Arm([Generation(f"{arm}{i}", f"{arm}{i}<e>", (1,) * i, i == 2) for i in range(4)], {}) for arm in "xy"}
    found = rows(PROMPTS, arms, seed=5)
    assert found[2] == {
        "id": "c", "prompt": PROMPTS[2].text, "seed": 7, "x": "x2", "raw_x": "x2<e>", "tokens_x": 2, "stopped_x": True,
        "y": "y2", "raw_y": "y2<e>", "tokens_y": 2, "stopped_y": True,
    }  # fmt: skip
    assert rows([], {}, seed=5) == []


# what it costs


def test_the_cost_of_an_arm(model: Any) -> None:
    cost = continue_all(model, PLAIN, ids_of(), DRAWN, seed=0).cost
    assert cost["batch"] == len(PROMPTS)
    assert cost["tokens_per_s"] > 0
    assert cost["tokens_per_s_alone"] > 0
    assert 0 < cost["first_token_s"] < 60
    assert cost["peak_memory"] is None or cost["peak_memory"] > 1_000_000
    many = [ids_of()[1]] * 18
    assert continue_all(model, PLAIN, many, replace(DRAWN, max_new_tokens=1), seed=0).cost["batch"] == 16


class Mute(Encoder):
    """Ends a text with whatever comes first."""

    @property
    def stops(self) -> list[int]:
        return list(range(257))


def test_of_a_model_that_says_nothing_no_pace_is_told(model: Any) -> None:
    arm = continue_all(model, Mute(TOKENIZER, None), ids_of()[:ALONE], DRAWN, seed=0)
    assert [(one.text, one.tokens, one.stopped) for one in arm.generations] == [("", 0, True)] * ALONE
    assert arm.cost["tokens_per_s"] is arm.cost["tokens_per_s_alone"] is None
