"""Scores held against the rolling windows of lm-evaluation-harness, written out in plain torch.

`rolling` and `plain` say what lm_eval 0.4.13 does (`get_rolling_token_windows` and `make_disjoint_window` in its
`utils.py`, `_loglikelihood_tokens` in its `models/huggingface.py`), one window at a time and nothing packed.
`benchmarks/score_vs_lm_eval.py` compares with the package itself.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from assay.model import adapters
from assay.model.kernels import speed_up
from assay.model.load import _random
from assay.model.registry import PRESETS
from assay.model.score import Reading, Scorer, windows
from assay.text.tokenizer import byte_tokenizer

TEXTS = [
    "It was on a dreary night of November that I beheld the accomplishment of my toils.",
    "", "a", " ", "Ünïcode ☃ is longer in bytes than in letters.",
    "You will rejoice to hear that no disaster has accompanied the commencement of an enterprise. " * 3,
]  # fmt: skip


def rolling(tokens, prefix, longest, context=1):
    """What is shown and what is scored of each window; `context` tokens at least stand before those scored."""
    done = min(longest, len(tokens))
    cut = [([prefix], tokens[:done])] if tokens else []
    while done < len(tokens):
        end = done + min(len(tokens) - done, longest - context + 1)
        cut.append((tokens[end - longest - 1 : done], tokens[done:end]))
        done = end
    return cut


def plain(model, shown, scored):
    """log p of each scored token after those shown, from one unpacked pass."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*shown, *scored][:-1]])).logits
    logs = logits.log_softmax(-1)[0, -len(scored) :]
    return logs.gather(1, torch.tensor(scored)[:, None])[:, 0].double().numpy()


@given(st.lists(st.integers(0, 99), max_size=80), st.integers(1, 24), st.data())
def test_windows_are_those_of_lm_eval_for_every_stride(tokens, longest, data):
    context = data.draw(st.integers(1, longest))
    ours = windows(tokens, 100, window=longest, stride=longest - context + 1)
    assert [(w.ids[: -w.scored], w.ids[-w.scored :]) for w in ours] == rolling(tokens, 100, longest, context)


@pytest.fixture(scope="module", params=["llama-tiny", "gpt2-tiny"])
def model(request):
    return _random(PRESETS[request.param]).eval()


@settings(max_examples=15)
@given(st.integers(2, 48), st.data())
def test_each_tokens_score_is_that_of_plain_torch(model, longest, data):
    context = data.draw(st.integers(1, longest))
    tokenizer = byte_tokenizer()
    scorer = Scorer(model, tokenizer, window=longest, stride=longest - context + 1, row_tokens=128)
    for text, nats in zip(TEXTS, scorer.score(TEXTS), strict=True):
        cut = rolling(tokenizer.encode(text), scorer.context, longest, context)
        expected = np.concatenate([[], *(plain(model, *window) for window in cut)])
        np.testing.assert_allclose(-nats, expected, rtol=1e-5, atol=1e-5)


def test_a_continuations_score_is_that_of_plain_torch(model):
    """What `loglikelihood` gives of multiple choice: no beginning-of-text token but the tokenizer's own."""
    tokenizer = byte_tokenizer()
    asked, choices = "Question: What is grass?\nAnswer:", [" green", " a very long answer indeed", " n"]
    readings, expected = [], []
    for choice in choices:
        shown, scored = tokenizer.encode(asked), tokenizer.encode(choice)
        counts = np.array([False] * (len(shown) - 1) + [True] * len(scored))
        readings.append(Reading([*shown, *scored][1:], shown[0], len(choice), counts))
        expected.append(float(plain(model, shown, scored).sum()))
    scorer = Scorer(model, tokenizer, window=64, stride=64)
    assert [-float(nats.sum()) for nats in scorer.score_readings(readings)] == pytest.approx(expected, rel=1e-5)
    likeliest = [bool(counts.all()) for counts in scorer.greedy(readings)]
    assert likeliest == [False] * 3  # random weights


def test_what_the_tokenizer_puts_in_front_is_shown_and_not_scored(model):
    """As with `add_bos_token=False`: left to itself, lm_eval also scores a Llama's beginning-of-text token."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = byte_tokenizer()
    bos = tokenizer.bos
    tokenizer.backend.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", bos)]
    )
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend)
    ids = wrapped("grass", add_special_tokens=False)["input_ids"]
    nats = Scorer(model, tokenizer, window=32, stride=32).score(["grass"])[0]
    assert wrapped("grass")["input_ids"] == [bos, *ids]
    np.testing.assert_allclose(-nats, plain(model, [bos], ids), rtol=1e-5)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_faster_layers_score_the_same(kind):
    """Base and tuned from one model, the adapter switched, in PEFT's layers and in ours (`model/kernels`)."""
    tokenizer = byte_tokenizer()
    adapted = adapters.attach(
        _random(PRESETS["llama-tiny"]),
        kind=kind,
        rank=4,
        alpha=8,
        dropout=0.0,
        targets="all-linear",
        rslora=False,
        seed=0,
    ).eval()
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))

    def both():
        scorer = Scorer(adapted, tokenizer, window=32, stride=16, row_tokens=64)
        tuned = np.concatenate(scorer.score(TEXTS))
        with adapted.disable_adapter():
            return tuned, np.concatenate(scorer.score(TEXTS))

    before = both()
    speed_up(adapted)
    for slow, fast in zip(before, both(), strict=True):
        np.testing.assert_allclose(fast, slow, rtol=1e-5, atol=1e-5)
    assert np.abs(before[0] - before[1]).max() > 1e-3
