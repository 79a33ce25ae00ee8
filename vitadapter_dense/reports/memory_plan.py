"""The memory of a training step before there is a machine for it: by part, by kind of training.

A step of the backbone runs with tensors that have shapes and no memory; what is alive at each
operation is added up. What several processes change follows from sizes alone.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vitadapter_dense.reports.memory import run_passes, stored, without_memory

KINDS = ('plain', 'DDP', 'sharded')


class Parts(NamedTuple):
    """Bytes of one process at the moment when it holds the most."""

    weights: int
    gradients: int
    optimiser: int
    activations: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


class LiveBytes(TorchDispatchMode):
    """Adds up the bytes of what operations make while it is alive.

    Args:
        given: tensors that are there already and do not count; views of them are no others.

    Attributes:
        now: bytes alive.
        peak: the most that were alive, and how many of them were gradients of weights.
    """

    def __init__(self, given: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = self.gradients = 0
        self.peak = (0, 0)
        self._known = weakref.WeakSet(tensor.untyped_storage() for tensor in given)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs an operation and looks at what it returns."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, (self.now, self.gradients))
        weakref.finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self.now -= size

    def count_gradient(self, parameter: Tensor) -> None:
        """To be called when a parameter has its gradient."""
        self.gradients += parameter.grad.nbytes


class Step(NamedTuple):
    """What a step holds beside weights and moments: bytes in all, and of gradients, at most.

    Attributes:
        passes: during the forward and backward pass.
        update: while the optimiser steps.
    """

    passes: tuple[int, int]
    update: tuple[int, int]


def planned_step(backbone: nn.Module, images: tuple[int, ...], *, bfloat16: bool = False) -> Step:
    """Counts a training step of a backbone on a sum of its maps, without memory.

    Args:
        backbone: on the meta device, in training mode; it is used up.
        images: shape ``(B, 3, H, W)``.
        bfloat16: under autocast.

    Raises:
        ValueError: as `without_memory`.
    """
    with without_memory(backbone, images) as (empty, shaped):
        return counted_step(empty, shaped, bfloat16=bfloat16)


def counted_step(backbone: nn.Module, images: Tensor, *, bfloat16: bool = False) -> Step:
    """The same of a backbone that is there; AdamW steps as torch lets it on a GPU."""
    trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6, foreach=True) if trained else None
    passes = partial(run_passes, backbone, images, bfloat16=bfloat16)
    moments: list[Tensor] = []
    if optimizer is not None:
        passes()
        optimizer.step()  # makes the moments
        optimizer.zero_grad()
        moments = [value for state in optimizer.state.values() for value in state.values()]
    counted = LiveBytes([images, *moments, *backbone.parameters(), *backbone.buffers()])
    for parameter in trained:
        parameter.register_post_accumulate_grad_hook(counted.count_gradient)
    with counted:
        passes()
    of_passes, counted.peak = counted.peak, (counted.now, counted.gradients)
    with counted:
        if optimizer is not None:
            optimizer.step()
    return Step(of_passes, counted.peak)


def parts_of(
    model: nn.Module, units: Sequence[nn.Module], step: Step, *, kind: str, processes: int
) -> tuple[Parts, Parts]:
    """The most that one process holds during the passes, and while the optimiser steps.

    Args:
        model: the whole model, on any device. Of its heads weights, gradients and moments count.
        units: what of it is gathered as one when it is sharded.
        step: of its backbone.
        kind: one of ``KINDS``.
        processes: how many there are.
    """
    held, of_backbone = stored(model), stored(model.backbone).trained
    weights, gradients = held.weights, held.trained  # a gradient is as large as its weight
    moments = held.training - gradients
    # heads have their gradients when the backward pass comes to the backbone
    there = gradients - of_backbone + step.passes[1]
    activations = step.passes[0] - step.passes[1]
    # what the optimiser holds for a moment grows with what it steps
    aside = step.update[0] - step.update[1]
    aside = aside * gradients // of_backbone if of_backbone else gradients
    if kind == 'sharded':
        of_units = [stored(unit) for unit in units]
        sizes = sorted((unit.weights for unit in of_units), reverse=True)
        # one unit computes, the next is on its way, and what is in none is there
        gathered = weights - sum(sizes[2:])
        trained = [unit.trained for unit in of_units]
        # and one is being reduced
        unsharded = gradients - sum(trained) + 2 * max(trained, default=0)
        share = Parts(weights, gradients, moments, aside)._asdict().values()
        own = Parts(*(part // processes for part in share))
        during = Parts(
            own.weights + gathered, own.gradients + unsharded, own.optimiser, activations
        )
        return during, own
    buckets = gradients if kind == 'DDP' else 0  # copies that stay
    return (
        Parts(weights, there + buckets, moments, activations),
        Parts(weights, gradients + buckets, moments, aside),
    )
