"""Methods that leave the backbone alone and act on what it returns.

A convolutional or Swin backbone returns a map a level, or a vector, which counts as a map of one
cell; of a plain ViT it is the last block's map.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from vitadapter_dense.encoders.maps import dense
from vitadapter_dense.encoders.tokens import Tokens
from vitadapter_dense.tuning.base import Tuning
from vitadapter_dense.tuning.stages import is_plain_vit, output_channels, output_stages


class OutputTuning(Tuning):
    """A method that acts on the maps which the backbone returns."""

    acts_behind = True

    def __init__(self) -> None:
        super().__init__()
        self._last_block = -1

    def attach(self, backbone: nn.Module) -> None:
        """Makes the method's own modules for each map.

        Raises:
            ValueError: the channels of the maps cannot be told.
        """
        channels = output_channels(backbone)
        self.build(channels, output_stages(backbone)[: len(channels)])
        if is_plain_vit(backbone):
            self._last_block = backbone.depth - 1
            self.sites = [f'blocks.{self._last_block}']
        else:
            self.sites = [f'output {index}' for index in range(len(channels))]
            backbone.register_forward_hook(self._on_outputs)

    def build(self, channels: Sequence[int], stages: Sequence[int]) -> None:
        """Makes the modules for maps of so many channels, which come from stages 0 to 3."""
        raise NotImplementedError

    def change(self, images: Tensor, maps: Sequence[Tensor]) -> list[Tensor]:
        """Changes the maps ``(B, C, H, W)`` of the images ``(B, 3, H, W)``."""
        raise NotImplementedError

    def _on_outputs(self, _module: nn.Module, args: tuple, maps: Sequence[Tensor]) -> Sequence:
        lifted = [own if own.ndim == 4 else own[..., None, None] for own in maps]
        changed = self.change(args[0], lifted)
        return type(maps)(
            dense(new) if own.ndim == 4 else new.flatten(1) for new, own in zip(changed, maps)
        )

    def after_block(self, index: int, tokens: Tokens) -> Tokens:
        """Acts on the last block's map of a plain ViT."""
        if index != self._last_block:
            return tokens
        (changed,) = self.change(tokens.images, [tokens.as_map()])
        return tokens.with_map(changed)


def _conv(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, kernel_size=3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


@MODELS.register_module()
class SideTuning(OutputTuning):
    """A small network beside the frozen backbone, blended with what that returns.

    Side-Tuning (Zhang et al., ECCV 2020, https://arxiv.org/abs/1912.13503); the blend
    ``sigmoid(a) * backbone + (1 - sigmoid(a)) * side`` with a = 0 before training is that of VPT's
    code, so that the output starts half way. The network is ours: a convolution of stride 2 a
    level, and one of 1x1 to the channels of each map.

    Args:
        width: channels of its first layers; they double from stride 8 on.
    """

    identity_at_start = False

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.width = width
        self.stem = nn.Sequential(_conv(3, width), _conv(width, width))

    def build(self, channels: Sequence[int], stages: Sequence[int]) -> None:
        """A level of the side network for each stage up to the last map's."""
        self.stages = list(stages)
        widths = [self.width * 2 ** min(level, 3) for level in range(self.stages[-1] + 1)]
        self.levels = nn.ModuleList(
            nn.Identity() if level == 0 else _conv(widths[level - 1], widths[level])
            for level in range(len(widths))
        )
        self.projections = nn.ModuleList(
            nn.Conv2d(widths[stage], out, kernel_size=1)
            for stage, out in zip(self.stages, channels, strict=True)
        )
        self.blend = nn.ParameterList(
            nn.Parameter(self.stem[0][0].weight.new_zeros(1)) for _ in channels
        )

    def change(self, images: Tensor, maps: Sequence[Tensor]) -> list[Tensor]:
        """Blends each map with the side network's, resized to its size."""
        levels, blended = [self.stem(images)], []
        for level in self.levels:
            levels.append(level(levels[-1]))
        for stage, projection, blend, own in zip(
            self.stages, self.projections, self.blend, maps, strict=True
        ):
            side = projection(levels[stage + 1])
            size = tuple(own.shape[-2:])
            other = (
                side.mean(dim=(2, 3), keepdim=True)
                if size == (1, 1)
                else F.interpolate(side, size=size, mode='bilinear')
            )
            share = blend.sigmoid()
            blended.append(share * own + (1 - share) * other.to(own.dtype))
        return blended


@MODELS.register_module()
class MLPHead(OutputTuning):
    """More layers between the frozen backbone and the head, position by position.

    MLP-k of VPT (Jia et al., https://arxiv.org/abs/2203.12119, section 4.1) for dense heads: k
    times a linear layer of the map's width, ReLU, batch norm, dropout. It does not start as the
    identity.

    Args:
        num_layers: k.
        dropout: its probability (VPT's code: 0.1).

    Raises:
        ValueError: no layer.
    """

    identity_at_start = False

    def __init__(self, num_layers: int = 3, *, dropout: float = 0.1) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f'MLPHead(num_layers={num_layers}): give at least one layer')
        self.num_layers, self.dropout = num_layers, dropout

    def build(self, channels: Sequence[int], stages: Sequence[int]) -> None:
        """The layers for each map."""
        self.layers = nn.ModuleList(self._mlp(width) for width in channels)

    def _mlp(self, width: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for _ in range(self.num_layers):
            linear = nn.Conv2d(width, width, kernel_size=1)
            nn.init.kaiming_normal_(linear.weight, nonlinearity='relu')
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.ReLU(), nn.BatchNorm2d(width), nn.Dropout(self.dropout)]
        return nn.Sequential(*layers)

    def change(self, images: Tensor, maps: Sequence[Tensor]) -> list[Tensor]:
        """Applies the layers to each map."""
        return [layers(own) for layers, own in zip(self.layers, maps, strict=True)]
