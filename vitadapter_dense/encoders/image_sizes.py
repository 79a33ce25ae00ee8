"""Which sizes of images a hierarchical timm model takes, found by trying it without any memory.

timm's models differ in this, and say so only in the middle of a forward pass: convolutional ones
take any size, but some round the sizes of their maps down; attention in windows may need whole
windows on every map (MaxViT, GCViT) or an option (Swin); tables of positions may fit one size
alone (CoAtNet, EfficientFormer, Visformer). A model is built on the meta device and given images of
other sizes than in pre-training.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from torch import nn


@dataclass(frozen=True)
class ImageSizes:
    """What a model needs of its images, and which of its maps are wanted.

    Attributes:
        multiple: whole multiples of so many pixels are needed.
        indices: of the wanted maps in timm's feature information.
        timm_args: arguments by which the model takes other sizes than in pre-training.
        only: ``(H, W)``, where no other size works.
        model_name: for messages.
    """

    multiple: int
    indices: tuple[int, ...]
    timm_args: dict[str, Any] = field(default_factory=dict)
    only: tuple[int, int] | None = None
    model_name: str = ''

    def check(self, height: int, width: int) -> None:
        """Raises for images of another size than the only one."""
        if self.only is not None and (height, width) != self.only:
            raise ValueError(
                f"an image of {height} x {width} pixels, but timm's {self.model_name!r} takes one "
                f'size alone, img_size={self.only}: resize or crop images to it, or choose a model '
                f'for any size (ConvNeXt, ResNet, Swin, ...)'
            )


def find_image_sizes(
    model_name: str, strides: Sequence[int], timm_args: dict[str, Any]
) -> ImageSizes:
    """Tries a model.

    Args:
        model_name: timm's name.
        strides: of the wanted maps.
        timm_args: arguments that it is built with; ``img_size`` is where positions are fixed.

    Raises:
        ValueError: no intermediate maps, none of such a stride, maps of other sizes than their
            strides say, or one size alone and no ``img_size``.
    """
    model, added = _on_meta(model_name, timm_args)
    indices = _indices_of(model, model_name, strides)
    coarsest = max(info['reduction'] for info in model.feature_info)
    trained = max(timm.get_pretrained_cfg(model_name.split('.', 1)[0]).input_size[1:])
    reason = ''
    for multiple in sorted({coarsest, 2 * coarsest, 4 * coarsest, trained}):
        if multiple % coarsest:
            continue
        reason = _fault(model, (2 * multiple, 3 * multiple), strides, indices)
        if not reason:
            return ImageSizes(multiple, indices, added, model_name=model_name)
    if 'img_size' not in timm_args:
        raise ValueError(
            f"timm's {model_name!r} cannot give maps of images of any size: {reason}. If yours are "
            f'all of one size, give img_size=(H, W); else choose another model (ConvNeXt, ResNet, '
            f'Swin, ...)'
        )
    size = timm_args['img_size']
    only = (size, size) if isinstance(size, int) else tuple(size)
    reason = _fault(model, only, strides, indices)
    if reason:
        raise ValueError(f"timm's {model_name!r} with img_size={size}: {reason}")
    return ImageSizes(1, indices, added, only, model_name)


def coarsest_stride(model_name: str, timm_args: dict[str, Any]) -> int:
    """The stride of a model's last map."""
    model, _ = _on_meta(model_name, timm_args)
    return max(info['reduction'] for info in model.feature_info)


def _on_meta(model_name: str, timm_args: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """The model without memory, and the arguments by which it takes other sizes."""
    added: dict[str, Any] = {}
    with torch.device('meta'):
        model = timm.create_model(model_name, pretrained=False, num_classes=0, **timm_args)
        options = inspect.signature(type(model).__init__).parameters
        told = timm_args.keys() & {'dynamic_img_size', 'strict_img_size'}
        if 'dynamic_img_size' in options and not told:
            added = dict(dynamic_img_size=True)
            model = timm.create_model(
                model_name, pretrained=False, num_classes=0, **timm_args, **added
            )
    return model.eval(), added


def _indices_of(model: nn.Module, model_name: str, strides: Sequence[int]) -> tuple[int, ...]:
    if not hasattr(model, 'forward_intermediates'):
        raise ValueError(
            f"timm's {model_name!r} does not give intermediate maps; choose a model with "
            f'forward_intermediates (ResNet, RegNet, ConvNeXt, Swin, ...)'
        )
    # the deepest map of a stride is the stage's output
    by_stride = {info['reduction']: index for index, info in enumerate(model.feature_info)}
    absent = [stride for stride in strides if stride not in by_stride]
    if absent:
        raise ValueError(
            f'{model_name!r} has no map of stride {absent[0]}; it has {sorted(by_stride)}. '
            f"Plain ViTs are type='TimmViT'."
        )
    return tuple(by_stride[stride] for stride in strides)


@torch.no_grad()
def _fault(
    model: nn.Module, size: tuple[int, int], strides: Sequence[int], indices: Sequence[int]
) -> str:
    """What is wrong with the maps of images of a size; empty: nothing."""
    images = torch.empty(1, 3, *size, device='meta')
    try:
        maps = model.forward_intermediates(
            images, indices=list(indices), output_fmt='NCHW', intermediates_only=True
        )
    except (AssertionError, RuntimeError, ValueError) as error:
        return f'{type(error).__name__} {error}'.strip()
    for level, stride in zip(maps, strides, strict=True):
        wanted = tuple((side + stride - 1) // stride for side in size)
        if tuple(level.shape[-2:]) != wanted:
            found = ' x '.join(str(side) for side in level.shape[-2:])
            return (
                f'an image of {size[0]} x {size[1]} pixels gives a map of {found}, which is not '
                f'stride {stride}'
            )
    return ''
