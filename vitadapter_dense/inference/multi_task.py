"""``MultiTaskModel``: several tasks from one frozen backbone.

A detector and a segmentor that were tuned from the same base weights differ in their deltas alone.
Here their frozen tensors are stored once. Where the tasks are given the same images, the front that
their backbones have in common (:mod:`vitadapter_dense.inference.frozen_front`) is also computed
once: the first task goes through it, and the others go on from what it gave.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
from torch import nn

from vitadapter_dense.inference.frozen_front import front_of, in_common
from vitadapter_dense.inference.going_on import Outputs, going_on


class MultiTaskModel(nn.Module):
    """Models of several tasks that share what is frozen in their backbones.

    Args:
        models: whole models by the names of their tasks, weights loaded, each with a child
            ``backbone`` in which something is frozen: by a tuning method, or by its own switch.
            They are put in eval mode, stay what they are, and are not to be trained on.

    Attributes:
        shared: for each pair of tasks the modules of the backbone that run once for the same
            images, by name; ``''`` is the whole backbone.

    Raises:
        ValueError: no model, one without a frozen backbone, or frozen tensors that differ.
    """

    def __init__(self, models: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if not models:
            raise ValueError('there is no model: give at least one, by the name of its task')
        for name, model in models.items():
            if not _frozen(model):
                raise ValueError(
                    f'the model {name!r} ({type(model).__name__}) has no backbone with frozen '
                    f'parameters'
                )
        self.models = nn.ModuleDict(models).eval()
        first, *others = models
        for name in others:
            self._store_once(first, name)
        self._fronts = in_common({name: front_of(model) for name, model in models.items()})
        self.shared: dict[tuple[str, str], list[str]] = {
            (one, other): self._fronts[one].shared_with(self._fronts[other])
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

    def predict(self, inputs: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """Predictions by task.

        Args:
            inputs: for each task what its model's ``test_step`` takes. Images are the same for two
                tasks where they are the same tensors, not where their values are equal; see
                :func:`vitadapter_dense.inference.same_images.prepare_together`.
        """
        # Run once: the steps in `self.shared`, by the first task that comes to them. For each task:
        # preprocessing, what its backbone does behind them, neck and heads.
        known: Outputs = {}
        predictions = {}
        # a tensor of inference mode would not tell that it was changed in place
        with torch.inference_mode(False), torch.no_grad():
            for name, data in inputs.items():
                task = going_on(self.models[name], self._fronts[name], known, data)
                predictions[name] = task.test_step(data)
        return predictions


def _frozen(model: nn.Module) -> dict[str, nn.Parameter]:
    """The frozen parameters of a model's backbone, by their names in it."""
    backbone = model._modules.get('backbone', nn.Module())
    return {name: p for name, p in backbone.named_parameters() if not p.requires_grad}
