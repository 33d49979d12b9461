"""Training items as ids and masks: what is written, what is taken from the store, what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.config.schema import Experiment
from assay.core.errors import GuardError, InputError
from assay.core.files import read_json
from assay.core.guard import GuardRecord
from assay.core.records import Item, Turn
from assay.core.rundir import RunDir
from assay.core.store import Store
from assay.data.items import write_items
from assay.stages import tokenize as stage
from assay.stages.tokenize import encoder_of, show, tokenize
from assay.text.template import DEFAULT_TEMPLATE
from assay.text.tokenizer import byte_tokenizer
from assay.text.tokens import Tokens

TOKENIZER = byte_tokenizer()
TEXTS = [Item(f"{n:016x}", f"g{n}", f"Text number {n}.") for n in range(5)]


def chats(count: int, asked: str = "Why?") -> list[Item]:
    turns = [(Turn("user", asked), Turn("assistant", f"Because of {n}.")) for n in range(count)]
    return [Item(f"{n:016x}", f"g{n}", "\n".join(t.text for t in own), own) for n, own in enumerate(turns)]


def experiment(train: dict[str, Any] | None = None, **data: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "schema": 1, "name": "tiny", "base": "scratch:llama-tiny", "data": {"source": "rows.jsonl"} | data,
            "train": {"steps": 1, "max_length": 64} | (train or {}),
        }
    )  # fmt: skip


def a_run(folder: Path, items: list[Item]) -> RunDir:
    run = RunDir(folder)
    run.data.mkdir(parents=True)
    for name in ("train", "dev", "test"):
        write_items(run.split(name), [items])
    return run


def keys(store: Store) -> set[str]:
    folder = store.root / stage.STAGE
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def guard(run: RunDir) -> GuardRecord:
    (found,) = [entry for entry in run.guards.records() if entry.guard == "supervision"]
    return found


def test_what_is_written(tmp_path: Path) -> None:
    run, store = a_run(tmp_path / "run", TEXTS), Store(tmp_path)
    paths = tokenize(run, experiment(), TOKENIZER, store)
    assert [path.name for path in paths] == ["ids.npy", "learn.npy", "profile.json", "starts.npy"]
    assert paths == sorted(run.tokens.iterdir())
    tokens = Tokens.open(run.tokens)
    assert len(tokens) == len(TEXTS)
    for number, item in enumerate(TEXTS):
        ids, learn = tokens.row(number)
        assert ids.tolist() == [*TOKENIZER.encode(item.text), TOKENIZER.eos]
        assert learn.tolist() == [False] + [True] * (len(ids) - 1)
    found = read_json(run.tokens_profile)
    assert (found["schema"], found["max_length"], found["loss_on"], found["turns"]) == (1, 64, "completion", False)
    assert found["tokenizer_sha256"] == TOKENIZER.sha256
    assert found["template_sha256"] is None  # there are no chats
    assert found["encoded_by"]["name"]
    assert found["splits"]["train"]["rows"] == len(TEXTS)
    assert found["splits"]["train"]["tokens"] == len(tokens.ids)
    assert guard(run).status == "pass"
    assert len(keys(store)) == 1


def test_a_pair_is_cut_off_and_has_no_template(tmp_path: Path) -> None:
    turns = (Turn("prompt", "Two and two are"), Turn("completion", " four."))
    run = a_run(tmp_path / "run", [Item("0" * 16, "g", "Two and two are\n four.", turns)])
    tokenize(run, experiment(), TOKENIZER, Store(tmp_path))
    found = read_json(run.tokens_profile)
    assert (found["turns"], found["template_sha256"]) == (True, None)
    assert found["supervision"]["compared"] == 1
    ids, learn = Tokens.open(run.tokens).row(0)
    assert TOKENIZER.decode(ids[learn].tolist(), keep_special=True) == " four.<|endoftext|>"


def test_chats_name_their_template_and_show_their_masks(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", chats(5))
    tokenize(run, experiment(), TOKENIZER, Store(tmp_path))
    found = read_json(run.tokens_profile)
    encoder = encoder_of(experiment(), TOKENIZER)
    assert encoder.template is not None
    assert (found["turns"], found["template_sha256"]) == (True, encoder.template.sha256)
    measured = guard(run).measured
    assert measured["end_of_turn"] == {"token": "<|endoftext|>", "turns": 5, "supervised": 5}
    assert (measured["compared_prompts"], measured["other_prompts"]) == (5, [])
    assert len(measured["shown"]) == 3
    assert "User: Why?⏎\nAssistant:[[ Because of 0.<|endoftext|>]]" in measured["shown"][0]


# The store


def test_what_was_made_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, first, second = Store(tmp_path), a_run(tmp_path / "one", TEXTS), a_run(tmp_path / "two", TEXTS)
    tokenize(first, experiment(), TOKENIZER, store)
    monkeypatch.setattr(stage, "write_tokens", lambda *_: pytest.fail("encoded once more"))
    paths = tokenize(second, experiment(), TOKENIZER, store)
    assert [path.name for path in paths] == [path.name for path in sorted(first.tokens.iterdir())]
    assert all(path.samefile(first.tokens / path.name) for path in paths)
    assert guard(second).measured == guard(first).measured
    tokenize(second, experiment({"learning_rate": 0.5, "steps": 7}), TOKENIZER, store)  # nothing that ids depend on


def test_what_was_damaged_is_made_again(tmp_path: Path) -> None:
    store, first, second = Store(tmp_path), a_run(tmp_path / "one", TEXTS), a_run(tmp_path / "two", TEXTS)
    tokenize(first, experiment(), TOKENIZER, store)
    (key,) = keys(store)
    before = (first.tokens / "ids.npy").read_bytes()
    file = store.path(stage.STAGE, key) / "ids.npy"
    file.write_bytes(before[:-4] + b"\0\0\0\0")  # the first run's file too, of which it is another name
    tokenize(second, experiment(), TOKENIZER, store)
    assert (second.tokens / "ids.npy").read_bytes() == before
    assert store.damaged(stage.STAGE, key) == []


def test_all_that_decides_the_ids_is_in_the_key(tmp_path: Path) -> None:
    store = Store(tmp_path)
    other = byte_tokenizer()
    other.backend.add_special_tokens(["<s>"])
    variants: list[tuple[list[Item], Experiment, Any]] = [
        (chats(5), experiment(), TOKENIZER),
        (chats(4), experiment(), TOKENIZER),
        (chats(5), experiment(), other),
        (chats(5), experiment({"max_length": 65}), TOKENIZER),
        (chats(5), experiment({"loss_on": "all"}), TOKENIZER),
        (chats(5), experiment({"loss_on": "last"}), TOKENIZER),
        (chats(5), experiment(chat_template=DEFAULT_TEMPLATE.replace("Assistant", "Bot")), TOKENIZER),
    ]  # fmt: skip
    for number, (items, changed, tokenizer) in enumerate(variants):
        run = a_run(tmp_path / str(number), items)
        tokenize(run, changed, tokenizer, store)
        assert len(keys(store)) == number + 1


# The guard


def test_a_failure_is_found_again_in_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    rows = [*chats(9), *(Item(f"{n:016x}", "g", item.text, item.turns) for n, item in enumerate(chats(1, "x" * 99), 9))]
    for name in ("one", "two"):
        run = a_run(tmp_path / name, rows)
        with pytest.raises(GuardError, match="9 of 10 rows have a token that counts in the loss") as caught:
            tokenize(run, experiment(), TOKENIZER, store)
        assert caught.value.guard == "supervision"
        assert f"{9:016x}" in str(caught.value)
        assert (guard(run).status, guard(run).measured["supervised"]) == ("fail", 9)
        monkeypatch.setattr(stage, "write_tokens", lambda *_: pytest.fail("encoded once more"))


@pytest.mark.parametrize(("length", "supervised"), [(31, 0), (32, 1)])
def test_a_row_counts_up_to_its_last_predicted_token(tmp_path: Path, length: int, supervised: int) -> None:
    # "User: Why?\nAssistant:" are 21 bytes; with 11 more the prompt has 32, and the answer's first byte is the 33rd
    run = a_run(tmp_path / "run", chats(1, "Why?" + "x" * 11))
    changed = experiment({"max_length": length})
    if supervised:
        tokenize(run, changed, TOKENIZER, Store(tmp_path))
    else:
        with pytest.raises(GuardError):
            tokenize(run, changed, TOKENIZER, Store(tmp_path))
    assert guard(run).measured["supervised"] == supervised


def test_the_sample_does_not_depend_on_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_COMPARED", 4)
    found = []
    for name, items in (("one", chats(9)), ("two", chats(9)[::-1])):
        run = a_run(tmp_path / name, items)
        tokenize(run, experiment(), TOKENIZER, Store(tmp_path))
        found.append(guard(run).measured)
        assert (found[-1]["compared_prompts"], found[-1]["end_of_turn"]["turns"]) == (4, 4)
    assert found[0] == found[1]


def test_a_template_that_refuses_a_chat_leaves_nothing(tmp_path: Path) -> None:
    run, store = a_run(tmp_path / "run", chats(2)), Store(tmp_path)
    with pytest.raises(InputError, match="we do not talk"):
        tokenize(run, experiment(chat_template="{{ raise_exception('we do not talk') }}"), TOKENIZER, store)
    assert not run.tokens.exists()
    assert keys(store) == set()


# Shown


def test_rows_are_shown_as_they_are_learned(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", chats(5))
    seen = show(run, experiment(), TOKENIZER, 2, colour=False)
    assert seen == (
        "row 0000000000000000, group g0: 36 tokens, 15 of them learned\n"
        "User: Why?⏎\nAssistant:[[ Because of 0.<|endoftext|>]]\n\n"
        "row 0000000000000001, group g1: 36 tokens, 15 of them learned\n"
        "User: Why?⏎\nAssistant:[[ Because of 1.<|endoftext|>]]"
    )
    coloured = show(run, experiment(), TOKENIZER, 1, colour=True)
    assert "Assistant:\x1b[32m Because of 0.<|endoftext|>\x1b[0m" in coloured
    assert show(run, experiment(), TOKENIZER, 99, colour=False).count("row 0") == 5
    cut = show(run, experiment({"max_length": 25}), TOKENIZER, 1, colour=False)
    assert cut.endswith("Assistant:[[ Beca]]")


def test_only_as_much_is_read_as_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_run(tmp_path / "run", chats(5))

    def batches(path: Path) -> Any:
        yield chats(5)
        pytest.fail("read on")

    monkeypatch.setattr(stage, "item_batches", batches)
    assert show(run, experiment(), TOKENIZER, 3, colour=False).count("row 0") == 3


def test_masks_on_disk_are_those_of_the_encoder(tmp_path: Path) -> None:
    items = [*chats(3), *TEXTS]
    run = a_run(tmp_path / "run", items)
    tokenize(run, experiment(), TOKENIZER, Store(tmp_path))
    tokens, encoded = Tokens.open(run.tokens), encoder_of(experiment(), TOKENIZER).encode(items)
    assert np.array_equal(tokens.ids, encoded.ids)
    assert np.array_equal(tokens.learn, encoded.learn)
    assert np.array_equal(tokens.starts, encoded.starts)
