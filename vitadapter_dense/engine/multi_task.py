"""``MultiTaskModel``: several tasks from one frozen backbone.

A detector and a segmentor that were tuned from the same base weights differ in their deltas alone.
Here their frozen tensors are stored once. Where the methods leave the backbone's inside as it is
(``HeadOnly``, ``SideTuning``, ``MLPHead``) and the tasks see the same batch, the frozen backbone
also runs once; other methods change features on the way, and each task needs its own pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from vitadapter_dense.engine.delta import frozen_names, tuned_backbones
from vitadapter_dense.tuning import HeadOnly, Tuning
from vitadapter_dense.tuning.outputs import OutputTuning


class _Trunk:
    """What the frozen backbone made of the last batch.

    Attributes:
        runs: how often the backbone ran.
    """

    def __init__(self) -> None:
        self.images: Tensor | None = None
        self.maps: Any = None
        self.runs = 0

    def maps_of(self, images: Tensor, forward: Any) -> Any:
        """The maps of ``images``, computed unless they are those of the last call."""
        known = self.images
        if known is None or known.shape != images.shape or not torch.equal(known, images):
            self.images, self.maps = images, forward(images)
            self.runs += 1
        return self.maps


class _Shared:
    """A backbone whose forward pass may be another task's; mixed into its class."""

    trunk: _Trunk

    def forward(self, images: Tensor) -> Any:
        """The shared maps; what the tuning method does to them comes after, in a hook."""
        if torch.is_grad_enabled():
            return super().forward(images)
        return self.trunk.maps_of(images, super().forward)


@lru_cache
def _shared_class(kind: type[nn.Module]) -> type[nn.Module]:
    return type(kind.__name__, (_Shared, kind), {})


def _leaves_inside_alone(backbone: nn.Module) -> bool:
    method: Tuning = backbone.tuning
    if hasattr(backbone, 'encoder'):  # what is behind the encoder is of the task
        return False
    return isinstance(method, (HeadOnly, OutputTuning))


class MultiTaskModel(nn.Module):
    """Models of several tasks that share what their tuning methods froze.

    Args:
        models: whole models by the names of their tasks, weights loaded, each with one tuned
            backbone called ``backbone``. They are put in eval mode and are not to be trained on.

    Attributes:
        shared_pass: names of the tasks whose backbone runs once for the same batch.

    Raises:
        ValueError: a model without a tuned backbone, or frozen tensors that differ.
    """

    def __init__(self, models: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, model in models.items():
            if [found for found, _ in tuned_backbones(model)] != ['backbone']:
                raise ValueError(f'the model {name!r} has no tuned backbone called backbone')
        self.models = nn.ModuleDict(models).eval()
        first, *others = models
        for name in others:
            self._share_frozen(first, name)
        self.trunk = _Trunk()
        self.shared_pass = tuple(
            name for name, model in models.items() if _leaves_inside_alone(model.backbone)
        )
        for name in self.shared_pass if len(self.shared_pass) > 1 else ():
            backbone = models[name].backbone
            backbone.__class__ = _shared_class(type(backbone))
            backbone.trunk = self.trunk

    def _share_frozen(self, first: str, name: str) -> None:
        """Makes one model's frozen parameters those of another; buffers are too small to matter."""
        source, target = self.models[first], self.models[name]
        known = dict(source.named_parameters())
        parameters = dict(target.named_parameters())
        both = set(frozen_names(source)) & set(frozen_names(target)) & parameters.keys()
        for key in both:
            if not torch.equal(known[key], parameters[key]):
                raise ValueError(
                    f'{key!r} of the models {first!r} and {name!r} differs: they were tuned from '
                    f'other base weights and can share nothing'
                )
        if not both:
            raise ValueError(f'the models {first!r} and {name!r} have no frozen tensor in common')
        for key in both:
            module, _, parameter = key.rpartition('.')
            target.get_submodule(module).register_parameter(parameter, known[key])

    @torch.no_grad()
    def predict(self, inputs: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """Predictions by task.

        Args:
            inputs: for each task what its model's ``test_step`` takes.
        """
        return {name: self.models[name].test_step(data) for name, data in inputs.items()}
