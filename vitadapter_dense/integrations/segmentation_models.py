"""ViT-Adapter as an encoder of segmentation_models_pytorch (https://github.com/qubvel-org/segmentation_models.pytorch).

Importing this module adds the encoders `vitadapter_t`, `vitadapter_s`, `vitadapter_b` and
`vitadapter_l`:

    import segmentation_models_pytorch as smp
    import vitadapter_dense.integrations.segmentation_models

    model = smp.UPerNet('vitadapter_s', encoder_weights=None, classes=150)
    model.encoder.adapter.init_weights()  # the ViT's weights, by timm
"""

from __future__ import annotations

from typing import Any

from mmengine.registry import MODELS
from segmentation_models_pytorch.encoders import encoders
from segmentation_models_pytorch.encoders._base import EncoderMixin
from torch import Tensor, nn

from vitadapter_dense.backbones import ViTAdapter
from vitadapter_dense.integrations.sizes import ENCODERS, backbone_config


class ViTAdapterEncoder(nn.Module, EncoderMixin):
    """The image, an empty map at stride 2, and the maps at strides 4 to 32.

    Args:
        backbone: config of the `ViTAdapter`; default: of `size`.
        size: `t`, `s`, `b` or `l`.
        depth: how many times the image is halved, 2 to 5.
        output_stride: 32, which is what there is.

    Attributes:
        adapter: the `ViTAdapter`.

    Raises:
        ValueError: another depth, stride or number of input channels.
    """

    _is_torch_scriptable = False

    def __init__(
        self,
        backbone: dict[str, Any] | None = None,
        *,
        size: str = 's',
        depth: int = 5,
        output_stride: int = 32,
    ) -> None:
        super().__init__()
        if not 2 <= depth <= 5:
            raise ValueError(f'encoder_depth={depth}: maps begin at stride 4, choose 2 to 5')
        if output_stride != 32:
            raise ValueError(f'a ViT-Adapter has output stride 32, not {output_stride}')
        self.adapter: ViTAdapter = MODELS.build(
            backbone or backbone_config(size, task='segmentation')
        )
        self._depth, self._in_channels, self._output_stride = depth, 3, output_stride
        self._out_channels = [3, 0, *[self.adapter.embed_dim] * 4]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps at strides 1, 2, 4, ... up to the depth."""
        empty = x.new_empty(len(x), 0, x.shape[-2] // 2, x.shape[-1] // 2)
        return [x, empty, *self.adapter(x)][: self._depth + 1]

    def set_in_channels(self, in_channels: int, pretrained: bool = True) -> None:
        """Refuses all but images of three channels, which ViT and spatial prior both read."""
        if in_channels != 3:
            raise ValueError(f'in_channels={in_channels}: a ViT-Adapter reads images of 3 channels')

    def get_stages(self) -> dict[int, list[nn.Module]]:
        """No stage can be dilated."""
        return {}


encoders.update(
    {
        f'vitadapter_{size}': dict(
            encoder=ViTAdapterEncoder, params=dict(size=size), pretrained_settings={}
        )
        for size in ENCODERS
    }
)
