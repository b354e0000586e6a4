"""fastai's learner for a ResNet34: layer groups, rates, optimiser."""

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
from pipeline.model.device import Compute
from pipeline.model.network import body_and_head
from pipeline.train.callbacks import Forward
from pipeline.train.loaders import Batches

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


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
    """Return fastai's Learner with AdamW; it keeps its passing files in `folder`."""
    cbs: list[Callback] = [TrainEvalCallback(), Forward(*compute.contexts())]
    if params.mixup:
        cbs.append(MixUp(params.mixup))
    if compute.ranks > 1:
        from pipeline.train.distributed import Lockstep  # accelerate is needed for it alone

        is_cuda = compute.device.type == "cuda"
        # precision is Forward's; accelerate would else take its own from the launcher's settings
        cbs.append(Lockstep(sync_bn=is_cuda, cpu=not is_cuda, mixed_precision="no"))
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
