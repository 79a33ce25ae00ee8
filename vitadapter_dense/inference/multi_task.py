"""``MultiTaskModel``: several tasks from one frozen backbone.

A detector and a segmentor that were tuned from the same base weights differ in their deltas alone.
Here their frozen tensors are stored once. Where the tasks see the same batch, what stands before
the first change that a tuning method makes is also computed once
(:mod:`vitadapter_dense.inference.shared_pass`).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
from torch import nn

from vitadapter_dense.inference.shared_pass import LastResult, share_passes


class MultiTaskModel(nn.Module):
    """Models of several tasks that share what is frozen in their backbones.

    Args:
        models: whole models by the names of their tasks, weights loaded, each with a child
            ``backbone`` in which something is frozen: by a tuning method, or by its own switch.
            They are put in eval mode and are not to be trained on.

    Attributes:
        shared: for each pair of tasks the modules of the backbone that run once for the same
            batch, by name; ``''`` is the whole backbone.

    Raises:
        ValueError: a model without a frozen backbone, or frozen tensors that differ.
    """

    def __init__(self, models: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, model in models.items():
            if not _frozen(model):
                raise ValueError(f'the model {name!r} has no backbone with frozen parameters')
        self.models = nn.ModuleDict(models).eval()
        first, *others = models
        for name in others:
            self._store_once(first, name)
        self.shared: dict[tuple[str, str], dict[str, LastResult]] = {
            (one, other): share_passes(models[one].backbone, models[other].backbone)
            for one, other in combinations(models, 2)
        }

    def _store_once(self, first: str, name: str) -> None:
        """Makes one model's frozen parameters those of another; buffers are too small to matter."""
        known, own = _frozen(self.models[first]), _frozen(self.models[name])
        both = known.keys() & own.keys()
        for key in sorted(both):
            if not torch.equal(known[key], own[key]):
                raise ValueError(
                    f'{key!r} in the backbones of {first!r} and {name!r} differs: they were tuned '
                    f'from other base weights and can share nothing'
                )
        if not both:
            raise ValueError(f'the backbones of {first!r} and {name!r} froze nothing in common')
        for key in both:
            module, _, parameter = key.rpartition('.')
            owner = self.models[name].backbone.get_submodule(module)
            owner.register_parameter(parameter, known[key])

    @torch.no_grad()
    def predict(self, inputs: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """Predictions by task.

        Args:
            inputs: for each task what its model's ``test_step`` takes.
        """
        results = [result for pair in self.shared.values() for result in pair.values()]
        for result in results:
            result.open()
        try:
            return {name: self.models[name].test_step(data) for name, data in inputs.items()}
        finally:
            for result in results:
                result.close()


def _frozen(model: nn.Module) -> dict[str, nn.Parameter]:
    """The frozen parameters of a model's backbone, by their names in it."""
    backbone = getattr(model, 'backbone', nn.Module())
    return {name: p for name, p in backbone.named_parameters() if not p.requires_grad}
