import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from assay.core.console import Console
from assay.core.errors import InputError
from assay.model.load import _random, load_base
from assay.model.registry import PRESETS, locate
from assay.model.score import Scorer, output_weight, pack, windows
from assay.text.tokenizer import byte_tokenizer

TEXTS = ["To be, or not to be", "", "a", "that is the question: " * 20, "Ünïcode ☃"]


@given(st.integers(0, 60), st.integers(1, 20), st.integers(1, 20))
def test_every_token_is_scored_exactly_once(length, window, stride):
    stride = min(stride, window)
    ids = list(range(1, length + 1))
    cut = windows(ids, 0, window=window, stride=stride)
    scored = [w.ids[-w.scored + i] for w in cut for i in range(w.scored)]
    assert scored == ids
    assert all(len(w.ids) - 1 <= window and w.scored <= len(w.ids) - 1 for w in cut)
    # the ids before the scored ones are what stood before them in the text
    assert all(w.ids == ([0, *ids])[w.start + w.scored + 1 - len(w.ids) : w.start + w.scored + 1] for w in cut)


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 60))
def test_packing_keeps_every_document_once_and_within_bounds(lengths, most):
    rows = pack(lengths, most)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in row) <= most for row in rows if len(row) > 1)


@pytest.fixture(scope="module", params=["llama-tiny", "gpt2-tiny"])
def scorer_for(request):
    model, tokenizer = _random(PRESETS[request.param]).eval(), byte_tokenizer()
    return lambda **kw: Scorer(model, tokenizer, **({"window": 64, "stride": 64, "row_tokens": 256} | kw))


def reference(model, ids: list[int], window: int) -> float:
    """Nats of all ids but the first, by plain transformers calls: the last window reaches back to be full."""
    total = 0.0
    for start in range(0, len(ids) - 1, window):
        end = min(start + window, len(ids) - 1)
        piece = torch.tensor([ids[max(0, end - window) : end + 1]])
        with torch.no_grad():
            logits = model(input_ids=piece[:, :-1]).logits.float().log_softmax(-1)
        nats = -logits.gather(2, piece[:, 1:, None])[0, :, 0].double()
        total += float(nats[-(end - start) :].sum())
    return total


def test_scores_equal_plain_transformers(scorer_for):
    scorer = scorer_for()
    coded = [[scorer.context, *scorer.tokenizer.encode(text)] for text in TEXTS]
    expected = [reference(scorer.model, ids, scorer.window) for ids in coded]
    assert [float(n.sum()) for n in scorer.score(TEXTS)] == pytest.approx(expected, rel=1e-5)


def test_batch_size_and_order_change_nothing(scorer_for):
    one = scorer_for(row_tokens=1).score(TEXTS)
    for other in (scorer_for().score(TEXTS), scorer_for().score(TEXTS, reverse=True)):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_an_overlap_changes_the_context_not_the_count(scorer_for):
    plain, overlapped = scorer_for().score(TEXTS), scorer_for(stride=16).score(TEXTS)
    assert [len(n) for n in plain] == [len(n) for n in overlapped] == [len(t.encode()) for t in TEXTS]
    assert not np.allclose(plain[3], overlapped[3])


@settings(max_examples=10, deadline=None)
@given(st.lists(st.text(max_size=80), min_size=1, max_size=5))
def test_any_text_can_be_scored(texts):
    model, tokenizer = _random(PRESETS["gpt2-tiny"]).eval(), byte_tokenizer()
    found = Scorer(model, tokenizer, window=32, stride=32, row_tokens=64).score(texts)
    assert [len(n) for n in found] == [len(t.encode()) for t in texts]
    assert all(np.isfinite(n).all() for n in found)


def test_a_model_that_scales_its_logits_is_refused():
    model = AutoModelForCausalLM.from_config(_granite_config())
    with pytest.raises(InputError, match="changes its logits"):
        output_weight(model)


def _granite_config():
    from transformers import GraniteConfig

    return GraniteConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, logits_scaling=8.0,
    )  # fmt: skip


def test_the_embedded_bases_score_of_a_play_equals_a_plain_transformers_computation(cache, tempest):
    """Bits per byte of a whole held-out play's beginning, written out with nothing of ours."""
    text = tempest[:6000]
    ref = locate("smollm2-135m-instruct-q4", cache)
    model, tokenizer = load_base(ref, cache, dtype="fp32", device="cpu", console=Console(quiet=True))
    nats = Scorer(model, tokenizer, window=512, stride=512, row_tokens=1024).score([text])[0].sum()
    ours = nats / math.log(2) / len(text.encode())

    plain, words = AutoModelForCausalLM.from_pretrained(ref.folder), AutoTokenizer.from_pretrained(ref.folder)
    ids = [words.bos_token_id, *words(text, add_special_tokens=False)["input_ids"]]
    total = reference(plain, ids, 512)
    assert ours == pytest.approx(total / math.log(2) / len(text.encode()), abs=1e-5)
