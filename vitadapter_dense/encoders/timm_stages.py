"""``TimmStages``: any hierarchical timm model (ResNet, RegNet, ConvNeXt, Swin, ...) as a pyramid of
stages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor

from vitadapter_dense.encoders.hub import check_model_name, load_pretrained
from vitadapter_dense.encoders.image_sizes import ImageSizes, find_image_sizes
from vitadapter_dense.encoders.maps import dense
from vitadapter_dense.encoders.norm_act import restore_activations
from vitadapter_dense.encoders.padding import PadToWhole


@MODELS.register_module()
class TimmStages(BaseModule):
    """A hierarchical timm model; as a backbone it gives one map a stage.

    The timm model is the child ``model``, its parameters keep timm's names behind that. Images may
    be of any size: zeros are added at their bottom and right up to whole multiples of what the
    model needs (its largest stride; with attention in windows it may be more), and the maps are cut
    to the size that belongs to the image. Models with windows that know other sizes (Swin, Swin V2)
    are built so, ``dynamic_img_size=True``.

    Args:
        model_name: timm's name, e.g. ``convnext_tiny.fb_in1k``.
        pretrained: ``True`` (timm's hub), ``False``, a file, a URL, or ``package:name/path`` for a
            file of an installed Python package; read in :meth:`init_weights` only.
        strides: which maps to return, by their stride; one map each.
        frozen: no parameter trains, and the model stays in eval mode.
        **timm_args: arguments of the timm model, handed on as they are. A model that takes images
            of one size only needs ``img_size=(H, W)``.

    Raises:
        ValueError: unknown model name, a stride that the model does not have, or a model that
            cannot take images of any size and was told none.
    """

    def __init__(
        self,
        model_name: str,
        pretrained: bool | str | Path = False,
        *,
        strides: Sequence[int] = (4, 8, 16, 32),
        frozen: bool = False,
        **timm_args: Any,
    ) -> None:
        super().__init__()
        check_model_name(model_name)
        self.model_name, self.pretrained, self.frozen = model_name, pretrained, frozen
        self._image_args = {k: v for k, v in timm_args.items() if k == 'img_size'}
        self.image_sizes: ImageSizes = find_image_sizes(model_name, strides, timm_args)
        timm_args |= self.image_sizes.timm_args
        self._timm_args = timm_args
        self.pad = PadToWhole(self.image_sizes.multiple)
        self.model = timm.create_model(model_name, pretrained=False, num_classes=0, **timm_args)
        self.strides = tuple(strides)
        self._indices = list(self.image_sizes.indices)
        self._leave_out_unused()
        self.out_channels = [self.model.feature_info[index]['num_chs'] for index in self._indices]
        if frozen:
            self.requires_grad_(False)

    def _leave_out_unused(self) -> None:
        """What gives no map (final norm, head) would be parameters without a gradient."""
        self.model.prune_intermediate_layers(self._indices, prune_norm=True)

    def init_weights(self) -> None:
        """Loads the pre-trained weights unless ``skip_pretrained`` is set on this module."""
        if self.pretrained and not getattr(self, 'skip_pretrained', False):
            load_pretrained(
                self.model, self.model_name, self.pretrained, image_args=self._image_args
            )
        self._is_init = True

    def train(self, mode: bool = True) -> TimmStages:
        """A frozen model stays in eval mode; norms that were converted get their activations."""
        restore_activations(self.model)
        return super().train(mode and not self.frozen)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """``(B, 3, H, W)`` -> one map ``(B, C_s, ceil(H / s), ceil(W / s))`` for each stride s.

        Raises:
            ValueError: images of another size than the only one that the model takes.
        """
        height, width = images.shape[-2:]
        self.image_sizes.check(height, width)
        maps = self.model.forward_intermediates(
            self.pad(images),
            indices=self._indices,
            output_fmt='NCHW',
            intermediates_only=True,
        )
        return tuple(
            dense(level[..., : (height + stride - 1) // stride, : (width + stride - 1) // stride])
            for level, stride in zip(maps, self.strides, strict=True)
        )
