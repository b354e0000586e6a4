"""Callbacks of fastai's training loop: precision, seeds, averaging, history, checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from fastai.callback.core import Callback
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pipeline.core.errors import PipelineError
from pipeline.model.metrics import balanced_accuracy, per_class
from pipeline.train.distributed import summed
from pipeline.train.loaders import seed_of


class Forward(Callback):
    """Run the forward pass of every batch within context managers, such as torch's autocast.

    fastai's own callback for mixed precision supports CUDA only.
    """

    order = 10

    def __init__(self, *contexts: Callable[[], AbstractContextManager[Any]]) -> None:
        self.contexts = contexts
        self.entered = ExitStack()

    def before_batch(self) -> None:
        """Enter the contexts."""
        for context in self.contexts:
            self.entered.enter_context(context())

    def leave(self) -> None:
        """Exit the contexts if they were entered, also after an error in the forward pass."""
        self.entered.close()

    def after_pred(self) -> None:
        """Exit the contexts of mixed precision, so that the loss is computed in float32."""
        self.leave()
        self.learn.pred = self.learn.pred.float()


class Schedule(Callback):
    """Seed each epoch from the seed, the stage and the epoch's number alone.

    So a resumed training run gives the same result as one that was never interrupted.
    """

    order = -20

    def __init__(self, *identity: object) -> None:
        self.identity = identity

    def before_epoch(self) -> None:
        """Seed the loaders of all processes alike, but dropout differently in each process."""
        seed = seed_of(*self.identity, self.learn.epoch)
        self.learn.dls[0].epoch_seed = seed
        torch.manual_seed(seed + self.learn.dls[0].rank)


class Averaging(Callback):
    """Keep a moving average of the weights and of the norm layers' statistics, and validate it.

    `decay` applies to each step: 0.999 averages over about 1,000 steps. Early steps have a smaller
    decay, so that the initial weights are soon forgotten. `state` resumes an earlier average.
    """

    order = -15  # before fastai's callback puts the validated model into evaluation mode

    def __init__(self, decay: float, state: Mapping[str, Tensor]) -> None:
        self.decay, self.state = decay, state

    def before_fit(self) -> None:
        """Start with a copy of the model."""
        self.averaged = AveragedModel(self.learn.model, multi_avg_fn=self._mix, use_buffers=True)
        if self.state:
            self.averaged.load_state_dict(self.state)

    def _mix(self, averaged: Any, current: Any, _: object) -> None:
        done = int(self.averaged.n_averaged)  # the count is on the CPU: no wait for the device
        decay = min(self.decay, (1 + done) / (10 + done))
        get_ema_multi_avg_fn(decay)(averaged, current, done)  # type: ignore[no-untyped-call]

    def after_step(self) -> None:
        """Add the new weights to the average."""
        self.averaged.update_parameters(self.learn.model)

    def before_validate(self) -> None:
        """Validate the average."""
        self.training_model, self.learn.model = self.learn.model, self.averaged.module

    def after_validate(self) -> None:
        """Return to the current weights for training."""
        self.learn.model = self.training_model


class History(Callback):
    """Measure each epoch and pass its row to `write`.

    Unlike fastai's Recorder, it does not wait for the device after every batch. Raises
    PipelineError with the step and the learning rate if the loss is not finite.
    """

    order = 50
    CHECK_EVERY = 50  # steps between checks of the loss; a check waits for the device

    def __init__(
        self,
        classes: int,
        write: Callable[[dict[str, float | None]], None],
        advance: Callable[[int, str | None], None],
    ) -> None:
        self.classes, self.write, self.advance = classes, write, advance

    def before_train(self) -> None:
        """Start an epoch."""
        self.losses: list[Tensor] = []
        self.rates: list[float] = []

    def before_validate(self) -> None:
        """Start measuring the validation set."""
        self.valid_losses: list[Tensor] = []
        self.matrix = torch.zeros(
            self.classes**2, dtype=torch.long, device=self.learn.dls[1].device
        )

    def after_batch(self) -> None:
        """Keep the results of a batch on the device."""
        pred, target = self.learn.pred, self.learn.yb[0]
        if self.learn.training:
            self.losses.append(self.learn.loss.detach())
            self.rates.append(float(self.learn.opt.hypers[-1]["lr"]))
            note = None
            if len(self.losses) % self.CHECK_EVERY == 0:
                note = f"loss {self._finite():.3f}"
            self.advance(len(target), note)
        else:
            self.valid_losses.append(nn.functional.cross_entropy(pred, target, reduction="sum"))
            pairs = target * self.classes + pred.argmax(1)
            self.matrix += torch.bincount(pairs, minlength=self.classes**2)

    def _finite(self) -> float:
        losses = torch.stack(self.losses)
        bad = (~losses.isfinite()).nonzero()
        if len(bad):
            step = int(bad[0])
            raise PipelineError(
                f"loss is {losses[step].item()} in epoch {self.learn.epoch + 1}, step {step + 1}, "
                f"at learning rate {self.rates[step]:.2g}; lower the learning rate, or set "
                "precision to fp32"
            )
        return losses[-self.CHECK_EVERY :].mean().item()

    def _losses(self) -> Tensor:
        """Return (sum of training losses, their count, sum of validation losses)."""
        kept = [
            torch.stack(each).cpu().double() if each else torch.zeros(0)
            for each in (self.losses, self.valid_losses)
        ]
        return torch.tensor([kept[0].sum(), len(self.losses), kept[1].sum()], dtype=torch.float64)

    def after_validate(self) -> None:
        """Write the epoch's row; `after_epoch` would not do, as it also runs for skipped epochs."""
        self._finite()
        device = self.matrix.device
        matrix = summed(self.matrix.cpu(), device).view(self.classes, self.classes)
        total, right = int(matrix.sum()), int(matrix.trace())
        trained, steps, validated = summed(self._losses(), device).tolist()
        row: dict[str, float | None] = {
            "train_loss": trained / steps,
            "valid_loss": None,
            "accuracy": None,
            "balanced_accuracy": None,
        }
        if total:
            row["valid_loss"] = validated / total
            row["accuracy"] = right / total
            row["balanced_accuracy"] = balanced_accuracy(per_class(matrix.numpy()))
        self.write(row)


class Saver(Callback):
    """Call `save` after each epoch's row is written."""

    order = 60

    def __init__(self, save: Callable[[int], None]) -> None:
        self.save = save

    def after_validate(self) -> None:
        """Save the state after this epoch."""
        self.save(self.learn.epoch + 1)
