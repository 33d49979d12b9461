"""A missing package is told with the extra that brings it; where the cache lies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assay.core.cache import cache_dir
from assay.core.errors import MachineError
from assay.core.optional import installed, require


def test_what_is_there_is_given() -> None:
    assert installed("json")
    assert require("json", extra="train") is json


def test_what_is_missing_is_named_with_its_extra() -> None:
    assert not installed("no_such_package_here")
    with pytest.raises(MachineError, match="no_such_package_here") as caught:
        require("no_such_package_here", extra="train")
    assert caught.value.fix == "pip install 'assay[train]'"


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CACHE", "/somewhere")
    assert cache_dir() == Path("/somewhere")
    monkeypatch.delenv("ASSAY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_dir() == Path("/xdg/assay")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "assay"
