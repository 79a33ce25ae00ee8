"""``ReadOut``: a classifier's neck, from a backbone's maps to a vector, with or without MLP."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class ReadOut(nn.Module):
    """The average of the last map or maps, or a backbone's vector, through k layers.

    Without layers the head behind it is a linear probe; with k of them it is MLP-k of Visual
    Prompt Tuning (https://arxiv.org/abs/2203.12119, section 4.1): k times a linear layer of the
    width, ReLU, batch norm, dropout, as the authors' code has it.

    Args:
        in_channels: of the last map, or the vector; several numbers are of as many maps, the last
            ones, whose averages stand one behind another (all four of a `ViTAdapter`, which trains
            every level).
        num_layers: k.
        dropout: its probability (VPT's code: 0.1).

    Raises:
        ValueError: a negative number of layers.
    """

    def __init__(
        self, in_channels: int | Sequence[int], num_layers: int = 0, *, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if num_layers < 0:
            raise ValueError(f'ReadOut(num_layers={num_layers}): give 0 layers or more')
        self.widths = (in_channels,) if isinstance(in_channels, int) else tuple(in_channels)
        self.in_channels = width = sum(self.widths)
        layers: list[nn.Module] = []
        for _ in range(num_layers):
            linear = nn.Linear(width, width)
            nn.init.kaiming_normal_(linear.weight, nonlinearity='relu')
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.ReLU(), nn.BatchNorm1d(width), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers)

    def forward(self, outputs: Sequence[Tensor] | Tensor) -> tuple[Tensor]:
        """Maps ``(B, C, H, W)`` or vectors ``(B, C)``, of which the last count -> ``(B, sum C)``.

        Raises:
            ValueError: the backbone gives another number of channels, or neither map nor vector.
        """
        given = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        last = given[-len(self.widths) :]
        found = tuple(own.shape[1] if own.ndim in (2, 4) else -1 for own in last)
        if found != self.widths:
            wanted = self.widths if len(self.widths) > 1 else self.widths[0]
            raise ValueError(
                f'the backbone gives {[tuple(own.shape) for own in given]}, but ReadOut('
                f'in_channels={wanted}) takes as many maps (B, C, H, W) or vectors (B, C) of such '
                f'channels, the last ones'
            )
        vectors = [own.mean(dim=(2, 3)) if own.ndim == 4 else own for own in last]
        return (self.layers(torch.cat(vectors, dim=1)),)
