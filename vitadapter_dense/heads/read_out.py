"""``ReadOut``: a classifier's neck, from a backbone's last map to a vector, with or without MLP."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class ReadOut(nn.Module):
    """The average of the last map, or the vector that a backbone gives, through k layers.

    Without layers the head behind it is a linear probe; with k of them it is MLP-k of Visual
    Prompt Tuning (https://arxiv.org/abs/2203.12119, section 4.1): k times a linear layer of the
    width, ReLU, batch norm, dropout, as the authors' code has it.

    Args:
        in_channels: of the last map, or the vector.
        num_layers: k.
        dropout: its probability (VPT's code: 0.1).

    Raises:
        ValueError: a negative number of layers.
    """

    def __init__(self, in_channels: int, num_layers: int = 0, *, dropout: float = 0.1) -> None:
        super().__init__()
        if num_layers < 0:
            raise ValueError(f'ReadOut(num_layers={num_layers}): give 0 layers or more')
        self.in_channels = in_channels
        layers: list[nn.Module] = []
        for _ in range(num_layers):
            linear = nn.Linear(in_channels, in_channels)
            nn.init.kaiming_normal_(linear.weight, nonlinearity='relu')
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.ReLU(), nn.BatchNorm1d(in_channels), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers)

    def forward(self, outputs: Sequence[Tensor] | Tensor) -> tuple[Tensor]:
        """Maps ``(B, C, H, W)`` or vectors ``(B, C)``, of which the last counts -> ``(B, C)``.

        Raises:
            ValueError: the backbone gives another number of channels, or neither map nor vector.
        """
        last = outputs if isinstance(outputs, Tensor) else outputs[-1]
        if last.ndim not in (2, 4) or last.shape[1] != self.in_channels:
            raise ValueError(
                f'the backbone gives {tuple(last.shape)}, but ReadOut(in_channels='
                f'{self.in_channels}) takes maps (B, C, H, W) or vectors (B, C) of so many channels'
            )
        return (self.layers(last.mean(dim=(2, 3)) if last.ndim == 4 else last),)
