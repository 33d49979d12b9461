"""Every error that a user can meet, in one tree. Each says what, where, and how to fix it.

The command line prints `str(error)` and exits with `error.exit_code`; anything that is not an
`AssayError` is a bug of ours and keeps its traceback.
"""

from __future__ import annotations


class AssayError(Exception):
    """An error with a place and a fix.

    Args:
        what: one sentence, with the offending value in it.
        where: file, line, row or key, such as ``experiment.yaml:12:3 (train.learning_rate)``.
        fix: what the reader can do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(what)

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  fix: {self.fix}" if self.fix else head


class InputError(AssayError):
    """What the user gave is wrong: a key, a file, a row, a value."""

    exit_code = 2


class GuardError(AssayError):
    """A validity guard failed, so no verdict is given."""

    exit_code = 3

    def __init__(self, guard: str, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.guard, self.why = guard, what
        super().__init__(f"guard {guard} failed: {what}", where=where, fix=fix)


class MachineError(AssayError):
    """This machine cannot do it: memory, disk, a missing extra, no network."""

    exit_code = 4


class Interrupted(AssayError):
    """Stopped by the user; the run is resumable."""

    exit_code = 130


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)
