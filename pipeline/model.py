"""fastai's side of a training: whole-batch loaders, callbacks, the learner, and its export."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.callback.core import Callback, TrainEvalCallback
from fastai.callback.mixup import MixUp
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.optimizer import OptimWrapper
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline import augment
from pipeline.compute import Compute
from pipeline.errors import PipelineError
from pipeline.network import Card, body_and_head, normaliser
from pipeline.params import Augment, Train
from pipeline.pictures import Pictures

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def seed_of(*identity: object) -> int:
    """Return a seed that depends on what it is for, not on what was drawn before it."""
    return int.from_bytes(hashlib.sha256(repr(identity).encode()).digest()[:8], "big") >> 1


class Batches:
    """A part's pictures as whole batches on the device, for fastai's `DataLoaders`.

    With `augmenting` the order and the changes are drawn anew in every epoch, from `seed` and the
    epoch's number alone, and what does not fill a batch waits for another epoch; else pictures
    come unchanged, in order, all of them.
    """

    def __init__(
        self,
        stored: Pictures,
        targets: NDArray[np.int64],
        card: Card,
        device: torch.device,
        *,
        batch_size: int,
        augmenting: Augment | None = None,
    ) -> None:
        self.card, self.device, self.augmenting = card, device, augmenting
        self.n = len(targets)
        self.bs = max(1, min(batch_size, self.n))
        self.pixels = resident(stored.pixels, device)
        self.aspects = torch.from_numpy(stored.aspects)
        self.targets = torch.from_numpy(targets).to(device)
        self.epoch_seed = 0  # set before every epoch
        self.dataset = self  # fastai asks it for a loss function

    def __len__(self) -> int:
        return self.n // self.bs if self.augmenting else -(-self.n // self.bs)

    def to(self, device: torch.device) -> None:
        """Accept fastai's call; everything is in its place since the beginning."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        scale, shift = normaliser(self.card, self.device)
        generator = torch.Generator().manual_seed(self.epoch_seed)
        order, draws = torch.arange(self.n), None
        if self.augmenting:
            order = torch.randperm(self.n, generator=generator)
            aspects = self.aspects[order]
            draws = augment.draw(self.augmenting, self.card.view, aspects, generator)
            draws = draws.to(self.device)
        order = order.to(self.pixels.device)
        for start in range(0, len(self) * self.bs, self.bs):
            rows = slice(start, start + self.bs)
            picked = order[rows]
            values = self.pixels[picked].to(self.device, non_blocking=True).float()
            if draws is not None:
                changed = augment.apply(values / 255, draws.at(rows), self.card.view)
                values = changed * 255
            yield values * scale + shift, self.targets[picked.to(self.device)]


def resident(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Put pictures where batches are taken from fastest: the device, while half of it is free."""
    array = np.asarray(pixels)
    if device.type == "cpu":
        return torch.from_numpy(np.array(array))
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 2**32
    if array.nbytes < free / 2:  # the network and its activations need the rest
        return torch.from_numpy(np.array(array)).to(device)
    host = torch.from_numpy(np.array(array))
    return host.pin_memory() if device.type == "cuda" else host


class Autocast(Callback):
    """Mixed precision on any device; fastai's own callback knows CUDA alone."""

    order = 10

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.open = partial(torch.autocast, device.type, dtype=dtype)
        self.cast: Any = nullcontext()

    def before_batch(self) -> None:
        """Compute in the lower precision from here."""
        self.cast = self.open()
        self.cast.__enter__()

    def after_pred(self) -> None:
        """Leave it; the loss is in float32."""
        self.cast.__exit__(None, None, None)
        self.learn.pred = self.learn.pred.float()


class Schedule(Callback):
    """Makes each epoch depend on the seed, the stage and its number alone: a resumed run equals
    one that was never killed."""

    order = -20

    def __init__(self, *identity: object) -> None:
        self.identity = identity

    def before_epoch(self) -> None:
        """Seed the loader and dropout."""
        seed = seed_of(*self.identity, self.learn.epoch)
        self.learn.dls[0].epoch_seed = seed
        torch.manual_seed(seed)


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

    def after_epoch(self) -> None:
        """Write the epoch's row."""
        self._finite()
        matrix = self.matrix.view(self.classes, self.classes).double().cpu()
        total, counts, right = matrix.sum().item(), matrix.sum(1), matrix.diag()
        row: dict[str, float | None] = {
            "train_loss": torch.stack(self.losses).double().mean().item(),
            "valid_loss": None,
            "accuracy": None,
            "class_averaged_accuracy": None,
        }
        if total:
            row["valid_loss"] = torch.stack(self.valid_losses).double().sum().item() / total
            row["accuracy"] = right.sum().item() / total
            row["class_averaged_accuracy"] = (right / counts)[counts > 0].mean().item()
        self.write(row)


class Saver(Callback):
    """Calls `save` when an epoch has been written down."""

    order = 60

    def __init__(self, save: Callable[[int], None]) -> None:
        self.save = save

    def after_epoch(self) -> None:
        """Save what the epoch has come to."""
        self.save(self.learn.epoch + 1)


def layer_groups(network: nn.Sequential) -> list[list[nn.Parameter]]:
    """Split weights into fastai's three layer groups of a ResNet, each as (decayed, not decayed).

    Norms and biases are not decayed; six lists, from the stem to the head.
    """
    body, head = body_and_head(network)
    groups: list[list[nn.Parameter]] = []
    for layers in (body[:6], body[6:], head):
        decayed: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for module in layers.modules():
            for name, weight in module.named_parameters(recurse=False):
                (plain if isinstance(module, NORMS) or name == "bias" else decayed).append(weight)
        groups += [decayed, plain]
    return groups


def group_rates(rate: float | Sequence[float]) -> list[float]:
    """Return a rate for each of `layer_groups`: one for all, or even steps from first to last."""
    low, high = rate if isinstance(rate, Sequence) else (rate, rate)
    middle = (low * high) ** 0.5
    return [each for each in (low, middle, high) for _ in range(2)]


def make_learner(
    loaders: Sequence[Batches],
    network: nn.Sequential,
    params: Train,
    compute: Compute,
    folder: Path,
) -> Learner:
    """Return fastai's Learner with a fused AdamW; it keeps its passing files in `folder`."""
    cbs: list[Callback] = [TrainEvalCallback()]
    if compute.dtype is not None:
        cbs.append(Autocast(compute.device, compute.dtype))
    if params.mixup:
        cbs.append(MixUp(params.mixup))
    network.to(compute.device)
    if compute.channels_last:
        network.to(memory_format=torch.channels_last)
    learner = Learner(
        DataLoaders(*loaders, path=folder, device=compute.device),
        network,
        loss_func=CrossEntropyLossFlat(label_smoothing=params.label_smoothing),
        opt_func=partial(
            OptimWrapper, opt=torch.optim.AdamW, fused=compute.device.type in {"cpu", "cuda"}
        ),
        splitter=layer_groups,
        cbs=cbs,
        path=folder,
        model_dir=".",
        default_cbs=False,  # its recorder waits for the device after every batch
    )
    learner.create_opt()
    learner.opt.set_hypers(wd=[params.weight_decay, 0.0] * 3)
    return learner


def freeze_body(learner: Learner) -> None:
    """Leave the head alone to be trained, with the norms of the body, as fastai does."""
    learner.freeze_to(-2)
