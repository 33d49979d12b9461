"""What a tokenizer makes of a split: lengths, what is cut and learned, how tightly it packs, what gets lost."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.core.distribution import histogram, quantiles
from assay.core.records import Item
from assay.text.packing import pack
from assay.text.tokenizer import TextTokenizer
from assay.text.tokens import Encoded

LENGTHS = (256, 512, 768, 1024, 2048, 4096, 8192)  # usual values of train.max_length
_SAMPLE = 256  # texts that go there and back
_SAMPLED = 10_000  # up to this many characters of each

Ints = NDArray[np.int64]


class TokenProfile:
    """Gathers the profile of a split, a batch at a time; some bytes are kept of each row.

    Args:
        tokenizer: the model's.
        max_length: tokens of a training sequence.
    """

    def __init__(self, tokenizer: TextTokenizer, max_length: int) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length
        self._rows: list[NDArray[np.int64]] = []  # tokens, learned ones, learned ones before the cut
        self._bytes = self._doubled = 0
        self._special: Counter[str] = Counter()
        self._sample: list[tuple[str, str]] = []  # of the least ids, which are hashes: the order of rows is no matter
        ids = {token: tokenizer.backend.token_to_id(token) for token in tokenizer.special_tokens}
        self._special_ids = {token: number for token, number in ids.items() if number is not None}

    def add(self, items: Sequence[Item], encoded: Encoded) -> Ints:
        """Take in some items and what they were encoded to.

        Returns:
            Of each row how many tokens before the cut count in the loss.
        """
        starts, lengths = encoded.starts, encoded.lengths
        learned = np.concatenate([np.zeros(1, np.int64), np.cumsum(encoded.learn)])
        kept = starts[:-1] + np.minimum(lengths, self.max_length)
        before_cut: Ints = learned[kept] - learned[starts[:-1]]
        self._rows.append(np.stack([lengths, learned[starts[1:]] - learned[starts[:-1]], before_cut]))
        self._bytes += int(encoded.sizes.sum())
        self._doubled += int(encoded.doubled.sum())
        self._count_special(items, encoded)
        candidates = [*self._sample, *((item.id, item.text[:_SAMPLED]) for item in items)]
        self._sample = heapq.nsmallest(_SAMPLE, candidates)
        return before_cut

    def _count_special(self, items: Sequence[Item], encoded: Encoded) -> None:
        """Count the rows whose own text spells a special token; the tokenizer takes it for a real one."""
        seen = set(np.flatnonzero(np.bincount(encoded.ids)).tolist())
        contents = ["\n".join(turn.text for turn in item.turns) if item.turns else item.text for item in items]
        everything = "\n".join(contents)
        for token, number in self._special_ids.items():
            if number in seen and token in everything:
                self._special[token] += sum(token in content for content in contents)

    def result(self, *, truncated: bool = True) -> dict[str, Any]:
        """The profile as JSON; where a number would be undefined stands null.

        Args:
            truncated: longer rows are cut off; else they are cut into several sequences, and nothing is lost.

        Returns:
            ``rows``, ``tokens``, ``learned`` (tokens that count in the loss), ``learned_share``, ``bytes`` (template
            text too), ``tokens_per_byte``;
            ``histograms`` and ``quantiles`` of ``tokens`` and ``learned`` per row, as in the data profile;
            ``cut``: the share of rows that are longer than ``max_length``, the share of ``tokens`` beyond it, and the
            shares of rows ``by_length`` for other usual lengths;
            ``without_learned``: rows without a token that counts in the loss before the cut;
            ``sequences`` and ``packing_efficiency``: of the rows, cut and packed by best-fit decreasing, and tokens ÷
            (sequences x max_length);
            ``doubled_prefix``: rows that begin with the beginning-of-text token twice;
            ``special_tokens_in_text``: rows by special token that their own text spells;
            ``round_trip``: of a ``sample`` of texts how many are ``exact`` after decode(encode(text)), and the
            ``lossy_bytes_share``.
        """
        lengths, learned, before_cut = np.concatenate([np.zeros((3, 0), np.int64), *self._rows], axis=1)
        total = int(lengths.sum())
        cut = np.minimum(lengths, self.max_length)
        if not truncated:
            full, rest = np.divmod(lengths, self.max_length)
            cut = np.concatenate([np.full(int(full.sum()), self.max_length), rest])
        sequences = len(pack(cut[cut > 0], self.max_length))
        return {
            "rows": len(lengths),
            "tokens": total,
            "learned": int(learned.sum()),
            "learned_share": _share(int(learned.sum()), total),
            "bytes": self._bytes,
            "tokens_per_byte": _share(total, self._bytes),
            "histograms": {"tokens": histogram(lengths), "learned": histogram(learned)},
            "quantiles": {"tokens": quantiles(lengths), "learned": quantiles(learned)},
            "cut": {
                "max_length": _share(int((lengths > self.max_length).sum()), len(lengths)),
                "tokens": _share(total - int(cut.sum()), total),
                "by_length": {str(size): _share(int((lengths > size).sum()), len(lengths)) for size in LENGTHS},
            },
            "without_learned": int(((before_cut if truncated else learned) == 0).sum()),
            "sequences": sequences,
            "packing_efficiency": _share(int(cut.sum()), sequences * self.max_length),
            "doubled_prefix": self._doubled,
            "special_tokens_in_text": dict(sorted(self._special.items())),
            "round_trip": self._round_trip(),
        }

    def _round_trip(self) -> dict[str, Any]:
        texts = [text for _, text in self._sample]
        back = [self.tokenizer.decode(ids, keep_special=True) for ids in self.tokenizer.encode_batch(texts)]
        size = sum(len(text.encode()) for text in texts)
        return {
            "sample": len(texts),
            "exact": sum(a == b for a, b in zip(texts, back, strict=True)),
            "lossy_bytes_share": _share(sum(map(lossy_bytes, texts, back)), size),
        }


def lossy_bytes(text: str, back: str) -> int:
    """Bytes of a text that did not come back: of the words that changed or, where words were lost, of what lies between
    the first and the last change."""
    words, others = text.split(" "), back.split(" ")
    if len(words) == len(others):
        return sum(len(a.encode()) for a, b in zip(words, others, strict=True) if a != b)
    shorter = min(len(text), len(back))
    same = next((k for k in range(shorter) if text[k] != back[k]), shorter)
    rest = shorter - same
    behind = next((k for k in range(rest) if text[-1 - k] != back[-1 - k]), rest)
    return len(text[same : len(text) - behind].encode())


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
