"""Which language a text is in, where that is clear (py3langid, the extra `clean`)."""

from __future__ import annotations

import math

import numpy as np

from assay.core.optional import require

PACKAGE, EXTRA = "py3langid", "clean"


class Languages:
    """Tells languages apart. The model takes 75 MB, which are free again with the last use of this object.

    Attributes:
        known: the codes (ISO 639-1) of the languages that can be told.

    Raises:
        MachineError: py3langid is not installed.
    """

    def __init__(self) -> None:
        langid = require(PACKAGE, extra=EXTRA).langid
        self._model = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE)
        self.known = frozenset(map(str, self._model.labels))

    def of(self, text: str) -> str | None:
        """The code of the likeliest language, where it is likelier than all others together; else None.

        py3langid's scores are log-likelihoods that grow with the text; divided by the root of its bytes they are as
        comparable between texts as its own normalised ones. Lists of names are in no language by this.
        """
        ranked = self._model.rank(text)
        scores = np.array([score for _, score in ranked]) / math.sqrt(len(text.encode()))
        return str(ranked[0][0]) if np.exp(scores - scores[0]).sum() < 2 else None
