"""``TimmReadOut``: one vector an image from a hierarchical timm model, for classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor

from vitadapter_dense.encoders.image_sizes import coarsest_stride
from vitadapter_dense.encoders.timm_stages import TimmStages


@MODELS.register_module()
class TimmReadOut(TimmStages):
    """What timm's own classifier reads: behind the final norm or the last convolution, pooled.

    The maps of `TimmStages` are without these: Swin and ConvNeXt have a norm there, EfficientNet a
    convolution. Images whose sides are no whole multiples are padded with zeros, which count in the
    average.

    Args:
        model_name: as for `TimmStages`.
        pretrained: as for `TimmStages`.
        frozen: as for `TimmStages`.
        **timm_args: as for `TimmStages`.

    Attributes:
        embed_dim: width of the vector.
        behind_stages: names of the modules with parameters behind the last stage.
    """

    def __init__(
        self,
        model_name: str,
        pretrained: bool | str | Path = False,
        *,
        frozen: bool = False,
        **timm_args: Any,
    ) -> None:
        strides = (coarsest_stride(model_name, timm_args),)
        super().__init__(model_name, pretrained, strides=strides, frozen=frozen, **timm_args)
        self.embed_dim = getattr(self.model, 'head_hidden_size', self.model.num_features)
        self.out_channels = [self.embed_dim]

    def _leave_out_unused(self) -> None:
        """Nothing: all of it is used, and what maps go without is remembered."""
        with torch.device('meta'):
            pruned = TimmStages(self.model_name, strides=self.strides, **self._timm_args).model
        kept = {name for name, _ in pruned.named_parameters()}
        owners = (
            f'model.{name.rpartition(".")[0]}'
            for name, _ in self.model.named_parameters()
            if name not in kept
        )
        self.behind_stages = list(dict.fromkeys(owners))

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """``(B, 3, H, W)`` -> ``(B, C)``.

        Raises:
            ValueError: images of another size than the only one that the model takes.
        """
        self.image_sizes.check(*images.shape[-2:])
        return (self.model(self.pad(images)),)
