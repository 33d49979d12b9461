"""The training loop: any method, packed rows, token-normalised loss, resumable at every step."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from assay.core.console import Progress
from assay.core.errors import Interrupted, MachineError
from assay.core.files import append_line
from assay.core.guard import GuardBook, record
from assay.core.machine import out_of_memory
from assay.guards.training import resume_proof, weights_moved
from assay.model.adapters import causal, module_of
from assay.model.attention import packed
from assay.model.checkpointing import recompute
from assay.model.loss import summed_nll
from assay.model.noise import neftune
from assay.model.probe import highest
from assay.model.score import hidden_states, output_weight
from assay.stages.train import checkpoint, safety
from assay.stages.train.batches import Corpus, Segment, micro_batches
from assay.stages.train.optim import Optimizer, rate
from assay.stages.train.track import memory_line

MOVED_AFTER = 3  # steps after which every module must have moved


@dataclass(frozen=True)
class Settings:
    """Plain values of one training; lengths are in tokens, intervals in steps, memory in bytes."""

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
    optimizer: str = "adamw"
    precision: str = "fp32"
    checkpointing: bool = False
    offload: bool = False
    neftune_alpha: float | None = None
    keep_checkpoints: int = 2
    result: str = "last"
    patience: int | None = None
    loaded: int = 0  # held once the base was loaded


@dataclass
class Counters:
    """What has happened so far; saved in every checkpoint."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    overflows: int = 0  # attempts in fp16 that were made again with a smaller loss scale
    micro_tokens: int | None = None  # fewer than the settings', once memory has run out
    first_loss: float | None = None
    last_loss: float | None = None
    recent: list[list[float]] = field(default_factory=list)  # loss and gradient norm of the last steps
    moved: dict[str, float] | None = None  # relative change of each module over the first steps
    looked: int = -1  # step of the last look at the dev texts
    best_step: int | None = None  # of the best look after a step, and what it saw in bits per byte
    best_dev: float | None = None
    unimproved: int = 0  # looks in a row that saw nothing better
    batch: str | None = None  # hash of the ids of the last step's tokens
    peak: int = 0  # the most memory held in any process of this training: the GPU's where it trains on one


@dataclass(frozen=True)
class Reports:
    """Where a training tells what happens, and what it calls the rows that segments come from."""

    note: Callable[[str], None] = lambda text: None
    event: Callable[..., None] = lambda what, **details: None
    log: Callable[[dict[str, Any], int], None] = lambda values, step: None
    names: Callable[[Sequence[int]], list[str]] = lambda segments: [f"segment {i}" for i in segments]


