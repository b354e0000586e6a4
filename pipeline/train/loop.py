"""The training loop: two stages, each with a run of the learning rate finder and a cycle."""

from __future__ import annotations

import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from fastai.callback.schedule import LRFinder, ParamScheduler, valley
from fastai.callback.training import GradientAccumulation
from fastai.learner import Learner, Recorder

from pipeline.core.errors import PipelineError
from pipeline.core.params import Train
from pipeline.core.progress import Progress
from pipeline.model.device import Compute
from pipeline.train.callbacks import Averaging, History, Saver, Schedule
from pipeline.train.checkpoint import State, load_state, save_state
from pipeline.train.learner import freeze_body, group_rates, make_learner
from pipeline.train.training_data import Task, batches, purpose

Rate = float | list[float] | Literal["auto"]
LAYERS = {"head": "head only", "all": "all layers"}  # for people

FINDER_RATES = (1e-6, 1.0)
FINDER_SKIP = (0.1, 5)  # a share at the start and points at the end that fastai ignores
FALLBACK_RATE = 1e-3  # fastai's default; used if the finder's curve has no valley


@dataclass(frozen=True)
class Plan:
    """One stage: which layers learn, for how many epochs, at which learning rate."""

    name: str
    layers: Literal["head", "all"]
    epochs: int
    rate: Rate


def plans(params: Train, is_pretrained: bool) -> list[Plan]:
    """Return the stages that have epochs.

    Without pretrained weights the body is not frozen, and all layers have one learning rate.
    """
    first = Plan("stage_1", "head", params.frozen_epochs, params.frozen_lr)
    second = Plan("stage_2", "all", params.unfrozen_epochs, params.unfrozen_lr)
    if not is_pretrained:
        first = replace(first, layers="all", rate=params.scratch_lr)
        second = replace(second, rate=params.scratch_lr)
    return [plan for plan in (first, second) if plan.epochs]


class Changed(Protocol):
    """A function that is called after every new row of the history or of the finder's curve.

    `is_whole` says whether training can resume from the state.
    """

    def __call__(self, state: State, *, is_whole: bool) -> None:
        """Write the state."""


class Finder(LRFinder):
    """fastai's learning rate finder; it saves no file of weights, since the state has them."""

    def before_fit(self) -> None:
        """Start the curve."""
        ParamScheduler.before_fit(self)
        self.best_loss = float("inf")

    def after_fit(self) -> None:
        """Clear the gradients."""
        self.learn.opt.zero_grad()


