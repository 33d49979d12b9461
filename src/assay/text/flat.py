"""Many texts to flat arrays of ids, fast: the tokenizer's reference implementation, and a quicker one held to it.

`fastokens` reads the same `tokenizer.json` and gives the same ids in a third of the time. It is used only while it
agrees with the reference: on a set of hard strings at the start, and on a sample of every batch. The first disagreement
ends its use, and `name` and `reason` tell.
"""

from __future__ import annotations

import importlib
import random
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tokenizers import Tokenizer, pre_tokenizers

from assay.core.optional import installed

Ints = NDArray[np.int64]

REFERENCE, FAST = "tokenizers", "fastokens"
_SMALL = 100_000  # characters: a batch below goes by the reference, which needs no check
_SAMPLE = 16  # texts of each larger batch that both must agree on,
_SAMPLED = 20_000  # up to this many characters of each
_SLICE = 512  # texts that the reference encodes at a time: its encodings are large
_HARD = (
    "", " ", "  ", "\n", "\n\n", " \n", "\t", "\r\n", "\r", "a", "A", "the", "word", " word", "WORD", "'s", "'LL",
    "don't", "1", "23", "456", "7890", "1234567890", "3.14", "1,000", "-", "--", "…", "?!", "...", "_", "__init__",
    "x=1", "{}", "<", ">", "<|", "|>", "</s>", "é", "e\u0301", "ß", "İ", "ﬁ", "ŉ", "²", "½", "Ⅷ", "١٢", "नि", "ก็",
    "한국어", "中文", "日本語", "Жук", "😀", "👨\u200d👩\u200d👧", "🇸🇪", "\u00a0", "\u200b", "\u2028", "\u3000", "\x85",
    "\x00", "\x1f", "\ufeff", "\ue000", "\U00020000", "\uff46", "▁", "Ġ",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Flat:
    """Several texts as ids, all behind each other.

    Args:
        ids: int32, of all texts.
        starts: where each text's ids begin, and the end of the last: one more than texts.
        bytes: where each text begins when all are joined as UTF-8, and their end: one more than texts.
        first: of each id the first of these bytes that it covers; empty unless asked for.
        behind: the byte behind the last one; empty unless asked for.
    """

    ids: NDArray[np.int32]
    starts: Ints
    bytes: Ints
    first: Ints
    behind: Ints


class FlatEncoder:
    """Encodes batches of texts, without adding special tokens.

    Args:
        backend: the tokenizer, without truncation and padding.

    Attributes:
        name: which implementation encodes larger batches.
        reason: why this one.
    """

    def __init__(self, backend: Tokenizer) -> None:
        self.name, self.reason = REFERENCE, "no larger batch was encoded so far"
        self._reference = backend
        self._fast: Any = None
        self._tried = False

    def encode(self, texts: Sequence[str], *, ranges: bool = False) -> Flat:
        """The ids of several texts; with `ranges` also which bytes each covers."""
        edges = _cumulated([len(text) if text.isascii() else len(text.encode()) for text in texts])
        if ranges and self._widths is None:
            return self._looked_up(texts, edges)
        ids, starts = self._ids(texts)
        if not ranges or self._widths is None:
            return Flat(ids, starts, edges, _NONE, _NONE)
        return self._added_up(texts, ids, starts, edges, self._widths)

    def _added_up(self, texts: Sequence[str], ids: NDArray[np.int32], starts: Ints, edges: Ints, widths: Ints) -> Flat:
        """With ranges from the widths of the ids; a text whose widths do not add up to its size is looked up."""
        ends = _cumulated(widths[ids])
        odd = np.diff(ends[starts]) != np.diff(edges)
        if self._reference.normalizer is not None:  # it composes characters, which may move bytes
            odd |= np.array([not unicodedata.is_normalized("NFC", text) for text in texts], bool)
        shift = (edges[:-1] - ends[starts[:-1]]).repeat(np.diff(starts))
        flat = Flat(ids, starts, edges, ends[:-1] + shift, ends[1:] + shift)
        numbers = np.flatnonzero(odd).tolist()
        exact = self._looked_up([texts[k] for k in numbers], np.zeros(len(numbers) + 1, np.int64))
        for k, begin, end in zip(numbers, exact.starts[:-1], exact.starts[1:], strict=True):
            own = slice(starts[k], starts[k + 1])
            if self._fast is not None and not np.array_equal(ids[own], exact.ids[begin:end]):
                self._distrust(f"it gives other ids for {texts[k][:60]!r}")
                return self.encode(texts, ranges=True)
            flat.first[own] = exact.first[begin:end] + edges[k]
            flat.behind[own] = exact.behind[begin:end] + edges[k]
        return flat

    def _looked_up(self, texts: Sequence[str], edges: Ints) -> Flat:
        """With ranges from the reference's own offsets."""
        ids, counts, offsets = [], [], []
        for start in range(0, len(texts), _SLICE):
            some = list(texts[start : start + _SLICE])
            for text, edge, encoding in zip(
                some, edges[start:], self._exact.encode_batch(some, add_special_tokens=False), strict=False
            ):
                ids.append(np.array(encoding.ids, np.int32))
                counts.append(len(ids[-1]))
                offsets.append(byte_positions(text)[np.array(encoding.offsets, np.int64).reshape(-1, 2)] + edge)
        covered = np.concatenate([np.zeros((0, 2), np.int64), *offsets])
        return Flat(_joined(ids), _cumulated(counts), edges, covered[:, 0], covered[:, 1])

    def _ids(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], Ints]:
        if sum(map(len, texts)) < _SMALL or not self._loaded():
            return self._by_reference(texts)
        try:
            encoded = self._by_fast(texts)
            self._compare([text[:_SAMPLED] for text in texts[:: max(1, len(texts) // _SAMPLE)]])
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of the Rust code is no Exception
            self._distrust(str(error))
            return self._by_reference(texts)
        return encoded

    def _loaded(self) -> bool:
        """Whether the quicker implementation is there and to be trusted; it is tried once."""
        if self._tried:
            return self._fast is not None
        self._tried = True
        if not installed(FAST):
            self.reason = f"{FAST} is not installed"
            return False
        hard = _hard_strings([token.content for token in self._reference.get_added_tokens_decoder().values()])
        try:
            self._fast = importlib.import_module(FAST).Tokenizer.from_json_str(self._reference.to_str())
            self._compare(hard)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # as above
            self._distrust(str(error))
            return False
        self.name, self.reason = FAST, f"as {REFERENCE} on {len(hard)} hard strings and on samples of each batch"
        return True

    def _compare(self, texts: Sequence[str]) -> None:
        ids, starts = self._by_fast(texts)
        exact, right = self._by_reference(texts)
        if not (np.array_equal(starts, right) and np.array_equal(ids, exact)):
            pairs = zip(texts, np.split(ids, starts[1:-1]), np.split(exact, right[1:-1]), strict=True)
            other = next(text for text, own, reference in pairs if not np.array_equal(own, reference))
            raise ValueError(f"it gives other ids for {other[:60]!r}")

    def _distrust(self, why: str) -> None:
        self._fast, self.name, self.reason = None, REFERENCE, f"{FAST} is not used: {why}"

    def _by_fast(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], Ints]:
        ids, starts = self._fast.encode_batch_flat(list(texts))
        return np.frombuffer(ids, "<u4").astype(np.int32), np.frombuffer(starts, "<u8").astype(np.int64)

    def _by_reference(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], Ints]:
        ids = [
            np.array(encoding.ids, np.int32)
            for start in range(0, len(texts), _SLICE)
            for encoding in self._reference.encode_batch_fast(
                list(texts[start : start + _SLICE]), add_special_tokens=False
            )
        ]
        return _joined(ids), _cumulated([len(some) for some in ids])

    @cached_property
    def _exact(self) -> Tokenizer:
        """The reference with offsets as they are: a post-processor may take the blanks out of them."""
        exact = Tokenizer.from_str(self._reference.to_str())
        exact.post_processor = None
        return exact

    @cached_property
    def _widths(self) -> Ints | None:
        """Bytes of each id where ids cover a text without gaps: in byte-level tokenizers that only compose; else None.

        Bytes may get lost there (an added token swallows blanks, a byte has no token) but none are made up, so that a
        text is covered exactly if the widths add up to its size.
        """
        backend, alphabet = self._reference, frozenset(pre_tokenizers.ByteLevel.alphabet())
        before, vocabulary = backend.pre_tokenizer, backend.get_vocab(with_added_tokens=False)
        steps = "" if before is None else before.__getstate__().decode()
        plain = (
            type(backend.model).__name__ == "BPE"
            and not getattr(backend.model, "dropout", None)
            and not getattr(backend.model, "continuing_subword_prefix", None)
            and not getattr(backend.model, "end_of_word_suffix", None)
            and type(backend.normalizer).__name__ in ("NoneType", "NFC")
            and '"ByteLevel"' in steps
            and '"add_prefix_space":true' not in steps
            and '"Metaspace"' not in steps
            and (alphabet <= vocabulary.keys() or backend.model.unk_token is None)
        )
        if not plain:
            return None
        added = {number: token.content for number, token in backend.get_added_tokens_decoder().items()}
        widths = np.zeros(max([*vocabulary.values(), *added]) + 1, np.int64)
        for token, number in vocabulary.items():
            widths[number] = len(token) if alphabet.issuperset(token) else 0  # 0: such a text is looked up
        for number, token in added.items():
            widths[number] = len(token.encode())
        return widths


def byte_positions(text: str) -> Ints:
    """The byte (UTF-8) at which each character of a text begins, and the end of the text."""
    if text.isascii():
        return np.arange(len(text) + 1)
    octets = np.frombuffer(text.encode(), np.uint8)
    return np.append(np.flatnonzero((octets & 0xC0) != 0x80), octets.size)


_NONE = np.zeros(0, np.int64)


def _cumulated(values: ArrayLike) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.asarray(values, np.int64))])


def _joined(parts: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.concatenate([np.zeros(0, np.int32), *parts])


def _hard_strings(added: Sequence[str]) -> list[str]:
    """Strings that tokenizers disagree on: each by itself, next to added tokens, and in random sequences."""
    around = [made for token in added[:64] for made in (token, f"a{token}b", f" {token} {token}\n{token}", token[:-1])]
    mixed = random.Random(0)
    pieces = (*_HARD, *added[:64])
    return [*_HARD, *around, *("".join(mixed.choices(pieces, k=mixed.randint(2, 24))) for _ in range(512)), "a" * 3000]
