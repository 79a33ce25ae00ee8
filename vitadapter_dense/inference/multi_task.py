"""``MultiTaskModel``: several tasks from one frozen backbone.

A detector and a segmentor that were tuned from the same base weights differ in their deltas alone.
Here they hold in common what is frozen: its tensors are stored once, and the front of their
backbones, up to where something of a task acts, runs once for images that are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import combinations
from typing import Any

import torch
from torch import nn

from vitadapter_dense.inference.frozen_front import Step, front_of
from vitadapter_dense.inference.run_once import running_once
from vitadapter_dense.inference.same_images import same_preprocessing


class MultiTaskModel(nn.Module):
    """Models of several tasks that share what is frozen in their backbones.

    Args:
        models: whole models by the names of their tasks, weights loaded, each with a child
            ``backbone`` in which something is frozen: by a tuning method, or by its own switch.
            They are put in eval mode, stay what they are, and are not to be trained on.

    Attributes:
        shared: for each pair of tasks the steps of the backbone that run once for the same images,
            by name; ``''`` is the whole backbone.

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
        self.shared: dict[tuple[str, str], list[str]] = {}
        self._images_of = {name: name for name in models}  # by task, one that makes the same
        self._held: dict[Step, Step] = {}  # by step, the same one of the first task that has it
        fronts = {name: front_of(model.backbone) for name, model in models.items()}
        for one, other in combinations(models, 2):
            self.shared[one, other] = []
            if same_preprocessing(models[one].data_preprocessor, models[other].data_preprocessor):
                self._images_of[other] = self._images_of[one]
                self.shared[one, other] = self._hold(fronts[one], fronts[other])

    def _hold(self, front: dict[str, Step], other: dict[str, Step]) -> list[str]:
        """Has two tasks hold in common what is the same in their fronts, up to what differs.

        Returns:
            What then runs once and has parameters; within a whole that does, nothing is kept.
        """
        names: list[str] = []
        for (name, step), (other_name, same) in zip(front.items(), other.items(), strict=False):
            if name != other_name or not step.is_same(same):
                break
            self._held.setdefault(same, self._held.setdefault(step, step))
            names.append(name)
        once = [''] if '' in names else names
        for name in once:
            front[name].run_once()
            other[name].run_once()
        return [name for name in once if any(True for _ in front[name].module.parameters())]

    def _store_once(self, first: str, name: str) -> None:
        """Makes one model's frozen parameters those of another; buffers are too small to matter."""
        known, own = _frozen(self.models[first]), _frozen(self.models[name])
        both = known.keys() & own.keys()
        for key in sorted(both):
            if known[key].dtype != own[key].dtype or not torch.equal(known[key], own[key]):
                raise ValueError(
                    f'{key!r} in the backbones of {first!r} and {name!r} differs: they were tuned '
                    f'from other base weights, or store them in other types (dtype=...), and can '
                    f'share nothing'
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
        predictions = {}
        # a tensor of inference mode would not tell that it was changed in place
        with torch.inference_mode(False), torch.no_grad(), running_once(self._held) as results:
            for name, data in inputs.items():
                # for each task: preprocessing, and what its model does behind the common steps
                model = self.models[name]
                batch = model.data_preprocessor(data, False)
                # once: the images, and from them on, within the model, the steps in `self.shared`
                images = partial(batch.get, 'inputs')
                batch['inputs'] = results.once(self._images_of[name], _objects(data), images)
                predictions[name] = model._run_forward(batch, mode='predict')
        return predictions


def _frozen(model: nn.Module) -> dict[str, nn.Parameter]:
    """The frozen parameters of a model's backbone, by their names in it."""
    backbone = model._modules.get('backbone', nn.Module())
    return {name: p for name, p in backbone.named_parameters() if not p.requires_grad}


def _objects(data: dict[str, Any]) -> tuple[int, ...]:
    """Which objects the images are; their values do not matter."""
    images = data['inputs']
    return tuple(map(id, images)) if isinstance(images, (list, tuple)) else (id(images),)
