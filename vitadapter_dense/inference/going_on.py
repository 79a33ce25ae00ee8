"""How one task goes on from what others have computed: with a model made for one call.

It is a shallow copy: all of its modules but those named here are the model's own, the model itself
stays as it is, and nothing of a call is kept on either. Threads may hence share the models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vitadapter_dense.inference.frozen_front import Front

Outputs = dict[Any, tuple[Any, list[int]]]
"""What steps gave, and how often its tensors had been changed in place by then; by the images, the
step's description and the precision."""


def going_on(model: nn.Module, front: Front, known: Outputs, data: dict[str, Any]) -> nn.Module:
    """A model for one call of ``test_step(data)``.

    Where its backbone is given the images of ``data``, preprocessed, it takes from ``known`` what
    another task has computed of its front, and adds what it computes itself. Given others (windows
    of them), it computes all.

    Args:
        model: the task's, in eval mode.
        front: of its backbone.
        known: of this call's steps; added to.
        data: what ``test_step`` takes.
    """
    preprocess, backbone = model.data_preprocessor.forward, model.backbone
    way = _Way(known, _identity(data))
    in_steps = with_forwards(
        backbone,
        {
            name: partial(way.step, number, description, backbone.get_submodule(name).forward)
            for number, (name, description) in enumerate(front.steps.items())
        },
    )

    def noting_images(*args: Any, **kwargs: Any) -> Any:
        batch = preprocess(*args, **kwargs)
        way.images = batch.get('inputs') if isinstance(batch, dict) else None
        return batch

    def forward(*args: Any, **kwargs: Any) -> Any:
        if len(args) != 1 or kwargs or args[0] is not way.images:
            return backbone.forward(*args, **kwargs)
        return way.whole(front.whole, in_steps.forward)

    return with_forwards(model, dict(data_preprocessor=noting_images, backbone=forward))


def with_forwards(module: nn.Module, forwards: Mapping[str, Callable[..., Any]]) -> nn.Module:
    """A shallow copy in which some modules, told by their names, have another forward pass.

    Their hooks act on it as on their own.
    """
    copies = {'': _shallow(module)}

    def copy_of(name: str) -> nn.Module:
        if name not in copies:
            owner, _, key = name.rpartition('.')
            children = copy_of(owner)._modules
            copies[name] = children[key] = _shallow(children[key])
        return copies[name]

    for name, forward in forwards.items():
        copy_of(name).forward = forward
    return copies['']


def _shallow(module: nn.Module) -> nn.Module:
    copy = object.__new__(type(module))
    vars(copy).update(vars(module), _modules=dict(module._modules))
    return copy


class _Way:
    """The way of some images through one backbone.

    Args:
        known: outputs of this and other backbones.
        start: what tells the images.

    Attributes:
        images: the batch that the preprocessor has made of them.
    """

    def __init__(self, known: Outputs, start: Any) -> None:
        self.known, self.start = known, start
        self.images: Any = None
        self._last = -1  # the number of the step that came last in the front's order

    def whole(self, description: str | None, forward: Callable[[Tensor], Any]) -> Any:
        """What the whole backbone gives, step by step if that is not known."""
        self._last = -1
        return self._computed_once(description, partial(forward, self.images))

    def step(
        self,
        number: int,
        description: str | None,
        forward: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """What a step gives; the task's own where it is run after one that comes behind it."""
        in_order, self._last = number > self._last, max(number, self._last)
        return self._computed_once(
            description if in_order else None, partial(forward, *args, **kwargs)
        )

    def _computed_once(self, description: str | None, compute: Callable[[], Any]) -> Any:
        if description is None:
            return compute()
        key = (self.start, description, _precision())
        output, versions = self.known.get(key, (None, None))
        # what has been changed in place since then (ReLUs do so) is no result any more
        if versions is None or versions != _versions(output):
            output = compute()
            self.known[key] = output, _versions(output)
        return output


def _identity(data: Any) -> tuple[int, ...]:
    """Which objects the images are; their values do not matter."""
    images = data.get('inputs') if isinstance(data, dict) else data
    return tuple(map(id, images)) if isinstance(images, (list, tuple)) else (id(images),)


def _precision() -> tuple[torch.dtype | None, ...]:
    return tuple(
        torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        for kind in ('cpu', 'cuda')
    )


def _versions(value: Any) -> list[int]:
    """How often each tensor in nested sequences has been changed in place."""
    if isinstance(value, Tensor):
        return [value._version]
    if isinstance(value, (tuple, list)):
        return [version for entry in value for version in _versions(entry)]
    return []
