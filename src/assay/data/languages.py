"""Which language a text is in, where that is clear (py3langid, the extra `clean`)."""

from __future__ import annotations

import math

import numpy as np

from assay.core.optional import require

PACKAGE = "py3langid"


def language_of(text: str) -> str | None:
    """The code (ISO 639-1) of the likeliest language, where it is likelier than all others together; else None.

    py3langid's scores are log-likelihoods that grow with the text; divided by the root of its bytes they are as
    comparable between texts as its own normalised ones. Lists of names are in no language by this.

    Raises:
        MachineError: py3langid is not installed.
    """
    ranked = require(PACKAGE, extra="clean").rank(text)
    scores = np.array([score for _, score in ranked]) / math.sqrt(len(text.encode()))
    return str(ranked[0][0]) if np.exp(scores - scores[0]).sum() < 2 else None
