"""The profile against counts by hand, plain Python and NumPy."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.distribution import QUANTILES
from assay.core.files import sha256_text
from assay.core.records import Item, Turn
from assay.data import profile as module
from assay.data import signs
from assay.data.profile import Profile

TEXTS = st.text(st.characters(codec="utf-8"), max_size=60)


def item(text: str, group: str = "g", turns: tuple[Turn, ...] = ()) -> Item:
    return Item(sha256_text(group + text)[:16], group, text, turns)


def profiled(items: Sequence[Item], batch: int = 4096) -> dict[str, Any]:
    found = Profile()
    for start in range(0, len(items), batch):
        found.add("train", items[start : start + batch])
    return found.result()


def test_counts_by_hand() -> None:
    found = Profile()
    found.add("train", [Item("1", "a", "one two"), Item("2", "a", "one two"), Item("3", "b", "né")])
    found.add("dev", [Item("4", "c", "x" * 1000)])
    result = found.result()
    train, test = result["splits"]["train"], result["splits"]["test"]
    numbers = {name: train[name] for name in ("rows", "groups", "bytes", "characters", "words", "exact_duplicates")}
    assert numbers == {"rows": 3, "groups": 2, "bytes": 17, "characters": 16, "words": 5, "exact_duplicates": 1}
    assert train["non_ascii_share"] == pytest.approx(1 / 16, abs=1e-6)
    assert train["longest"] == {"id": "2", "group": "a", "bytes": 7}
    assert train["quantiles"]["bytes"]["0.5"] == 7.0
    assert train["quantiles"]["characters"]["0.0"] == 2.0
    assert result["groups"] == {"count": 3, "largest": {"group": "c", "bytes": 1000, "share": round(1000 / 1017, 6)}}
    assert result["turns"] is None
    nothing = {name: test[name] for name in ("rows", "bytes", "longest", "non_ascii_share", "quantiles")}
    none = {"bytes": None, "characters": None}
    assert nothing == {"rows": 0, "bytes": 0, "longest": None, "non_ascii_share": None, "quantiles": none}


def test_nothing_at_all_is_no_error() -> None:
    result = Profile().result()
    assert result["groups"] == {"count": 0, "largest": None}
    assert result["signs"] == {"sample": 0, "found": {}}
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@given(st.lists(TEXTS, min_size=1, max_size=40))
def test_numbers_are_those_of_plain_python(texts: list[str]) -> None:
    result = profiled([item(text, f"g{n % 3}") for n, text in enumerate(texts)])
    train = result["splits"]["train"]
    lengths = [len(text.encode()) for text in texts]
    assert train["bytes"] == sum(lengths)
    assert train["characters"] == sum(map(len, texts))
    assert train["exact_duplicates"] == len(texts) - len(set(texts))
    ascii_texts = [text.encode("ascii", "ignore").decode() for text in texts]
    kept, every = sum(map(len, ascii_texts)), sum(map(len, texts))
    assert train["non_ascii_share"] == (pytest.approx(1 - kept / every, abs=1e-6) if every else None)
    expected = np.quantile(lengths, QUANTILES).round(2).tolist()
    assert list(train["quantiles"]["bytes"].values()) == pytest.approx(expected, abs=0.011)
    for what, values in (("bytes", lengths), ("characters", [len(text) for text in texts])):
        histogram = train["histograms"][what]
        assert histogram["counts"] == np.histogram(values, histogram["edges"])[0].tolist()
        assert sum(histogram["counts"]) == len(texts)
        assert len(histogram["edges"]) <= 22
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@given(st.lists(st.text(st.characters(codec="ascii"), max_size=60), min_size=1, max_size=20))
def test_words_of_ascii_are_those_of_re(texts: list[str]) -> None:
    words = sum(len(re.findall(r"\w+", text)) for text in texts)
    assert profiled([item(text) for text in texts])["splits"]["train"]["words"] == words


@given(st.lists(st.tuples(TEXTS, st.sampled_from("abc")), min_size=1, max_size=30), st.randoms(), st.integers(1, 9))
def test_neither_the_order_nor_the_batches_matter(
    rows: list[tuple[str, str]], shuffler: random.Random, batch: int
) -> None:
    items = [item(text, group) for text, group in rows]
    shuffled = shuffler.sample(items, len(items))
    assert profiled(items) == profiled(shuffled, batch)


@given(st.lists(st.tuples(st.sampled_from([f"n{i}" for i in range(200)]), st.integers(1, 50)), min_size=1))
def test_the_commonest_is_exact_and_named_where_it_is_common(pairs: list[tuple[str, int]]) -> None:
    totals: dict[str, int] = {}
    counter = module._Commonest()
    for name, weight in [*pairs, ("big", sum(weight for _, weight in pairs))]:
        totals[name] = totals.get(name, 0) + weight
        counter.add([name], np.array([weight]))
    best = max(totals.values())
    assert counter.result() == (len(totals), min(name for name, total in totals.items() if total == best), best)


def test_the_commonest_of_many_rare_ones_is_not_guessed() -> None:
    counter = module._Commonest()
    for n in range(1000):
        counter.add([f"n{n}"], np.array([1]))
    assert counter.result() == (1000, None, 1)


def test_turns_by_hand() -> None:
    hello = (Turn("system", "Be kind."), Turn("user", "Hi"), Turn("assistant", "Hello!"))
    longer = (*hello, Turn("user", "Why?"), Turn("assistant", "So."))
    bare = (Turn("user", "Go"), Turn("assistant", "Yes"))
    turns = profiled([item("1", turns=hello), item("2", turns=longer), item("3", turns=bare), item("4")])["turns"]
    assert (turns["rows"], turns["turns"]) == (3, 8)
    assert turns["per_row"]["histogram"] == {"edges": [2, 3, 4, 5], "counts": [2, 0, 1]}
    assert turns["roles"]["user"] == {"turns": 4, "characters": 10, "share": round(10 / 28, 6)}
    assert turns["roles"]["assistant"]["share"] == round(18 / 28, 6)
    assert turns["system"] == {"rows": 2, "distinct": 1, "largest": {"text": "Be kind.", "rows": 2, "share": 1.0}}


PLANTED = {
    "mojibake": ["cafÃ© au lait", "donâ€™t", "5 Â£", "ï»¿Title"],
    "replacement-character": ["caf\ufffd"],
    "template-token": ["<|im_start|>user", "[INST] Hi [/INST]", "Bye.</s>", "<<SYS>>", "<start_of_turn>model"],
    "html-tag": ["<p>one</p>", "a<br/>b", '<a href="x">y</a>', "<DIV class=z>"],
    "html-entity": ["Tom &amp; Jerry", "&#39;", "&#x27;"],
    "control-character": ["a\x00b", "bell\x07", "\x85"],
    "zero-width": ["a\u200bb", "\ufeffstart"],
    "carriage-return": ["one\r\ntwo"],
    "trailing-space": ["one \ntwo", "one\t"],
    "curly-quotes": ["“yes”", "it’s"],
    "straight-quotes": ['"yes"', "it's"],
    "no-words": ["…", " ?! ", "___", "\U0001f600"],
}


@pytest.mark.parametrize("sign", signs.SIGNS)
def test_each_sign_is_found_where_it_was_planted(sign: str) -> None:
    clean = [item(f"Nothing to see, só ça: text {n}.") for n in range(5)]
    found = profiled([*clean, *(item(text) for text in PLANTED[sign])])["signs"]
    rows = len(PLANTED[sign])
    assert found["sample"] == 5 + rows
    assert (found["found"][sign]["rows"], found["found"][sign]["share"]) == (rows, round(rows / (5 + rows), 6))
    example = found["found"][sign]["example"]
    assert example["before"] + example["match"] + example["after"] in PLANTED[sign]
    assert example["id"] in {item(text).id for text in PLANTED[sign]}


@pytest.mark.parametrize(
    "text",
    [
        "Ein schöner Tag, São Paulo, AMANHÃ E NÃO, crème brûlée, Ça va, 日本語",
        "if a < b and c > d: x = [INSTALL]; y <- 3; <3 ; AT&T; R&D; a_b",
        "<Anna> said: <<yes>>",
        "one\n\n  two\n\tthree",
    ],
)
def test_ordinary_text_has_no_sign(text: str) -> None:
    assert profiled([item(text)])["signs"]["found"] == {}


def test_a_large_table_is_sampled_without_regard_to_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signs, "SAMPLE", 500)
    items = [item(f"row {n}" + (" <br>" if n % 4 == 0 else "")) for n in range(6000)]
    found = profiled(items, 256)["signs"]
    assert 250 <= found["sample"] <= 500
    assert found["found"]["html-tag"]["share"] == pytest.approx(0.25, abs=0.1)
    assert profiled(items[::-1], 999)["signs"] == found


def test_languages_are_told_from_a_sample() -> None:
    pytest.importorskip("py3langid")
    english = "It was the best of times, it was the worst of times, it was the age of wisdom, number "
    german = "Als Gregor Samsa eines Morgens aus unruhigen Träumen erwachte, fand er sich in seinem Bett, Nummer "
    items = [item(f"{english if n % 4 else german}{n}.") for n in range(1200)]
    found = profiled(items)["languages"]
    assert (found["sample"], found["judged"], found["reason"]) == (500, 500, None)
    assert set(found["shares"]) == {"en", "de"}
    assert found["shares"]["de"] == pytest.approx(0.25, abs=0.06)
    assert profiled(items[::-1], 100)["languages"] == found


def test_a_list_of_names_is_in_no_language() -> None:
    pytest.importorskip("py3langid")
    names = (
        "Zenryoku Usagi\nComedy, Kids, Magic\nTV\n52\n6.47\n613\nAkagami Shirayuki\nDrama, Shounen\nOVA\n{0}\n8.5{0}"
    )
    found = profiled([item(names.format(n)) for n in range(30)])["languages"]
    assert found == {"sample": 30, "judged": 0, "shares": None, "reason": "0 of 30 texts are clearly in one language"}


def test_languages_are_not_guessed_from_short_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "installed", lambda _: True)
    found = profiled([item("Yes."), item("Oui.")])["languages"]
    assert found == {"sample": 0, "judged": 0, "shares": None, "reason": "no text has 80 characters, too few to tell"}
    monkeypatch.setattr(module, "installed", lambda _: False)
    assert "py3langid is not installed" in profiled([item("x " * 100)])["languages"]["reason"]
