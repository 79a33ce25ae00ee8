"""Refuses normalisation over a single value, before the first step.

A batch norm behind a map that was pooled to 1 x 1 (UperNet, PSPNet, ASPP) needs two images in a
process: of one value a channel the mean is the value and nothing is left. Torch then ends the step,
or, for the last batch of an epoch, the whole epoch, in words of its own; a group norm of one value
a group gives a constant without a word.
"""

from __future__ import annotations

import math
import sys
from functools import partial
from typing import Any

import torch
from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from vitadapter_dense.training.errors import SettingsError


@HOOKS.register_module()
class NormalisedValuesHook(Hook):
    """Looks in the first forward pass at what every normalisation layer gets.

    What a layer gets in the smallest batch to come is told from there: the last one of an epoch may
    have fewer images. Layers are hooked for the first iteration alone, after they may have been
    replaced by synchronised ones. `DenseRunner` registers it by itself.

    Raises:
        SettingsError: a layer that normalises over one value.
    """

    def __init__(self) -> None:
        self._images = self._smallest = 0
        self._handles: list[Any] = []

    def before_train(self, runner: Any) -> None:
        """Waits for the first forward pass."""
        self._smallest = smallest_batch(runner.train_dataloader, iterations=runner.max_iters)
        for name, module in runner.bare_model.named_modules():
            if isinstance(module, (_BatchNorm, _InstanceNorm, nn.GroupNorm)):
                handle = module.register_forward_pre_hook(partial(self._check, name))
                self._handles.append(handle)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Notes the number of images."""
        inputs = data_batch.get('inputs') if isinstance(data_batch, dict) else None
        self._images = len(inputs) if isinstance(inputs, (list, tuple, Tensor)) else 0

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Waits no more."""
        while self._handles:
            self._handles.pop().remove()

    def _check(self, name: str, module: nn.Module, args: tuple) -> None:
        if not module.training:
            return
        shape = args[0].shape
        of_images = shape[0] == self._images  # others have rows of their own, as proposals
        rows = min(shape[0], self._smallest) if of_images else shape[0]
        if values_of(module, (rows, *shape[1:])) == 1:
            last = of_images and rows < shape[0]
            raise SettingsError(_message(name, module, shape, last=last))


def smallest_batch(loader: Any, *, iterations: int) -> int:
    """Images in the smallest batch that a process gets; the usual number where that is unknown.

    Args:
        loader: the training data's.
        iterations: length of the run.
    """
    batches = loader.batch_sampler
    size, sampler = getattr(batches, 'batch_size', sys.maxsize), getattr(batches, 'sampler', None)
    if not isinstance(sampler, DefaultSampler):  # others may be endless
        return size
    if getattr(batches, 'drop_last', False) or iterations < len(batches):
        return size
    return len(sampler) % size or size


def values_of(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Over how many values a layer normalises an input ``(B, C, ...)``."""
    places = math.prod(shape[2:])
    if isinstance(module, nn.GroupNorm):
        return shape[1] // module.num_groups * places
    if isinstance(module, _InstanceNorm):
        return places
    processes = 1
    if isinstance(module, nn.SyncBatchNorm) and torch.distributed.is_initialized():
        processes = torch.distributed.get_world_size(module.process_group)
    return shape[0] * places * processes


def _message(name: str, module: nn.Module, shape: torch.Size, *, last: bool) -> str:
    kind = type(module).__name__
    start = f'{name} ({kind}) would normalise over a single value a '
    if not isinstance(module, _BatchNorm):
        per = 'group' if isinstance(module, nn.GroupNorm) else 'channel'
        return (
            f'{start}{per}: it gets a map of 1 x 1 (B, C, H, W = {tuple(shape)}). Set '
            f"norm_cfg=dict(type='GN', num_groups=...) with fewer groups than channels there."
        )
    if last:
        return (
            f'{start}channel in the last batch of an epoch, which has one image. Set '
            f'drop_last=True in train_dataloader, or another batch_size.'
        )
    return (
        f'{start}channel: it gets a map of 1 x 1 (B, C, H, W = {tuple(shape)}), and the batch has '
        f"one image. Set norm_cfg=dict(type='GN', num_groups=...) in that head, neck or method, or "
        f'give each process two images (train_dataloader.batch_size=2; accumulated passes do not '
        f"count); several GPUs with one image each normalise together with sync_bn='torch'."
    )
