"""ViT-Adapter with torchvision's FPN, for its `MaskRCNN` and `FasterRCNN`.

from torchvision.models.detection import MaskRCNN
from vitadapter_dense.integrations.torchvision_detection import ViTAdapterFPN

backbone = ViTAdapterFPN('s')
backbone.adapter.init_weights()  # the ViT's weights, by timm
model = MaskRCNN(backbone, num_classes=91)
"""

from __future__ import annotations

from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from vitadapter_dense.backbones import ViTAdapter
from vitadapter_dense.integrations.sizes import backbone_config


class ViTAdapterFPN(nn.Module):
    """Five maps of one width, at strides 4 to 64, by the names that torchvision's detectors pool.

    Args:
        backbone: size of the ViT-Adapter (`t`, `s`, `b`, `l`), or its config.
        out_channels: of the maps.

    Attributes:
        adapter: the `ViTAdapter`.
    """

    def __init__(self, backbone: str | dict[str, Any] = 's', *, out_channels: int = 256) -> None:
        super().__init__()
        if isinstance(backbone, str):
            backbone = backbone_config(backbone, task='detection')
        self.adapter: ViTAdapter = MODELS.build(backbone)
        self.out_channels = out_channels
        self.fpn = FeaturePyramidNetwork(
            [self.adapter.embed_dim] * 4, out_channels, extra_blocks=LastLevelMaxPool()
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """`(B, 3, H, W)` -> maps '0' to '3', and 'pool'."""
        return self.fpn({str(level): one for level, one in enumerate(self.adapter(images))})
