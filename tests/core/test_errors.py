"""Errors say what, where and the fix, and carry the exit code."""

from __future__ import annotations

import pytest

from assay.core.errors import AssayError, GuardError, InputError, Interrupted, MachineError


def test_a_message_has_place_and_fix() -> None:
    error = InputError("no such key 'lr'", where="a.yaml:3:1 (train)", fix="did you mean learning_rate?")
    assert str(error) == "a.yaml:3:1 (train): no such key 'lr'\n  fix: did you mean learning_rate?"
    assert str(InputError("what")) == "what"


def test_a_guards_error_names_the_guard() -> None:
    error = GuardError("split-leak", "2 % of the held-out texts leak")
    assert error.guard == "split-leak"
    assert str(error) == "guard split-leak failed: 2 % of the held-out texts leak"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AssayError("x"), 1),
        (InputError("x"), 2),
        (GuardError("receipt", "x"), 3),
        (MachineError("x"), 4),
        (Interrupted("x"), 130),
    ],
)
def test_exit_codes(error: AssayError, code: int) -> None:
    assert error.exit_code == code
    assert isinstance(error, AssayError)
