"""``LitePrior``: the small convolutional pyramid of the light adapter.

After the spatial tuning adapter of DEIMv2 (https://arxiv.org/abs/2509.20787), whose convolutions
these are: one a stride, 1, 2, 4 and 4 times as wide as the first.
"""

from __future__ import annotations

from torch import Tensor, nn

from vitadapter_dense.adapter.spatial_prior import NormFactory


def _conv(inputs: int, outputs: int, norm: NormFactory) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1, bias=False)
    return nn.Sequential(conv, norm(outputs))


class LitePrior(nn.Module):
    """Image -> four maps at strides 4, 8, 16, 32.

    Args:
        inplanes: channels at stride 4.
        norm: makes a normalisation layer for so many channels.

    Attributes:
        widths: channels of the four maps.
    """

    def __init__(self, inplanes: int = 16, *, norm: NormFactory) -> None:
        super().__init__()
        self.widths = tuple(times * inplanes for times in (1, 2, 4, 4))
        self.stem = nn.Sequential(
            *_conv(3, inplanes, norm),
            nn.GELU(),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        self.conv2 = _conv(inplanes, 2 * inplanes, norm)
        self.conv3 = nn.Sequential(nn.GELU(), *_conv(2 * inplanes, 4 * inplanes, norm))
        self.conv4 = nn.Sequential(nn.GELU(), *_conv(4 * inplanes, 4 * inplanes, norm))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``(B, 3, H, W)`` -> maps ``(B, width, ceil(H / s), ceil(W / s))``, s = 4, 8, 16, 32."""
        c1 = self.stem(images)
        c2 = self.conv2(c1)
        c3 = self.conv3(c2)
        c4 = self.conv4(c3)
        return c1, c2, c3, c4
