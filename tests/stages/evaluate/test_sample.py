"""What is measured is chosen by the seed, from the side that it is said to come from, and within its bounds."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from fixture_sample import chats, encoder_of, measured_by, prepared, texts

from assay.core.errors import InputError
from assay.core.records import Item, Turn
from assay.core.rundir import RunDir
from assay.stages.evaluate.sample import TRAIN_BYTES, TRAIN_GROUPS, Sample, own_encoder, take
from assay.text.asking import EXAMPLE_BYTES
from assay.text.metrics.words import words
from assay.text.suites import prompt_suite
from assay.text.tokenizer import TextTokenizer, byte_tokenizer
from assay.text.tokens import Encoder, chat_template

TRAIN, DEV, TEST = texts("train", 20), texts("dev", 9), texts("test", 11, each=3)
ENCODER = encoder_of()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return prepared(tmp_path_factory.mktemp("run"), TRAIN, DEV, ENCODER)


@pytest.fixture
def sample(run: RunDir, tmp_path: Path) -> Any:
    """A function that takes the sample of these items under the protocol of these values."""

    def taken(items: list[Item] = TEST, **evaluate: Any) -> Sample:
        return take(run, items, measured_by(**evaluate), ENCODER, tmp_path)

    return taken


def read_back(ids: Any) -> str:
    return ENCODER.tokenizer.decode(list(ids))


# the held-out texts


def test_it_is_the_same_whatever_the_order_of_the_items(sample: Any) -> None:
    one = sample()
    for shuffle in range(3):
        items = random.Random(shuffle).sample(TEST, len(TEST))
        other = sample(items)
        for part in ("test", "readings", "probes", "prompts", "train", "train_readings", "own", "shown"):
            assert getattr(other, part) == getattr(one, part)
        assert len(other.held_stretches.readings) == len(one.held_stretches.readings)


def test_another_seed_chooses_other_excerpts(sample: Any) -> None:
    assert sample(seed=1).test != sample().test
    assert sample(seed=1).shown != sample().shown


def test_of_each_group_at_most_so_many_bytes_are_scored(sample: Any) -> None:
    found = sample(max_bytes_per_group=300)
    sizes = {group: 0 for group in {item.group for item in TEST}}
    whole = {item.id: item.text for item in TEST}
    for item in found.test:
        assert item.text in whole[item.id]
        sizes[item.group] += item.size
    assert all(0 < size <= 300 for size in sizes.values())
    assert [reading.size for reading in found.readings] == [item.size for item in found.test]
    assert [read_back(reading.ids) for reading in found.readings] == [item.text for item in found.test]
    assert sample(max_bytes_per_group=None).test == TEST
    assert all(any(probe in item.text for item in found.test) for probe in found.probes)


# the sides


def test_each_part_is_of_its_side(sample: Any) -> None:
    found = sample(adherence=12)
    for items, side in (
        (found.test, "test"), (found.train, "train"), (found.shown, "train"), (found.own[0], "train"),
        (found.own[1], "dev"),
    ):  # fmt: skip
        assert items
        assert all(item.group.startswith(side) for item in items)
    train = "\n".join(item.text for item in TRAIN)
    test = "\n".join(item.text for item in TEST)
    for stretches, text in ((found.train_stretches, train), (found.held_stretches, test)):
        assert len(stretches.readings) == 4
        assert all(read_back([reading.context, *reading.ids]) in text for reading in stretches.readings)


def test_of_the_training_texts_few_are_scored(sample: Any) -> None:
    found = sample()
    assert len({item.group for item in found.train}) == TRAIN_GROUPS
    assert sum(item.size for item in found.train) <= TRAIN_BYTES
    assert [reading.size for reading in found.train_readings] == [item.size for item in found.train]


def test_rows_too_short_for_a_stretch_are_counted(run: RunDir, tmp_path: Path) -> None:
    long = max(TEST, key=lambda item: item.size)
    short = [Item(f"s{n}", f"short {n}", "a few words only") for n in range(3)]
    found = take(run, [*short, long], measured_by(), ENCODER, tmp_path)
    assert (len(found.held_stretches.readings), found.held_stretches.too_short) == (1, 3)
    assert found.train_stretches.too_short == 0


@pytest.mark.parametrize("count", [0, 3, 16])
def test_the_base_is_shown_whole_short_rows(sample: Any, count: int) -> None:
    shown = sample(examples=count).shown
    assert len(shown) == len({item.id for item in shown}) == min(count, 16)
    assert all(item in TRAIN and item.size <= EXAMPLE_BYTES for item in shown)


@pytest.mark.parametrize(("adherence", "train", "dev"), [(0, 0, 0), (10, 10, 5), (1000, 40, 18)])
def test_passages_for_the_classifier_come_from_as_many_groups_as_there_are(
    sample: Any, adherence: int, train: int, dev: int
) -> None:
    own = sample(adherence=adherence).own
    assert tuple(map(len, own)) == (train, dev)
    assert [len({item.group for item in items}) for items in own] == [min(train, 20), min(dev, 9)]


# the prompts


def test_held_out_prompts_are_how_eight_groups_begin(sample: Any) -> None:
    found = sample(prompts="held-out")
    first = {}
    for item in found.test:
        first.setdefault(item.group, item)
    assert [prompt.id for prompt in found.prompts] == [item.id for item in list(first.values())[:8]]
    assert [prompt.text for prompt in found.prompts] == [
        " ".join(item.text.split()[:8]) for item in list(first.values())[:8]
    ]


def test_prompts_of_ones_own_and_of_a_suite(sample: Any) -> None:
    own = sample(prompts=["To be", "O Romeo"]).prompts
    assert [(prompt.id, prompt.text) for prompt in own] == [("prompt-1", "To be"), ("prompt-2", "O Romeo")]
    assert sample(prompts="gothic").prompts == prompt_suite("gothic")
    assert sample(prompts=[]).prompts == []


@pytest.mark.parametrize(("key", "value"), [("prompts", "gone.txt"), ("questions", ["gone.jsonl"])])
def test_what_is_missing_is_named(sample: Any, key: str, value: Any) -> None:
    with pytest.raises(InputError, match="no such file") as caught:
        sample(**{key: value})
    assert "gone" in str(caught.value)


# chats

OWN = (
    "{% for m in messages %}{{ m['role'] ~ ' says ' ~ m['content'] ~ eos_token ~ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant says ' }}{% endif %}"
)


def with_template(source: str | None) -> TextTokenizer:
    bare = byte_tokenizer()
    return TextTokenizer(bare.backend, bare.bos, bare.eos, source, bare.named)


@pytest.mark.parametrize(
    ("own", "given", "differs"),
    [(OWN, OWN.replace("says", "said"), True), (OWN, OWN, False), (OWN, None, False), (None, OWN, False)],
)
def test_a_base_is_asked_in_its_own_template_where_the_experiments_is_another(
    tmp_path: Path, own: str | None, given: str | None, differs: bool
) -> None:
    tokenizer = with_template(own)
    encoder = Encoder(tokenizer, chat_template(tokenizer, given))
    run = prepared(tmp_path / "run", chats("train", 9), chats("dev", 3), encoder)
    found = take(run, chats("test", 7), measured_by(), encoder, tmp_path)
    assert found.asking.encoder is encoder
    assert found.asking.chat
    assert (found.base_asking.encoder is not encoder) is differs
    if differs:
        assert "assistant says " in tokenizer.decode(found.base_asking.ids("who?"))
        assert "assistant said " in tokenizer.decode(found.asking.ids("who?"))
    assert [prompt.text for prompt in found.prompts] == [item.turns[0].text for item in chats("test", 7)]


def test_plain_texts_have_no_template(sample: Any) -> None:
    found = sample()
    assert not found.asking.chat
    assert found.base_asking.encoder is ENCODER
    tokenizer = with_template(OWN)
    assert own_encoder(Encoder(tokenizer, chat_template(tokenizer, "{{ 'x' }}")), chat=False) is None
    pairs = [Item("p", "g", "", (Turn("prompt", "2 + 2 ="), Turn("completion", " 4")))]
    assert not sample(pairs).asking.chat


def test_prompts_that_leave_no_room_are_left_out_or_refused(tmp_path: Path) -> None:
    run = prepared(tmp_path / "run", texts("train", 3), texts("dev", 3), ENCODER)
    long = Item("long", "test 99", " ".join(["x" * 40] * 30))

    def prompts(**evaluate: Any) -> list[str]:
        found = take(run, [*texts("test", 3), long], measured_by(**evaluate), ENCODER, tmp_path, room=100)
        return [prompt.text for prompt in found.prompts]

    assert len(prompts()) == 3
    assert prompts(prompts=["To be"]) == ["To be"]
    with pytest.raises(InputError, match="has 101 tokens, and behind more than 100 the base has no room"):
        prompts(prompts=["To be", "x" * 101])


def test_the_vocabulary_is_of_all_training_texts(sample: Any) -> None:
    found = sample()
    assert len({item.group for item in found.train}) == TRAIN_GROUPS < 20
    assert found.vocabulary == {word for item in TRAIN for word in words(item.text)}
