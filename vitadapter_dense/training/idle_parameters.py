"""Finds parameters that should train and get no gradient, at the first step of the optimiser.

A tuning method on a stage, a block or a map that the loss does not depend on trains nothing, and
the run looks as any other. No gradient is ``grad is None`` after all accumulated passes, in every
process. A gradient of zero is none of it: low-rank changes, gammas and unchosen prompts start so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from torch import nn
from torch.utils.hooks import RemovableHandle

from vitadapter_dense.training.errors import SettingsError
from vitadapter_dense.tuning.delta import tuned_backbones

_SHOWN = 5


@HOOKS.register_module()
class IdleParametersHook(Hook):
    """Checks the gradients once, before the first step that the optimiser takes.

    A method whose own parameters, or all of whose parameters, have none ends the run: it would
    train nothing. Of others a warning names the first, because a part that nothing uses harms
    nothing else (a map that no head reads), and a batch without objects may leave one out.
    `DenseRunner` registers it by itself.

    Raises:
        SettingsError: a tuning method that trains nothing.
    """

    def __init__(self) -> None:
        self._handle: RemovableHandle | None = None
        self._checked = False

    def before_train(self, runner: Any) -> None:
        """Waits for the first step; one that is left out, as its gradients overflow, is none."""
        optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
        if optimizer is not None:  # several optimisers share the parameters out among them
            check = partial(self._check, runner.bare_model)
            self._handle = optimizer.register_step_pre_hook(check)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Waits no more."""
        if self._checked and self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _check(self, model: nn.Module, *_: Any) -> None:
        left_out = all(parameter.grad is None for parameter in model.parameters())
        if not self._checked and not left_out:
            self._checked = True
            check_gradients(model)


def check_gradients(model: nn.Module) -> None:
    """Raises or warns where parameters that should train have no gradient in any process.

    Args:
        model: after the backward pass, before the gradients are put to zero.

    Raises:
        SettingsError: see :class:`IdleParametersHook`.
    """
    trains = {name: p for name, p in model.named_parameters() if p.requires_grad}
    own_idle = [name for name, parameter in trains.items() if parameter.grad is None]
    idle = set.intersection(*map(set, all_gather_object(own_idle)))
    for kind, own, chosen in _methods(model):
        useless = [name for name in own if name in idle]
        if not useless and chosen and idle.issuperset({*own, *chosen}):
            useless = chosen
        if useless:
            raise SettingsError(
                f'{kind} trains nothing with {_listed(useless)}: the loss does not depend on them '
                f'(no gradient after the first step). Let the heads read the maps that the method '
                f'acts on (in_index), return no others from the backbone (out_indices, strides), '
                f'or have it act elsewhere (stages, sites, targets, num_blocks).'
            )
    left = [name for name in trains if name in idle]
    if left:
        print_log(
            f'no gradient in the first step for {_listed(left)}: nothing that the loss depends on '
            f'uses them. They stay as they are unless a later batch does. With several processes '
            f'such a model needs find_unused_parameters=True.',
            logger='current',
            level=logging.WARNING,
        )


def _methods(model: nn.Module) -> Iterator[tuple[str, list[str], list[str]]]:
    """Every tuning method: its kind, its own parameters, and what it trains of a backbone."""
    names = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    for _, backbone in tuned_backbones(model):
        tuning, part = backbone.tuning, getattr(backbone, 'encoder', backbone)
        of_methods = {id(p) for p in tuning.parameters()}
        for method in getattr(tuning, 'methods', [tuning]):
            own = [names[id(p)] for p in method.parameters() if id(p) in names]
            chosen = [
                names[id(p)]
                for name, p in part.named_parameters()
                if id(p) in names and id(p) not in of_methods and method.trainable(name, p)
            ]
            yield type(method).__name__, own, chosen


def _listed(names: Sequence[str]) -> str:
    more = f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''
    return f'{len(names)} tensors ({", ".join(names[:_SHOWN])}{more})'
