"""``SpatialPriorModule``: the convolutional stem beside the ViT.

ViT-Adapter (https://arxiv.org/abs/2205.08534), section 3.2: a ResNet-like stem and stride-2
convolutions give a pyramid of local features at strides 4, 8, 16 and 32, each projected to the
ViT's width.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

NormFactory = Callable[[int], nn.Module]


def _conv(inputs: int, outputs: int, stride: int, norm: NormFactory) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False),
        norm(outputs),
        nn.ReLU(inplace=True),
    ]


class SpatialPriorModule(nn.Module):
    """Image -> four maps at strides 4, 8, 16, 32.

    Args:
        embed_dim: channels of the maps.
        inplanes: channels of the stem; the pyramid has 1, 2, 4 and 4 times as many.
        norm: makes a normalisation layer for so many channels.
    """

    def __init__(self, embed_dim: int, inplanes: int = 64, *, norm: NormFactory) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *_conv(3, inplanes, 2, norm),
            *_conv(inplanes, inplanes, 1, norm),
            *_conv(inplanes, inplanes, 1, norm),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        self.conv2 = nn.Sequential(*_conv(inplanes, 2 * inplanes, 2, norm))
        self.conv3 = nn.Sequential(*_conv(2 * inplanes, 4 * inplanes, 2, norm))
        self.conv4 = nn.Sequential(*_conv(4 * inplanes, 4 * inplanes, 2, norm))
        self.fc1 = nn.Conv2d(inplanes, embed_dim, kernel_size=1)
        self.fc2 = nn.Conv2d(2 * inplanes, embed_dim, kernel_size=1)
        self.fc3 = nn.Conv2d(4 * inplanes, embed_dim, kernel_size=1)
        self.fc4 = nn.Conv2d(4 * inplanes, embed_dim, kernel_size=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``(B, 3, H, W)`` -> maps ``(B, C, ceil(H / s), ceil(W / s))`` for s = 4, 8, 16, 32."""
        c1 = self.stem(images)
        c2 = self.conv2(c1)
        c3 = self.conv3(c2)
        c4 = self.conv4(c3)
        return self.fc1(c1), self.fc2(c2), self.fc3(c3), self.fc4(c4)
