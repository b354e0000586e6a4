"""What happens around fastai's training loop: precision, seeds, measurement, checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from fastai.callback.core import Callback
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pipeline.core.errors import PipelineError
from pipeline.train.distributed import summed
from pipeline.train.loaders import seed_of


class Forward(Callback):
    """Runs the forward pass within contexts, which are entered anew for every batch.

    Such as mixed precision: fastai's own callback for it knows CUDA alone.
    """

    order = 10

    def __init__(self, *contexts: Callable[[], AbstractContextManager[Any]]) -> None:
        self.contexts = contexts
        self.entered = ExitStack()

    def before_fit(self) -> None:
        """Leave what a fit before this one could not: it may have ended in a batch."""
        self.entered.close()

    def before_batch(self) -> None:
        """Enter them."""
        for context in self.contexts:
            self.entered.enter_context(context())

    def after_pred(self) -> None:
        """Leave them; the loss is in float32."""
        self.entered.close()
        self.learn.pred = self.learn.pred.float()


class Schedule(Callback):
    """Makes each epoch depend on the seed, the stage and its number alone: a resumed run equals
    one that was never killed."""

    order = -20

    def __init__(self, *identity: object) -> None:
        self.identity = identity

    def before_epoch(self) -> None:
        """Seed the loader, alike in all processes, and dropout, in each its own."""
        seed = seed_of(*self.identity, self.learn.epoch)
        self.learn.dls[0].epoch_seed = seed
        torch.manual_seed(seed + self.learn.dls[0].rank)


class Averaging(Callback):
    """Keeps a moving average of the weights and of the norms' statistics, and validates that.

    `decay` is each step's (of 0.999, the average is over the last thousand steps or so); early
    steps have a smaller one, so that the beginning is soon forgotten. `state` is that of an
    average to go on with.
    """

    order = -15  # before fastai's own puts the model that validates into evaluation mode

    def __init__(self, decay: float, state: Mapping[str, Tensor]) -> None:
        self.decay, self.state = decay, state

    def before_fit(self) -> None:
        """Begin with a copy of the model."""
        self.averaged = AveragedModel(self.learn.model, multi_avg_fn=self._mix, use_buffers=True)
        if self.state:
            self.averaged.load_state_dict(self.state)

    def _mix(self, averaged: Any, current: Any, _: object) -> None:
        done = int(self.averaged.n_averaged)  # which stays on the CPU: nothing waits for the device
        decay = min(self.decay, (1 + done) / (10 + done))
        get_ema_multi_avg_fn(decay)(averaged, current, done)  # type: ignore[no-untyped-call]

    def after_step(self) -> None:
        """Take the new weights in."""
        self.averaged.update_parameters(self.learn.model)

    def before_validate(self) -> None:
        """Judge the average."""
        self.training_model, self.learn.model = self.learn.model, self.averaged.module

    def after_validate(self) -> None:
        """Go on with the weights that learn."""
        self.learn.model = self.training_model


class History(Callback):
    """Measures each epoch and hands its row to `write`; fastai's recorder waits for the device
    after every batch, this one does not.

    Raises PipelineError with the step and the rate when the loss is no longer finite.
    """

    order = 50
    CHECK_EVERY = 50  # steps between looks at the loss: a look waits for the device

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
        """Start its measurement."""
        self.valid_losses: list[Tensor] = []
        self.matrix = torch.zeros(
            self.classes**2, dtype=torch.long, device=self.learn.dls[1].device
        )

    def after_batch(self) -> None:
        """Keep what was computed, on the device."""
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
                f"the loss is {losses[step].item()} in epoch {self.learn.epoch + 1}, step "
                f"{step + 1}, at a learning rate of {self.rates[step]:.2g}: lower the rate, or "
                f"set precision to fp32"
            )
        return losses[-self.CHECK_EVERY :].mean().item()

    def _losses(self) -> Tensor:
        """Return the sum of the training losses, their count, the sum of the validation losses."""
        kept = [
            torch.stack(each).cpu().double() if each else torch.zeros(0)
            for each in (self.losses, self.valid_losses)
        ]
        return torch.tensor([kept[0].sum(), len(self.losses), kept[1].sum()], dtype=torch.float64)

    def after_validate(self) -> None:
        """Write the epoch's row: fastai's `after_epoch` comes for epochs that are skipped, too."""
        self._finite()
        device = self.matrix.device
        matrix = summed(self.matrix.cpu(), device).view(self.classes, self.classes).double()
        total, counts, right = matrix.sum().item(), matrix.sum(1), matrix.diag()
        trained, steps, validated = summed(self._losses(), device).tolist()
        row: dict[str, float | None] = {
            "train_loss": trained / steps,
            "valid_loss": None,
            "accuracy": None,
            "class_averaged_accuracy": None,
        }
        if total:
            row["valid_loss"] = validated / total
            row["accuracy"] = right.sum().item() / total
            row["class_averaged_accuracy"] = (right / counts)[counts > 0].mean().item()
        self.write(row)


class Saver(Callback):
    """Calls `save` when an epoch has been written down."""

    order = 60

    def __init__(self, save: Callable[[int], None]) -> None:
        self.save = save

    def after_validate(self) -> None:
        """Save what the epoch has come to."""
        self.save(self.learn.epoch + 1)
