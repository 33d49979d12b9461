"""The training loop: full or LoRA, packed rows, token-normalised loss, resumable at every step."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from assay.core.console import Progress
from assay.core.errors import Interrupted
from assay.core.files import append_line
from assay.core.guard import GuardBook, limits, record
from assay.guards.training import finite_training, weights_moved
from assay.model.adapters import causal, module_of
from assay.model.attention import packed
from assay.model.loss import summed_nll
from assay.model.probe import memory_now
from assay.model.score import hidden_states, output_weight
from assay.stages.train import checkpoint
from assay.stages.train.batches import Corpus, Segment, micro_batches
from assay.stages.train.optim import MasterAdamW, rate

MOVED_AFTER = 3  # steps after which every module must have moved


@dataclass(frozen=True)
class Settings:
    """Plain numbers of one training; lengths are in tokens, intervals in steps."""

    steps: int
    learning_rate: float
    schedule: str
    warmup: float
    weight_decay: float
    max_grad_norm: float
    max_length: int
    micro_tokens: int
    eval_every: int
    save_every: int
    seed: int


@dataclass
class Counters:
    """What has happened so far; saved in every checkpoint."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    skipped: list[int] = field(default_factory=list)
    first_loss: float | None = None
    last_loss: float | None = None
    moved: dict[str, float] | None = None  # relative change of each module over the first steps


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a wish that the loop grants between two steps; a second one cuts in."""
    wished = False

    def wish(number: int, frame: FrameType | None) -> None:
        nonlocal wished
        if wished:
            raise KeyboardInterrupt
        wished = True

    try:
        before = {s: signal.signal(s, wish) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: the caller handles signals
        before = {}
    try:
        yield lambda: wished
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Loop:
    """One training over fixed steps. `run` may be called again on the same folder: it goes on where it was."""

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        optimizer: MasterAdamW,
        corpus: Corpus,
        steps: Sequence[Sequence[int]],
        settings: Settings,
        *,
        metrics: Path,
        checkpoints: Path,
        dev: Callable[[], dict[str, float]],
        progress: Progress,
        guards: GuardBook,
    ) -> None:
        self.model, self.optimizer, self.settings = model, optimizer, settings
        self.corpus, self.steps = corpus, steps
        self.metrics, self.checkpoints, self.dev, self.progress = metrics, checkpoints, dev, progress
        self.guards = guards
        self.head = output_weight(model)
        self.counters = Counters()
        self.start_weights: dict[str, Tensor] | None = {k: v.clone() for k, v in optimizer.masters.items()}

    def restore(self, saved: checkpoint.Checkpoint) -> None:
        """Go on from a checkpoint."""
        self.optimizer.restore(saved.weights, saved.optimizer)
        self.counters = Counters(**saved.counters)
        if self.counters.moved is not None:
            self.start_weights = None
            self.guards.check(weights_moved(self.counters.moved))

    def run(self) -> Counters:
        """Train to the last step.

        Raises:
            Interrupted: Ctrl-C or SIGTERM; a checkpoint has been written.
            GuardError: `weights-moved` or `finite-training`.
        """
        self.model.train()
        with packed(causal(self.model)), stop_on_signal() as stopping:
            if self.counters.step == 0:
                self._evaluate(0)
            while self.counters.step < len(self.steps):
                self._step(self.counters.step + 1)
                done = self.counters.step
                last = done == len(self.steps)
                if done % self.settings.eval_every == 0 or last:
                    self._evaluate(done)
                if done % self.settings.save_every == 0 or last or stopping():
                    self._save()
                if stopping() and not last:
                    raise Interrupted(
                        f"stopped after step {done} of {len(self.steps)}; the run is saved",
                        fix="the same command goes on from here",
                    )
        self.model.eval()
        return self.counters

    def _step(self, number: int) -> None:
        started = time.perf_counter()
        batch = self.steps[number - 1]
        tokens = sum(self.corpus.lengths[i] for i in batch)
        learned = sum(self.corpus.learned[i] for i in batch)
        total = 0.0
        self.optimizer.zero()
        for micro, row in enumerate(micro_batches(batch, self.corpus.lengths, self.settings.micro_tokens)):
            # dropout takes no generator: the global one is set from the position in the run alone
            torch.manual_seed(int(np.random.SeedSequence([self.settings.seed, number, micro]).generate_state(1)[0]))
            total += self._forward_backward([self.corpus[i] for i in row])
        norm = self.optimizer.gradient_norm() / learned
        learning_rate = rate(
            number,
            total=self.settings.steps,
            peak=self.settings.learning_rate,
            schedule=self.settings.schedule,
            warmup=self.settings.warmup,
        )
        finite = math.isfinite(total) and math.isfinite(norm)
        if finite:
            clip = min(1.0, self.settings.max_grad_norm / norm) if norm > 0 else 1.0
            self.optimizer.step(rate=learning_rate, scale=clip / learned)
        self.optimizer.zero()
        self._count(number, tokens, total / learned, norm, learning_rate, finite, time.perf_counter() - started)
        self._check(number)

    def _forward_backward(self, documents: list[Segment]) -> float:
        """Add this row's gradient of the loss, summed over the tokens that count; the sum in nats."""
        device = self.head.device
        hidden = hidden_states(self.model, [s.ids[:-1] for s in documents], device)
        learn = np.concatenate([s.learn[1:] for s in documents])
        targets = np.concatenate([s.ids[1:] for s in documents])[learn].astype(np.int64)
        if not learn.all():
            hidden = hidden[torch.from_numpy(np.flatnonzero(learn)).to(device)]
        loss = summed_nll(hidden, self.head, torch.from_numpy(targets).to(device))
        loss.backward()
        return float(loss.detach())

    def _count(
        self, number: int, tokens: int, loss: float, norm: float, learning_rate: float, finite: bool, seconds: float
    ) -> None:
        c = self.counters
        c.step, c.tokens, c.seconds = number, c.tokens + tokens, c.seconds + seconds
        if finite:
            c.first_loss = loss if c.first_loss is None else c.first_loss
            c.last_loss = loss
        else:
            c.skipped.append(number)
        append_line(
            self.metrics,
            {
                "step": number,
                "loss": loss if finite else None,
                "lr": learning_rate,
                "grad_norm": norm if finite else None,
                "tokens": tokens,
                "seconds": round(seconds, 4),
                "tokens_per_s": round(tokens / seconds, 2),
                "skipped": not finite,
                "memory": memory_now(),
            },
        )
        self.progress.update(number, f"loss {loss:.3f}")

    def _check(self, number: int) -> None:
        skipped = len(self.counters.skipped)
        if limits("finite-training.skipped_share").status(skipped / len(self.steps)) == "fail":
            self.guards.check(finite_training(number, skipped, 0))
        if self.start_weights is not None and number >= min(MOVED_AFTER, len(self.steps)):
            self.counters.moved = relative_changes(self.start_weights, self.optimizer.masters)
            self.start_weights = None
            self.guards.check(weights_moved(self.counters.moved))

    def _evaluate(self, step: int) -> None:
        started = time.perf_counter()
        self.model.eval()
        measured = {name: value if math.isfinite(value) else None for name, value in self.dev().items()}
        self.model.train()
        append_line(self.metrics, {"step": step, **measured, "seconds": round(time.perf_counter() - started, 4)})
        if None in measured.values():
            why = f"the development texts have no finite score after step {step}: the weights are broken"
            self.guards.check(record("finite-training", "fail", why, measured={"step": step}))

    def _save(self) -> None:
        state = checkpoint.Checkpoint(
            self.counters.step, self.optimizer.masters, self.optimizer.state(), vars(self.counters).copy()
        )
        checkpoint.save(self.checkpoints, state)


def relative_changes(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, float]:
    """Per module, the norm of its weights' change over the norm of the weights before."""
    sums: dict[str, list[float]] = {}
    for name, old in before.items():
        entry = sums.setdefault(module_of(name), [0.0, 0.0])
        entry[0] += float((after[name] - old).double().square().sum())
        entry[1] += float(old.double().square().sum())
    return {name: math.sqrt(change / max(size, 1e-30)) for name, (change, size) in sums.items()}
