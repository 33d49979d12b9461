"""Watching a training: what its memory is at each step, and mirrors of its numbers to trackers of experiments.

The run's own metrics.jsonl stays the record. A mirror that fails is said once and left out; training goes on.
"""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, redirect_stdout
from types import TracebackType
from typing import Any, Protocol

import torch

from assay.core.console import Console
from assay.core.errors import first_line
from assay.core.optional import require
from assay.core.rundir import RunDir
from assay.model.probe import memory_now

Config = dict[str, Any]

_ADDRESS = re.compile(r"(?P<scheme>[a-zA-Z][\w+.-]*://)(?:[^/\s@]*@)?(?P<place>[^\s?#]*)[^\s]*")


def memory_line(device: str, loaded: int) -> dict[str, int]:
    """Bytes held now, and what training added on top of the loaded model.

    Args:
        device: `cuda`, where the GPU's memory is told too, or another.
        loaded: bytes held once the model was loaded: of the GPU's memory on `cuda`, else of this process.

    Returns:
        `memory` of the process; `memory_added`; on CUDA `memory_allocated`, `memory_reserved`, and the highest
        allocated so far, `memory_peak`, from which `memory_added` is counted there.
    """
    held = memory_now()
    if device != "cuda":
        return {"memory": held, "memory_added": held - loaded}
    peak = torch.cuda.max_memory_allocated()
    return {
        "memory": held,
        "memory_allocated": torch.cuda.memory_allocated(),
        "memory_reserved": torch.cuda.memory_reserved(),
        "memory_peak": peak,
        "memory_added": peak - loaded,
    }


def public(value: Any) -> Any:
    """A configuration without what may be secret in it: the user, query and fragment of web addresses."""
    if isinstance(value, dict):
        return {key: public(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [public(entry) for entry in value]
    return _ADDRESS.sub(r"\g<scheme>\g<place>", value) if isinstance(value, str) else value


class Mirror(Protocol):
    """One tracker that has been opened for a run."""

    def log(self, values: dict[str, float], step: int) -> None:
        """Take the numbers of one step."""

    def close(self) -> None:
        """Write what is left."""


class _TensorBoard:
    def __init__(self, run: RunDir, config: Config) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(run.metrics.parent / "tensorboard"))
        self.writer.add_text("experiment", "\n".join(f"    {key}: {value}" for key, value in _flat(config).items()), 0)

    def log(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


class _Trackio:
    def __init__(self, run: RunDir, config: Config) -> None:
        self.trackio = require("trackio", extra="trackio")
        self.trackio.init(
            project=run.path.parent.name, name=run.path.name, config=config, resume="allow", embed=False,
            auto_log_cpu=False, auto_log_gpu=False,
        )  # fmt: skip

    def log(self, values: dict[str, float], step: int) -> None:
        self.trackio.log(values, step=step)

    def close(self) -> None:
        self.trackio.finish()


class _Wandb:
    def __init__(self, run: RunDir, config: Config) -> None:
        wandb = require("wandb", extra="wandb")
        # without a key it would ask for one, and the training would wait
        mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline")
        self.run = wandb.init(
            project=run.path.parent.name, name=run.path.name, id=run.path.name, resume="allow", config=config,
            dir=str(run.metrics.parent), mode=mode, settings=_wandb_settings(wandb),
        )  # fmt: skip

    def log(self, values: dict[str, float], step: int) -> None:
        self.run.log(values, step=step)

    def close(self) -> None:
        self.run.finish()


class _MLflow:
    def __init__(self, run: RunDir, config: Config) -> None:
        mlflow = require("mlflow", extra="mlflow")
        own = f"sqlite:///{run.metrics.parent.resolve() / 'mlflow.db'}"
        self.client = mlflow.MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or own)
        found = self.client.get_experiment_by_name(run.path.parent.name)
        experiment = found.experiment_id if found else self.client.create_experiment(run.path.parent.name)
        self.run = self.client.create_run(experiment, run_name=run.path.name).info.run_id
        for key, value in _flat(config).items():
            self.client.log_param(self.run, key, str(value)[:500])

    def log(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.client.log_metric(self.run, name, value, step=step)

    def close(self) -> None:
        self.client.set_terminated(self.run)


def _wandb_settings(wandb: Any) -> Any:
    """The numbers and the configuration alone: no command line (a value of --set may be secret), code or machine."""
    return wandb.Settings(
        silent=True, console="off", disable_git=True, save_code=False, x_disable_meta=True, x_disable_stats=True,
        x_disable_machine_info=True,
    )  # fmt: skip


MIRRORS: dict[str, Callable[[RunDir, Config], Mirror]] = {
    "tensorboard": _TensorBoard,
    "trackio": _Trackio,
    "wandb": _Wandb,
    "mlflow": _MLflow,
}


def _flat(config: Config, prefix: str = "") -> Config:
    found: Config = {}
    for key, value in config.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


class Mirrors(AbstractContextManager["Mirrors"]):
    """The trackers that an experiment names, as one; closed with the block, whatever ends it."""

    def __init__(self, names: Sequence[str], run: RunDir, resolved: Config, console: Console) -> None:
        self.console = console
        self.open: dict[str, Mirror] = {}
        config = public(resolved)
        for name in names:
            self._try(name, lambda name=name: self.open.update({name: MIRRORS[name](run, config)}))  # type: ignore[misc]

    def log(self, values: dict[str, Any], step: int) -> None:
        """Send the numbers among `values` to each mirror that still works."""
        numbers = {
            key: float(value)
            for key, value in values.items()
            if key != "step" and isinstance(value, (int, float)) and math.isfinite(value)
        }
        for name, mirror in list(self.open.items()):
            self._try(name, lambda mirror=mirror: mirror.log(numbers, step))  # type: ignore[misc]

    def close(self) -> None:
        """Close each mirror."""
        for name, mirror in list(self.open.items()):
            self._try(name, mirror.close)
        self.open = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _try(self, name: str, work: Callable[[], object]) -> None:
        try:
            with redirect_stdout(io.StringIO()):  # what a library says there is no result of ours
                work()
        except Exception as error:  # whatever a tracker's library raises, the training is worth more
            self.open.pop(name, None)
            self.console.note(f"the mirror {name} failed and is left out from here on: {first_line(error)}")


def mirrors(names: Sequence[str], run: RunDir, resolved: Config, console: Console) -> Mirrors:
    """Open the trackers named.

    Args:
        names: keys of `MIRRORS`.
        resolved: the experiment's values; addresses lose what may be secret in them before they are sent.

    Raises:
        MachineError: a tracker's library is missing; the extra that brings it is named.
    """
    for name in names:
        require(name, extra=name)
    return Mirrors(names, run, resolved, console)
