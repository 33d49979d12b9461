from hypothesis import given
from hypothesis import strategies as st
from tokenizers import processors

from assay.model.load import byte_tokenizer
from assay.stages.train.batches import make_corpus, micro_batches, order, schedule_steps
from assay.text.tokenizer import TextTokenizer

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


@given(st.lists(st.text(max_size=50), min_size=1, max_size=6), st.integers(8, 40))
def test_every_token_of_a_row_is_predicted_exactly_once(texts, max_length):
    tokenizer = byte_tokenizer()
    corpus = make_corpus(texts, tokenizer, max_length=max_length)
    predicted = [token for segment in corpus.segments for token in segment[1:]]
    expected = [token for text in texts for token in [*tokenizer.encode(text), tokenizer.eos][1:]]
    assert predicted == expected
    assert corpus.tokens == len(expected)
    assert all(1 <= len(segment) - 1 <= max_length for segment in corpus.segments)


def test_a_prefix_in_the_text_is_found_doubled():
    plain = byte_tokenizer()
    plain.backend.add_special_tokens(["<s>"])
    bos = plain.backend.token_to_id("<s>")
    plain.backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    tokenizer = TextTokenizer(plain.backend, bos, plain.eos)
    corpus = make_corpus(["fine", "<s>twice", "<s> twice too"], tokenizer, max_length=32)
    assert corpus.doubled_prefix == [2, 3]
    assert corpus.segments[0][:2] == [bos, tokenizer.encode("f")[0]]


def test_rows_without_a_supervised_token_are_counted():
    corpus = make_corpus(["text", "", "x"], byte_tokenizer(), max_length=32)
    assert (corpus.rows, corpus.supervised_rows) == (3, 2)


@given(LENGTHS, st.integers(40, 100), st.integers(0, 3))
def test_an_epoch_holds_every_segment_once(lengths, batch, seed):
    steps = schedule_steps(lengths, seed=seed, batch_tokens=batch, steps=None, epochs=1.0)
    assert sorted(i for step in steps for i in step) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in step) <= batch for step in steps)


@given(LENGTHS, st.integers(40, 100), st.integers(1, 8))
def test_steps_are_the_beginning_of_a_longer_training(lengths, batch, count):
    short = schedule_steps(lengths, seed=1, batch_tokens=batch, steps=count, epochs=None)
    assert len(short) == count
    assert schedule_steps(lengths, seed=1, batch_tokens=batch, steps=count + 3, epochs=None)[:count] == short


def test_the_order_depends_on_seed_and_epoch_alone():
    assert order(1, 0, 50) == order(1, 0, 50)
    assert order(1, 0, 50) != order(1, 1, 50) != order(2, 1, 50)
    assert sorted(order(3, 4, 50)) == list(range(50))


@given(LENGTHS, st.integers(1, 60))
def test_micro_batches_keep_the_order(lengths, most):
    step = list(range(len(lengths)))
    rows = micro_batches(step, lengths, most)
    assert [i for row in rows for i in row] == step
    assert all(sum(lengths[i] for i in row) <= most for row in rows if len(row) > 1)