@dataclass(frozen=True)
class Fitting:
    """A training run in progress."""

    learner: Learner
    params: Train
    classes: int
    state: State
    changed: Changed

    def run(self, stages: list[Plan]) -> None:
        """Run the stages from the state to the end, then load the final weights into the model."""
        state = self.state
        if not state.model:
            state.model = _copy(self.learner.model.state_dict())
        for index in range(state.stage, len(stages)):
            plan = stages[index]
            if index not in state.rates:
                self.within_memory(plan, partial(self.find, plan, index))
                self.changed(state, is_whole=False)
            self.within_memory(plan, partial(self.cycle, plan, index))
        average = {
            name.removeprefix("module."): value
            for name, value in state.average.items()
            if name != "n_averaged"
        }
        self.learner.model.load_state_dict(average or state.model)

    def within_memory(self, plan: Plan, act: Callable[[], None]) -> None:
        """Restore the state and call `act`; if memory runs out, halve the batch and retry.

        The gradients of the halves are accumulated, so a step still covers the whole batch; norm
        layers see one half at a time. Raises PipelineError if even two images are too many, or if
        this is one of several processes, because the others are already past that step.
        """
        model = self.learner.model
        while True:
            self.restore(plan)
            try:
                return act()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                why = str(error).splitlines()[0]
            finally:
                self.learner.forward.leave()
            # outside the handler, because the error's frames keep the memory in use
            self.learner._end_cleanup()
            self.learner.loss_grad = None  # the loss would keep the batch's whole graph
            self.learner.model = model  # the failure may have come while the average was validated
            if self.learner.dls.device.type == "cuda":
                torch.cuda.empty_cache()
            batches = self.learner.dls.train
            if batches.ranks > 1 or not batches.halve():
                raise PipelineError(
                    f"out of memory with {batches.bs} images at once: {why}; "
                    "lower batch_size or size in params.yaml"
                )
            watched = self.learner.dls.valid
            watched.bs = min(watched.bs, 2 * batches.bs)
            say = (
                f"out of memory: retrying with {batches.bs} images at once, {batches.whole} a step"
            )
            print(say, file=sys.stderr, flush=True)

    def restore(self, plan: Plan) -> None:
        """Restore weights, optimiser and frozen layers from the state."""
        learner, state = self.learner, self.state
        learner.model.load_state_dict(state.model)
        if plan.layers == "head":
            freeze_body(learner)
        else:
            learner.unfreeze()
        if state.epoch:
            learner.opt.opt.state = _by_weight(learner, state.optimiser)

    def find(self, plan: Plan, index: int) -> None:
        """Run the learning rate finder; record its curve, its suggestion and the stage's rate."""
        state, steps = self.state, self.params.lr_find_steps
        suggested = None
        if steps:
            recorder = Recorder()
            schedule = Schedule(self.params.seed, index, "finder")
            cbs = [schedule, Finder(*FINDER_RATES, steps), recorder]
            with self.learner.no_logging():
                self.learner.fit(steps // len(self.learner.dls.train) + 1, cbs=cbs)
            curve = [
                (float(lr), float(loss))
                for lr, loss in zip(recorder.lrs, recorder.losses, strict=True)
                if math.isfinite(loss)
            ]
            state.finder += [[plan.name, lr, loss] for lr, loss in curve]
            useful = curve[int(FINDER_SKIP[0] * steps) : -FINDER_SKIP[1]]
            if len(useful) > 2:
                rates, values = zip(*useful, strict=True)
                suggested = valley(torch.tensor(rates), torch.tensor(values), steps)[0]
        state.suggested[index] = suggested
        found = FALLBACK_RATE if suggested is None else suggested
        state.rates[index] = found if plan.rate == "auto" else plan.rate

    def cycle(self, plan: Plan, index: int) -> None:
        """Run one stage's cycle, starting at the epoch that the state has reached."""
        state, learner = self.state, self.learner

        def write(row: dict[str, float | None]) -> None:
            state.history.append([len(state.history) + 1, plan.name, *row.values()])
            shown = ", ".join(
                f"{name} {value:.4g}" for name, value in row.items() if value is not None
            )
            progress.note = shown
            progress.write(f"epoch {state.history[-1][0]}: {shown}")

        def save(epochs_done: int) -> None:
            state.epoch, state.optimiser = epochs_done, _by_place(learner)
            if epochs_done == plan.epochs:
                state.stage, state.epoch, state.optimiser = index + 1, 0, {}
            state.model = _copy(learner.model.state_dict())
            if averaging:
                state.average = _copy(averaging.averaged.state_dict())
            self.changed(state, is_whole=True)

        batches = learner.dls.train
        cbs: list[Any] = [Schedule(self.params.seed, index)]
        if batches.bs < batches.share:
            cbs.append(GradientAccumulation(batches.share))
        averaging = None
        if self.params.ema:  # each stage has an average of its own
            averaging = Averaging(self.params.ema, state.average if state.epoch else {})
            cbs.append(averaging)
        total = (plan.epochs - state.epoch) * len(batches) * batches.bs * batches.ranks

        def advance(count: int, note: str | None) -> None:
            progress.advance(count * batches.ranks, note)

        with Progress(f"{plan.name} ({LAYERS[plan.layers]})", total) as progress:
            learner.fit_one_cycle(
                plan.epochs,
                group_rates(state.rates[index]),
                start_epoch=state.epoch,
                cbs=[*cbs, History(self.classes, write, advance), Saver(save)],
            )


def fit(
    task: Task,
    stages: list[Plan],
    compute: Compute,
    path: Path,
    written: Callable[[State], None],
) -> tuple[Learner, State]:
    """Train the network through the stages; resume from the checkpoint at `path` if there is one.

    `written` is called after every new row. The checkpoint stays at `path`; the caller removes it
    when the model is saved. Temporary files lie beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    loaders = [
        batches(task, "train", compute, task.params.augment),
        batches(task, "valid", compute),
    ]
    learner = make_learner(loaders, task.network, task.params, compute, path.parent)
    for part in loaders:
        print(part, file=sys.stderr, flush=True)
    state = load_state(path, purpose(task.params, task.parts))
    if state.history:
        done = len(state.history)
        print(f"resuming after epoch {done}", file=sys.stderr, flush=True)
    saved = time.monotonic()

    def changed(state: State, *, is_whole: bool) -> None:
        nonlocal saved
        if compute.rank:
            return
        written(state)
        if is_whole and time.monotonic() - saved >= task.params.checkpoint_s:
            save_state(path, state)
            saved = time.monotonic()

    changed(state, is_whole=False)
    Fitting(learner, task.params, len(task.labels), state, changed).run(stages)
    return learner, state


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether torch ran out of memory, on a GPU or a CPU."""
    texts = ("can't allocate memory", "could not create a primitive")  # torch's, oneDNN's
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in texts)


def _copy(values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone() for name, value in values.items()}


def _weights(learner: Learner) -> list[Any]:
    return [weight for group in learner.opt.param_lists for weight in group]


def _by_place(learner: Learner) -> dict[int, dict[str, Any]]:
    """Return the optimiser's state for each weight, keyed by the weight's index."""
    memory = learner.opt.opt.state
    return {
        place: _copy(memory[weight])
        for place, weight in enumerate(_weights(learner))
        if weight in memory
    }


def _by_weight(learner: Learner, memory: dict[int, dict[str, Any]]) -> Any:
    state: Any = defaultdict(dict)
    weights = _weights(learner)
    for place, values in memory.items():
        device = weights[place].device
        state[weights[place]] = {name: value.to(device) for name, value in values.items()}
    return state
