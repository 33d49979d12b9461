"""What the outcome of a guard means for whoever reads the result: the same words on the terminal and in the report."""

from __future__ import annotations

from assay.core.guard import Class, Status

CLASSES: dict[str, str] = {"V": "validity", "O": "outcome", "R": "for the record"}

_ASIDE = "this is about the machine or the record: the verdict does not depend on it"
_MEANS: dict[tuple[Class, Status], str] = {
    ("V", "pass"): "this has not spoiled the numbers",
    ("V", "warn"): "the numbers stand, but this may have touched them: read them with that in mind",
    ("V", "fail"): "the numbers cannot be trusted, so there is no verdict",
    ("O", "pass"): "nothing unwelcome was found",
    ("O", "warn"): "the numbers are right, and they show less than one would wish: claim no more",
    ("O", "fail"): "the numbers are right and unwelcome: this belongs to the verdict",
    ("R", "pass"): "it is as it should be",
    ("R", "warn"): _ASIDE,
    ("R", "fail"): _ASIDE,
}
_NOT_ASKED = "this was not asked here, which says nothing for or against the result"


def explain(cls: Class, status: Status) -> str:
    """What a record of this class and status means, as a sentence without its full stop.

    Args:
        cls: of the guard.
        status: of the record.
    """
    return _MEANS.get((cls, status), _NOT_ASKED)
