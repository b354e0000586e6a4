"""fastai's learner: layer groups, learning rates, optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from fastai.callback.core import Callback, TrainEvalCallback
from fastai.callback.mixup import MixUp
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.optimizer import OptimWrapper
from torch import nn

from pipeline.core.params import Train
from pipeline.model.architectures import architecture_of
from pipeline.model.device import Compute
from pipeline.model.network import body_and_head
from pipeline.train.callbacks import Forward
from pipeline.train.loaders import Batches

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def layer_groups(network: nn.Sequential, split_at: int) -> list[list[nn.Parameter]]:
    """Return the weights in six lists: three layer groups, each as (decayed, not decayed).

    The groups are the two halves of the body, split where the architecture says, and the head.
    Weight decay does not apply to norm layers and biases.
    """
    body, head = body_and_head(network)
    groups: list[list[nn.Parameter]] = []
    for layers in (body[:split_at], body[split_at:], head):
        decayed: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for module in layers.modules():
            for name, weight in module.named_parameters(recurse=False):
                (plain if isinstance(module, NORMS) or name == "bias" else decayed).append(weight)
        groups += [decayed, plain]
    return groups


def group_rates(rate: float | Sequence[float]) -> list[float]:
    """Return a learning rate for each list of `layer_groups`.

    A single rate applies to all. Of two rates, the first is for the stem and the second for the
    head; the layers between get their geometric mean.
    """
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
    """Return fastai's Learner with AdamW; `folder` is for its temporary files."""
    cbs: list[Callback] = [TrainEvalCallback(), Forward(*compute.contexts())]
    if params.mixup:
        cbs.append(MixUp(params.mixup))
    if compute.ranks > 1:
        from pipeline.train.lockstep import Lockstep  # only this needs accelerate

        is_cuda = compute.device.type == "cuda"
        # Forward sets the precision; otherwise accelerate takes it from the launcher's settings
        cbs.append(Lockstep(sync_bn=is_cuda, cpu=not is_cuda, mixed_precision="no"))
    split_at = architecture_of(loaders[0].card.architecture).split_at
    network.to(compute.device)
    if compute.channels_last:
        network.to(memory_format=torch.channels_last)
    if compute.is_compiled:
        network.compile()
    learner = Learner(
        DataLoaders(*loaders, path=folder, device=compute.device),
        network,
        loss_func=CrossEntropyLossFlat(label_smoothing=params.label_smoothing),
        opt_func=partial(OptimWrapper, opt=torch.optim.AdamW, fused=compute.is_fused),
        splitter=partial(layer_groups, split_at=split_at),
        cbs=cbs,
        path=folder,
        model_dir=".",
        default_cbs=False,  # fastai's Recorder waits for the device after every batch
    )
    learner.create_opt()
    learner.opt.set_hypers(wd=[params.weight_decay, 0.0] * 3)
    return learner


def freeze_body(learner: Learner) -> None:
    """Freeze the body except for its norm layers, as fastai does."""
    learner.freeze_to(-2)
