"""Gradients against finite differences in float64: of the images and of every parameter tensor.

Everything is drawn at random first: a gate that starts at 0 hides what lies behind it, and where
sampling points lie on whole pixels the derivatives from left and right differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

IMAGES = 'images'
# By how much a step changes the loss, roughly. The first that agrees is enough: a large one may
# take a ReLU or a sampling point over a kink, a small one drowns in rounding.
CHANGES = (1e-6, 1e-7, 1e-5, 1e-8, 1e-4)
RELATIVE = 1e-6
_RATES = ('drop_prob', 'rate', 'p', 'attn_drop_prob')


@dataclass(frozen=True)
class Fault:
    """A tensor whose gradient is wrong, or zero though it should learn."""

    name: str
    slope: float
    difference: float

    def __str__(self) -> str:
        return f'{self.name}: gradient {self.slope:.9g}, finite difference {self.difference:.9g}'


@torch.no_grad()
def randomise(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """Draws all parameters and batch-norm statistics, takes dropout and drop path out, in float64.

    Values are added to those that are there, so that layers keep the size of what they hand on.
    """

    def noise(tensor: Tensor, spread: float) -> Tensor:
        return spread * torch.randn(tensor.shape, generator=generator, dtype=torch.float64)

    model.double()
    for parameter in model.parameters():
        fan_in = math.prod(parameter.shape[1:]) if parameter.dim() > 1 else 1
        parameter += noise(parameter, min(0.3, fan_in**-0.5))
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            module.running_mean += noise(module.running_mean, 0.3)
            module.running_var *= noise(module.running_var, 0.3).exp()
        for rate in _RATES:
            if isinstance(getattr(module, rate, None), float):
                setattr(module, rate, 0.0)
    return model


class GradientCheck:
    """A model, images and a random loss; the gradients are taken once.

    Args:
        model: in float64, without randomness.
        images: ``(B, 3, H, W)``.
        generator: of the loss and of the directions.

    Attributes:
        maps: what the model gave, detached.
        gradients: by name, those of the images and of all parameters that train.
    """

    def __init__(self, model: nn.Module, images: Tensor, generator: torch.Generator) -> None:
        self.model, self.generator = model, generator
        self.images = images.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        trains = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.tensors: dict[str, Tensor] = {IMAGES: self.images, **trains}
        maps = model(self.images)
        self.maps = [feature_map.detach() for feature_map in maps]
        self._weights = [
            torch.randn(own.shape, generator=generator, dtype=own.dtype) / own.numel() ** 0.5
            for own in maps
        ]
        self.loss = sum((own * weight).sum() for own, weight in zip(maps, self._weights))
        # the rounding of a loss, roughly
        self._rounding = 1e-15 * sum(
            float((own * weight).square().sum()) ** 0.5
            for own, weight in zip(self.maps, self._weights)
        )
        found = torch.autograd.grad(self.loss, list(self.tensors.values()), allow_unused=True)
        self.gradients: dict[str, Tensor | None] = dict(zip(self.tensors, found))

    def dead(self) -> list[str]:
        """Tensors without a gradient, or with one that is zero but for rounding."""
        return [name for name in self.tensors if self._is_dead(name)]

    def _is_dead(self, name: str) -> bool:
        gradient = self.gradients[name]
        return gradient is None or float(gradient.norm()) * self._size(name) < 10 * self._rounding

    def _size(self, name: str) -> float:
        """Norm of a tensor whose values are as large as these, and not smaller than 0.1."""
        tensor = self.tensors[name].detach()
        return max(float(tensor.norm()), 0.1 * tensor.numel() ** 0.5)

    def direction(self, name: str) -> Tensor:
        """A random direction, turned towards the gradient, so that the slope is not by chance 0."""
        tensor, gradient = self.tensors[name], self.gradients[name]
        drawn = torch.randn(tensor.shape, generator=self.generator, dtype=tensor.dtype)
        drawn = drawn / drawn.norm()
        if not self._is_dead(name):
            towards = gradient / gradient.norm()
            drawn = towards + (drawn if float((drawn * towards).sum()) >= 0 else -drawn)
        return drawn * (self._size(name) / drawn.norm())

    def _loss_at(self, directions: dict[str, Tensor], step: float) -> float:
        with torch.no_grad(), _moved(self.tensors, directions, step):
            maps = self.model(self.images)
            return float(sum((own * weight).sum() for own, weight in zip(maps, self._weights)))

    def along(self, directions: dict[str, Tensor]) -> tuple[bool, float, float]:
        """Whether the slope along directions of some tensors is the finite difference; and both."""
        slope = sum(
            float((self.gradients[name] * direction).sum())
            for name, direction in directions.items()
            if self.gradients[name] is not None
        )
        nearest = math.inf
        for difference, rounding in self._differences(directions, slope):
            bound = max(RELATIVE * max(abs(slope), abs(difference)), rounding)
            if abs(difference - slope) <= bound:
                return True, slope, difference
            nearest = min(nearest, difference, key=lambda other: abs(other - slope))
        return False, slope, nearest

    def _differences(
        self, directions: dict[str, Tensor], slope: float
    ) -> Iterator[tuple[float, float]]:
        """Finite differences, and what rounding makes of those that six digits are too much for.

        Where no plain one agrees, the loss may bend within every step that is not lost in rounding,
        as behind a batch norm over few values: then those without their errors of the second and of
        the fourth order, as far as the rounding that there is leaves five digits.
        """
        unit = 1 / max(abs(slope), 0.1)

        def plain(step: float) -> float:
            return (self._loss_at(directions, step) - self._loss_at(directions, -step)) / (2 * step)

        for change in CHANGES:
            step = change * unit
            weak = abs(slope) * step < 1e6 * self._rounding  # too weak to be told to six digits
            yield plain(step), 10 * self._rounding / step if weak else 0.0
        still = [self._loss_at(directions, 1e-16 * unit * each) for each in range(-3, 4)]
        rounding = max(still) - min(still)
        for change in (1e-3, *CHANGES):
            step = change * unit
            if change > 1e6 * rounding:
                whole, half, quarter = (plain(step / parts) for parts in (1, 2, 4))
                yield (4 * half - whole) / 3, 10 * rounding / step
                yield (64 * quarter - 20 * half + whole) / 45, 10 * rounding / step

    def faults(self, names: Sequence[str] | None = None) -> list[Fault]:
        """The tensors (default: all) whose gradients are no finite differences, one by one."""
        found = []
        for name in self.tensors if names is None else names:
            right, slope, difference = self.along({name: self.direction(name)})
            if not right:
                found.append(Fault(name, slope, difference))
        return found

    def faults_of_all(self) -> list[Fault]:
        """The same along one direction of all tensors together; one by one only if that fails.

        Each tensor is moved so far that it has an equal share in the slope (within four orders of
        magnitude), so that the faults of those to which the loss is dull are not lost in the sum.
        """
        directions = {name: self.direction(name) for name in self.tensors}
        slopes = {
            name: float((self.gradients[name] * direction).sum())
            for name, direction in directions.items()
            if not self._is_dead(name)
        }
        least = 1e-4 * max(slopes.values(), default=1.0)
        for name, slope in slopes.items():
            directions[name] = directions[name] / max(slope, least)
        right, slope, difference = self.along(directions)
        if right:
            return []
        return self.faults() or [Fault('all together', slope, difference)]


@contextmanager
def _moved(
    tensors: dict[str, Tensor], directions: dict[str, Tensor], step: float
) -> Iterator[None]:
    kept = {name: tensors[name].detach().clone() for name in directions}
    for name, direction in directions.items():
        tensors[name].data.add_(direction, alpha=step)
    try:
        yield
    finally:
        for name, values in kept.items():
            tensors[name].data.copy_(values)


def faults_of_parts(check: GradientCheck, *, relative: float = 1e-9) -> list[str]:
    """Names of maps and gradients of a batch that are not those of its images one by one.

    Only where images do not meet: no batch norm in training mode.
    """
    tensors, sums, maps = check.tensors, {}, []
    for index in range(len(check.images)):
        image = check.images.detach()[index : index + 1].clone().requires_grad_()
        own = check.model(image)
        maps.append([m.detach() for m in own])
        loss = sum((m * w[index : index + 1]).sum() for m, w in zip(own, check._weights))
        inputs = [image, *list(tensors.values())[1:]]
        found = torch.autograd.grad(loss, inputs, allow_unused=True)
        for name, gradient in zip(tensors, found):
            sums.setdefault(name, []).append(gradient)
    pairs: list[tuple[str, Tensor | None, Tensor | None]] = [
        (f'map {level}', whole, torch.cat([own[level] for own in maps]))
        for level, whole in enumerate(check.maps)
    ]
    for name, parts in sums.items():
        known = [part for part in parts if part is not None]
        join: Callable = torch.cat if name == IMAGES else sum
        pairs.append((name, check.gradients[name], join(known) if known else None))
    return [name for name, whole, parts in pairs if not _equal(whole, parts, relative)]


def _equal(whole: Tensor | None, parts: Tensor | None, relative: float) -> bool:
    if whole is None or parts is None:
        return whole is parts
    return float((whole - parts).norm()) <= relative * (float(whole.norm()) + 1e-3)


def is_dense(feature_map: Tensor) -> bool:
    """Whether a map has the strides of a fresh tensor of one of the two layouts."""
    shape = feature_map.shape
    layouts = (torch.contiguous_format, torch.channels_last)
    return feature_map.stride() in [
        torch.empty(shape, device='meta', memory_format=layout).stride() for layout in layouts
    ]
