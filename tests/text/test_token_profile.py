from __future__ import annotations

import json
import random
from collections.abc import Callable

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from assay.core.records import Item, Turn
from assay.text.packing import pack
from assay.text.token_profile import LENGTHS, TokenProfile, lossy_bytes
from assay.text.tokenizer import TextTokenizer
from assay.text.tokens import Encoder, chat_template

Make = Callable[..., TextTokenizer]

WORDS = ["the", "old", "house", "stood", "on", "a", "hill", "and", "nobody", "knew", "who", "had", "built", "it"]


def items(count: int) -> list[Item]:
    chosen = random.Random(0)
    made = []
    for number in range(count):
        said = " ".join(chosen.choices(WORDS, k=chosen.randint(1, 60)))
        turns = (Turn("user", said[:20]), Turn("assistant", said))
        made.append(Item(f"{number:04}", "g", f"{said[:20]}\n{said}", turns if number % 2 else ()))
    return made


def test_every_number_against_the_rows_themselves(byte_level: Make) -> None:
    tokenizer = byte_level(prefix=True)
    encoder = Encoder(tokenizer, chat_template(tokenizer))
    rows = items(100)
    profile = TokenProfile(tokenizer, 64)
    for start in range(0, 100, 30):
        batch = rows[start : start + 30]
        profile.add(batch, encoder.encode(batch))
    found = profile.result()
    encoded = encoder.encode(rows)
    ids, masks = zip(*(encoded.row(number) for number in range(100)), strict=True)
    lengths = [len(row) for row in ids]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["rows"], found["tokens"]) == (100, sum(lengths))
    assert found["learned"] == sum(int(mask.sum()) for mask in masks)
    assert found["learned_share"] == found["learned"] / found["tokens"]
    size = sum(len((encoder.render(row).text if row.turns else row.text).encode()) for row in rows)
    assert (found["bytes"], found["tokens_per_byte"]) == (size, sum(lengths) / size)
    assert sum(found["histograms"]["tokens"]["counts"]) == 100
    assert found["histograms"]["tokens"]["edges"][0] == min(lengths)
    assert found["quantiles"]["tokens"]["0.5"] == round(float(np.median(lengths)), 2)
    assert found["quantiles"]["learned"]["1.0"] == max(int(mask.sum()) for mask in masks)
    assert found["cut"]["max_length"] == sum(length > 64 for length in lengths) / 100
    assert found["cut"]["tokens"] == sum(max(0, length - 64) for length in lengths) / sum(lengths)
    assert found["cut"]["by_length"] == {str(n): sum(length > n for length in lengths) / 100 for n in LENGTHS}
    cut = [min(64, length) for length in lengths]
    assert found["sequences"] == len(pack(cut, 64))
    assert found["packing_efficiency"] == sum(cut) / (64 * found["sequences"])
    assert found["without_learned"] == sum(not mask[:64].any() for mask in masks)
    assert found["round_trip"] == {"sample": 100, "exact": 100, "lossy_bytes_share": 0.0}
    assert (found["doubled_prefix"], found["special_tokens_in_text"]) == (0, {})


def test_a_prompt_that_fills_a_sequence_leaves_nothing_to_learn(byte_level: Make) -> None:
    tokenizer = byte_level()
    encoder = Encoder(tokenizer, chat_template(tokenizer))
    rows = [Item(f"{n}", "g", "", (Turn("user", "house " * n), Turn("assistant", "yes"))) for n in (1, 200)]
    profile = TokenProfile(tokenizer, 100)
    profile.add(rows, encoder.encode(rows))
    assert profile.result()["without_learned"] == 1


def test_special_tokens_in_texts_are_counted_by_row(byte_level: Make) -> None:
    tokenizer = byte_level(prefix=True)
    encoder = Encoder(tokenizer, chat_template(tokenizer))
    rows = [
        Item("1", "g", "a <|im_end|> b <|im_end|>"),
        Item("2", "g", "", (Turn("system", "<|im_end|>"), Turn("user", "q"), Turn("assistant", "<|eot_id|>"))),
        Item("3", "g", "nothing <|im_end"),
        Item("4", "g", "<s>twice"),
    ]
    profile = TokenProfile(tokenizer, 100)
    profile.add(rows, encoder.encode(rows))
    found = profile.result()
    assert found["special_tokens_in_text"] == {"<s>": 1, "<|eot_id|>": 1, "<|im_end|>": 2}
    assert found["doubled_prefix"] == 1


def test_the_order_of_rows_and_batches_is_no_matter(byte_level: Make) -> None:
    tokenizer = byte_level()
    encoder, rows = Encoder(tokenizer, chat_template(tokenizer)), items(600)
    results = []
    for order, size in ((rows, 600), (rows[::-1], 77)):
        profile = TokenProfile(tokenizer, 64)
        for start in range(0, 600, size):
            profile.add(order[start : start + size], encoder.encode(order[start : start + size]))
        results.append(profile.result())
    assert results[0] == results[1]
    assert results[0]["round_trip"]["sample"] == 256


def test_without_rows_nothing_is_defined(byte_level: Make) -> None:
    found = TokenProfile(byte_level(), 64).result()
    assert (found["rows"], found["sequences"]) == (0, 0)
    assert found["learned_share"] is found["packing_efficiency"] is found["quantiles"]["tokens"] is None


def test_what_a_tokenizer_cannot_write_is_lost() -> None:
    letters = {character: number for number, character in enumerate("abc ")}
    tokenizer = TextTokenizer(Tokenizer(models.BPE(letters, [])), None, None)
    rows = [Item("1", "g", "abc abc"), Item("2", "g", "ab é")]
    profile = TokenProfile(tokenizer, 10)
    profile.add(rows, Encoder(tokenizer, None).encode(rows))
    trip = profile.result()["round_trip"]
    assert (trip["sample"], trip["exact"] < 2, trip["lossy_bytes_share"] > 0) == (2, True, True)


@pytest.mark.parametrize(
    ("text", "back", "lost"),
    [
        ("same", "same", 0),
        ("a bé c", "a b c", 3),
        ("one two three", "one  three", 3),
        ("ab", "", 2),
        ("a\u0301x", "áx", 4),
    ],
)
def test_lost_bytes_lie_in_changed_words(text: str, back: str, lost: int) -> None:
    assert lossy_bytes(text, back) == lost
