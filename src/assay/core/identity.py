"""What makes a run this run, and finding the runs that are it.

A run is its schema version, base (by hash), data (by content), adapter, training and seed. Where a
local file lies, which device trains, how often it is saved, and how it is evaluated are not part of it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.core.errors import InputError
from assay.core.files import read_json, sha256_json
from assay.core.resolved import values
from assay.core.rundir import RunDir

NOT_IDENTITY = (
    "device",
    "save_every",
    "keep_checkpoints",
    "checkpointing",
)  # keys of `train` that do not change the result


@dataclass(frozen=True)
class Identity:
    """The parts that are hashed, and the few that only describe."""

    schema: int
    base_hash: str
    data: dict[str, Any]
    content: dict[str, Any]
    adapter: dict[str, Any]
    train: dict[str, Any]
    seed: int

    @property
    def settings_hash(self) -> str:
        """All of the identity but what the data files hold."""
        return sha256_json([self.schema, self.base_hash, self.data, self.adapter, self.train, self.seed])

    @property
    def id(self) -> str:
        """The whole identity, as hex."""
        return sha256_json([self.settings_hash, self.content])

    def as_json(self, *, base: dict[str, Any]) -> dict[str, Any]:
        """identity.json; `base` adds how the base was named."""
        return {
            "id": self.id,
            "short": self.id[:8],
            "settings": self.settings_hash,
            "schema": self.schema,
            "base": base | {"hash": self.base_hash},
            "data": {**self.data, "content": self.content},
            "adapter": self.adapter,
            "train": self.train,
            "seed": self.seed,
        }


def make_identity(
    *, schema: int, base_hash: str, data: dict[str, Any], content: dict[str, Any], adapter: dict[str, Any],
    train: dict[str, Any], seed: int,
) -> Identity:  # fmt: skip
    """An identity from resolved sections; `data` names no files, their `content` counts instead."""
    return Identity(
        schema,
        base_hash,
        data,
        content,
        adapter,
        {key: value for key, value in train.items() if key not in NOT_IDENTITY},
        seed,
    )


def runs_of(folder: Path) -> list[tuple[RunDir, dict[str, Any]]]:
    """The runs of one experiment with their identities, oldest first."""
    names = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [RunDir(path) for path in names if path.is_dir() and not path.name.startswith(".")]
    return [(run, read_json(run.identity)) for run in found if run.identity.is_file()]


def find_run(folder: Path, identity: Identity, named: Mapping[str, Any] | None = None) -> RunDir | None:
    """The newest run with this identity.

    Args:
        folder: of the experiment.
        identity: of the run.
        named: the settings, by dotted key, that name the data's files. A run that named others is another run, and its
            data have not changed.

    Raises:
        InputError: there is none, but a run that is under way differs from it in its data alone.
    """
    same, other_data = None, None
    for run, recorded in runs_of(folder):
        if recorded["id"] == identity.id:
            same, other_data = run, None
        elif recorded.get("settings") == identity.settings_hash and _under_way(run) and _names(run, named or {}):
            other_data = (run, recorded)
    if same is None and other_data is not None:
        run, recorded = other_data
        difference = _difference(recorded["data"]["content"], identity.content)
        raise InputError(
            f"the data changed since this unfinished run began: {difference}",
            where=str(run.path),
            fix="restore the data and give the same command again, or start anew with --new",
        )
    return same


def _names(run: RunDir, named: Mapping[str, Any]) -> bool:
    before = values(run)
    return all(before.get(key, value) == value for key, value in named.items())


def _under_way(run: RunDir) -> bool:
    """Something has been made from the data, and the run has not come to its end."""
    return run.finished("prepare") is not None and run.finished("evaluate") is None


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    old, new = ({f["name"]: f["sha256"] for f in content.get("files", [])} for content in (before, now))
    parts = [f"{name} is gone" for name in old if name not in new]
    parts += [f"{name} is new" for name in new if name not in old]
    parts += [
        f"{name} had sha256 {old[name][:12]} and has {new[name][:12]}"
        for name in old
        if name in new and old[name] != new[name]
    ]
    return "; ".join(parts[:5]) or "the order of its files"


def new_run(folder: Path, identity: Identity) -> RunDir:
    """Where a new run goes: `<time>-<short hash>`, a name that nothing has yet. Nothing is made."""
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")
    path = folder / f"{stamp}-{identity.id[:8]}"
    number = 1
    while path.exists():
        number += 1
        path = folder / f"{stamp}-{identity.id[:8]}-{number}"
    return RunDir(path)