class Loop:
    """One training over fixed steps. `run` may be called again on the same folder: it goes on where it was."""

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        optimizer: Optimizer,
        corpus: Corpus,
        steps: Sequence[Sequence[int]],
        settings: Settings,
        *,
        metrics: Path,
        checkpoints: Path,
        dev: Callable[[], dict[str, Any]],
        progress: Progress,
        guards: GuardBook,
        reports: Reports | None = None,
    ) -> None:
        self.model, self.optimizer, self.settings = model, optimizer, settings
        self.corpus, self.steps = corpus, steps
        self.metrics, self.checkpoints, self.dev, self.progress = metrics, checkpoints, dev, progress
        self.guards, self.reports = guards, reports or Reports()
        self.head = output_weight(model)
        self.counters = Counters()
        self.seen_dev: float | None = None
        self.start_weights: dict[str, Tensor] | None = {k: v.clone() for k, v in optimizer.masters.items()}

    @property
    def row_tokens(self) -> int:
        """Tokens that a micro-batch holds at most, unless one document alone has more."""
        return self.counters.micro_tokens or self.settings.micro_tokens

    def restore(self, saved: checkpoint.Checkpoint) -> None:
        """Go on from a checkpoint."""
        self.optimizer.restore(saved.weights, saved.optimizer)
        self.counters = Counters(**saved.counters)
        c = self.counters
        if c.step and c.batch is not None:
            there = self.corpus.fingerprint(self.steps[c.step - 1]) if c.step <= len(self.steps) else None
            self.guards.check(resume_proof(c.step, trained=c.batch, found=there))
        if self.counters.moved is not None:
            self.start_weights = None
            self.guards.check(weights_moved(self.counters.moved))

    def run(self) -> Counters:
        """Train to the last step, or until the dev texts no longer improve.

        Raises:
            Interrupted: Ctrl-C or SIGTERM; a checkpoint has been written.
            GuardError: `weights-moved` or `finite-training`.
            MachineError: memory has run out, and smaller rows do not help.
        """
        with self._ready(), safety.stop_on_signal() as stopping:
            if self.counters.looked < 0:
                self._look(0)
            while not self._ended():
                self._step(self.counters.step + 1)
                done = self.counters.step
                last = done == len(self.steps)
                improved = (done % self.settings.eval_every == 0 or last) and self._look(done)
                best = improved and self.settings.result == "best"
                if done % self.settings.save_every == 0 or best or self._ended() or stopping():
                    self._save()
                if stopping() and not self._ended():
                    raise Interrupted(
                        f"stopped after step {done} of {len(self.steps)}; the run is saved",
                        fix="the same command goes on from here",
                    )
            self._settle()
        self.model.eval()
        return self.counters

    def rehearse(self, row: Sequence[int]) -> None:
        """Form the gradients of one row of segments as a step would; nothing is updated."""
        with self._ready():
            self._forward_backward([self.corpus[i] for i in row], (0, 0))

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """The model in training mode, its rows' documents apart, computing again what is not to be kept."""
        self.model.train()
        with ExitStack() as stack:
            stack.enter_context(packed(causal(self.model)))
            if self.settings.checkpointing:
                stack.enter_context(recompute(self.model, offload=self.settings.offload))
            yield

    def _ended(self) -> bool:
        c, patience = self.counters, self.settings.patience
        return c.step >= len(self.steps) or (patience is not None and c.unimproved >= patience)

    def _step(self, number: int) -> None:
        started = time.perf_counter()
        batch, settings = self.steps[number - 1], self.settings
        learned = sum(self.corpus.learned[i] for i in batch)
        total, norm = self._gradients(number, batch)
        while not (math.isfinite(total) and math.isfinite(norm)):
            scale = self.optimizer.loss_scale
            if scale is None or not math.isfinite(total) or not scale.shrink():
                self._stop(number, batch, "loss" if not math.isfinite(total) else "gradient")
            self.counters.overflows += 1
            total, norm = self._gradients(number, batch)
        norm /= learned
        learning_rate = self._rate(number)
        clip = min(1.0, settings.max_grad_norm / norm) if norm > 0 else 1.0
        try:
            self.optimizer.step(rate=learning_rate, scale=clip / learned)
        except (MemoryError, RuntimeError) as error:
            if out_of_memory(error):
                raise safety.no_room_for_moments(settings.optimizer) from error
            raise
        self.optimizer.zero()
        self._count(number, total / learned, norm, learning_rate, learned, time.perf_counter() - started)
        if number == min(MOVED_AFTER, len(self.steps)):
            self._check_moved()

    def _rate(self, number: int) -> float:
        s = self.settings
        return rate(number, total=s.steps, peak=s.learning_rate, schedule=s.schedule, warmup=s.warmup)

    def _gradients(self, number: int, batch: Sequence[int]) -> tuple[float, float]:
        """Form the gradients of a step's summed loss; that sum in nats, and their norm.

        Where memory runs out the whole step is done again in smaller rows: the batch stays what it was.
        """
        while True:
            self.optimizer.zero()
            micro_tokens = self.row_tokens
            try:
                total = 0.0
                for micro, row in enumerate(micro_batches(batch, self.corpus.lengths, micro_tokens)):
                    total += self._forward_backward([self.corpus[i] for i in row], (number, micro))
                return total, self.optimizer.gradient_norm()
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
            # outside of the handler, whose traceback would keep the row's tensors alive
            self._halve(number, batch, micro_tokens)

    def _forward_backward(self, documents: list[Segment], place: tuple[int, int]) -> float:
        """Add this row's gradient of the loss, summed over the tokens that count; the sum in nats.

        `place` is the step and the row in it: dropout and noise hang on it and the run's seed alone.
        """
        device, alpha = self.head.device, self.settings.neftune_alpha
        dropout, noise = np.random.SeedSequence([self.settings.seed, *place]).generate_state(2)
        torch.manual_seed(int(dropout))  # dropout takes no generator
        with ExitStack() as stack:
            if alpha:
                generator = torch.Generator(device).manual_seed(int(noise))
                stack.enter_context(neftune(self.model, alpha, generator))
            hidden = hidden_states(self.model, [s.ids[:-1] for s in documents], device)
            learn = np.concatenate([s.learn[1:] for s in documents])
            targets = np.concatenate([s.ids[1:] for s in documents])[learn].astype(np.int64)
            if not learn.all():
                hidden = hidden[torch.from_numpy(np.flatnonzero(learn)).to(device)]
            loss = summed_nll(hidden, self.head, torch.from_numpy(targets).to(device))
            nats = float(loss.detach())
            (loss if self.optimizer.loss_scale is None else loss * self.optimizer.loss_factor).backward()
        self.optimizer.collect()
        return nats

    def _halve(self, number: int, batch: Sequence[int], micro_tokens: int) -> None:
        self.optimizer.zero()
        gc.collect()
        if self.head.is_cuda:
            torch.cuda.empty_cache()
        try:
            fewer = safety.smaller(batch, self.corpus.lengths, micro_tokens)
        except MachineError:
            self._save()
            raise
        self.counters.micro_tokens = fewer
        self._save()  # a run resumed from before this step would else cut it as it was
        drops = any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in self.model.modules())
        self.reports.note(
            f"memory ran out in step {number}: rows of at most {fewer} tokens from here on, not {micro_tokens}; the "
            f"step is done again, of the same {sum(self.corpus.lengths[i] for i in batch)} tokens"
            + (" (dropout draws by row, so it draws anew)" if drops else "")
        )
        self.reports.event("memory ran out", step=number, micro_tokens=fewer, before=micro_tokens)

    def _stop(self, number: int, batch: Sequence[int], what: str) -> NoReturn:
        """End on a value that is not finite, before it touches the weights: save them, find the cause, name it."""
        self.optimizer.zero()
        self._save()

        def alone(index: int) -> tuple[float, float]:
            self.optimizer.zero()
            nats = self._forward_backward([self.corpus[index]], (number, 0))
            norm = self.optimizer.gradient_norm()
            self.optimizer.zero()
            return nats, norm

        cause = safety.likely_cause(
            self.model, batch, alone,
            names=self.reports.names, precision=self.settings.precision, rate=self._rate(max(1, number - 1)),
            recent=[(loss, norm) for loss, norm in self.counters.recent],
        )  # fmt: skip
        self._fail(
            f"the {what} of step {number} is not finite; the weights stay as after step {number - 1}, and are "
            f"saved. Likely cause: {cause.why}",
            {"step": number, "cause": cause.kind, "rows": self.reports.names(cause.documents)},
            cause.fix,
        )

    def _fail(self, why: str, measured: dict[str, Any], fix: str) -> NoReturn:
        self.guards.check(record("finite-training", "fail", why, measured=measured, fix=fix))
        raise AssertionError("a failed validity guard raises")

    def _count(self, number: int, loss: float, norm: float, learning_rate: float, learned: int, seconds: float) -> None:
        c = self.counters
        tokens = sum(self.corpus.lengths[i] for i in self.steps[number - 1])
        c.step, c.tokens, c.seconds = number, c.tokens + tokens, c.seconds + seconds
        c.first_loss = loss if c.first_loss is None else c.first_loss
        c.last_loss = loss
        c.batch = self.corpus.fingerprint(self.steps[number - 1])
        c.recent = safety.recent_steps(c.recent, loss, norm)
        c.peak = max(c.peak, highest(self.head.device.type))
        line: dict[str, Any] = {
            "step": number, "loss": loss, "lr": learning_rate, "grad_norm": norm, "tokens": tokens, "learned": learned,
            "seconds": round(seconds, 4), "tokens_per_s": round(tokens / seconds, 2), "micro_tokens": self.row_tokens,
            **memory_line(self.head.device.type, self.settings.loaded),
        }  # fmt: skip
        if self.optimizer.loss_scale:
            line |= {"loss_scale": self.optimizer.loss_scale.value, "overflows": c.overflows}
        append_line(self.metrics, line)
        self.reports.log(line, number)
        dev = "" if self.seen_dev is None else f", dev {self.seen_dev:.4f} bits per byte"
        self.progress.update(number, f"loss {loss:.3f}, {tokens / seconds:.0f} tokens/s{dev}")

    def _check_moved(self) -> None:
        if self.start_weights is not None:
            self.counters.moved = relative_changes(self.start_weights, self.optimizer.masters)
            self.start_weights = None
            self.guards.check(weights_moved(self.counters.moved))

    def _look(self, step: int) -> bool:
        """Score the dev texts; whether that was the best look after a step so far."""
        started, c = time.perf_counter(), self.counters
        self.model.eval()
        measured = self.dev()
        self.model.train()
        value: float | None = measured["dev_bpb"]
        if value is not None and not math.isfinite(value):
            value = measured["dev_bpb"] = None
        line = {"step": step, **measured, "seconds": round(time.perf_counter() - started, 4)}
        append_line(self.metrics, line)
        if value is None:
            why = safety.broken_look(self.model, step, [(loss, norm) for loss, norm in c.recent])
            self._fail(
                why,
                {"step": step},
                "lower train.learning_rate" if step else "--set train.precision=fp32, or choose another base",
            )
        self.reports.log(line, step)
        c.looked, self.seen_dev = step, value
        improved = step > 0 and (c.best_dev is None or value < c.best_dev)
        if improved:
            c.best_step, c.best_dev, c.unimproved = step, value, 0
        elif step:
            c.unimproved += 1
        return improved

    def _save(self) -> None:
        state = checkpoint.Checkpoint(
            self.counters.step, self.optimizer.masters, self.optimizer.state(), asdict(self.counters)
        )
        checkpoint.save(self.checkpoints, state, keep=self.settings.keep_checkpoints, best=self.counters.best_step)

    def _settle(self) -> None:
        """Take the best weights where they are asked for, and say which step's these are."""
        c = self.counters
        self._check_moved()
        if c.step < len(self.steps):
            self.reports.note(
                f"stopped early after step {c.step} of {len(self.steps)}: dev is no better since step {c.best_step} "
                f"({c.best_dev:.4f} bits per byte), {c.unimproved} looks in a row"
            )
            self.reports.event("stopped early", step=c.step, best_step=c.best_step)
        if self.settings.result == "best" and c.best_step is not None:
            if c.best_step != c.step:
                best = checkpoint.at(self.checkpoints, c.best_step)
                self.optimizer.restore(best.weights, best.optimizer)
            self.reports.note(f"the result is step {c.best_step}, where dev was best: {c.best_dev:.4f} bits per byte")


def relative_changes(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, float]:
    """Per module, the norm of its weights' change over the norm of the weights before."""
    sums: dict[str, list[float]] = {}
    for name, old in before.items():
        entry = sums.setdefault(module_of(name), [0.0, 0.0])
        entry[0] += float((after[name] - old).double().square().sum())
        entry[1] += float(old.double().square().sum())
    return {name: math.sqrt(change / max(size, 1e-30)) for name, (change, size) in sums.items()}
