"""``LoRA``: low-rank changes of linear layers and convolutions, which can be folded into them.

LoRA: Low-Rank Adaptation of Large Language Models (Hu et al., https://arxiv.org/abs/2106.09685,
section 4.1): ``W + alpha / r * B A``. In the fused ``qkv`` layer of an attention the parts are
changed one by one, by default queries and values. For a convolution, A is a convolution of its size
to r channels and B a 1x1 convolution, for each of its groups.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from vitadapter_dense.encoders.storage import widen
from vitadapter_dense.tuning.base import Tuning
from vitadapter_dense.tuning.blocks import transformer_blocks
from vitadapter_dense.tuning.stages import residual_blocks

Part = Literal['q', 'k', 'v']


class LowRankLinear(nn.Module):
    """The change of a linear layer, or of some of the equal parts that its output is made of.

    Args:
        linear: the layer.
        rank: of the change.
        parts: which of ``num_parts`` parts are changed.
        num_parts: of the layer's output.
    """

    def __init__(
        self, linear: nn.Linear, rank: int, *, parts: Sequence[int] = (0,), num_parts: int = 1
    ) -> None:
        super().__init__()
        out = linear.out_features // num_parts
        self.parts, self.num_parts, self.out = tuple(parts), num_parts, out
        self.down = nn.Parameter(torch.empty(len(self.parts), rank, linear.in_features))
        self.up = nn.Parameter(torch.zeros(len(self.parts), out, rank))
        for matrix in self.down:
            nn.init.kaiming_uniform_(matrix, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in)`` -> ``(..., out)``."""
        changes = dict(zip(self.parts, zip(self.down, self.up, strict=True), strict=True))
        changed = {part: F.linear(F.linear(x, down), up) for part, (down, up) in changes.items()}
        if self.num_parts == 1:
            return changed[0]
        unchanged = torch.zeros_like(changed[self.parts[0]])
        return torch.cat([changed.get(part, unchanged) for part in range(self.num_parts)], dim=-1)

    def weight(self) -> Tensor:
        """The change of the layer's weight."""
        change = self.up.new_zeros(self.num_parts, self.out, self.down.shape[2])
        change[list(self.parts)] = self.up @ self.down
        return change.flatten(0, 1)


class LowRankConv(nn.Module):
    """The change of a convolution.

    Args:
        conv: the convolution.
        rank: of the change, in each group.

    Raises:
        ValueError: a convolution that pads otherwise than with zeros.
    """

    def __init__(self, conv: nn.Conv2d, rank: int) -> None:
        super().__init__()
        if conv.padding_mode != 'zeros' or type(conv).forward is not nn.Conv2d.forward:
            raise ValueError(f'LoRA knows no {conv} with its own padding; leave it out of targets')
        self.stride, self.dilation, self.groups = conv.stride, conv.dilation, conv.groups
        self.padding = conv.padding
        self.down = nn.Parameter(torch.empty(rank * conv.groups, *conv.weight.shape[1:]))
        self.up = nn.Parameter(torch.zeros(conv.out_channels, rank, 1, 1))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in, H, W)`` -> ``(B, out, H', W')``."""
        x = F.conv2d(
            x,
            self.down,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        return F.conv2d(x, self.up, groups=self.groups)

    def weight(self) -> Tensor:
        """The change of the convolution's weight."""
        down = self.down.unflatten(0, (self.groups, -1))
        up = self.up[..., 0, 0].unflatten(0, (self.groups, -1))
        return torch.einsum('gor,grikl->goikl', up, down).flatten(0, 1)


@MODELS.register_module()
class LoRA(Tuning):
    """Low-rank changes of a frozen backbone's layers.

    Args:
        rank: r.
        alpha: the change is scaled by ``alpha / rank``; default: the rank, no scaling.
        dropout: of what goes into A.
        targets: regular expressions, one of which must match the end of a layer's name; default:
            in transformers the attention's ``qkv`` (or separate ``q_proj`` and ``v_proj``), in
            convolutional backbones the linear layers and ungrouped convolutions of the residual
            blocks, without their shortcuts.
        parts: which parts of a fused ``qkv`` layer change.

    Raises:
        ValueError: an option that makes no sense.
    """

    mergeable = True

    def __init__(
        self,
        rank: int = 8,
        *,
        alpha: float | None = None,
        dropout: float = 0.0,
        targets: Sequence[str] | None = None,
        parts: Sequence[Part] = ('q', 'v'),
    ) -> None:
        super().__init__()
        if rank < 1 or not parts or any(part not in 'qkv' for part in parts):
            raise ValueError(
                f'LoRA(rank={rank}, parts={parts}): the rank is at least 1, the parts are of '
                f"'q', 'k', 'v'"
            )
        self.rank, self.targets, self.parts = rank, targets, tuple(parts)
        self.scale = (rank if alpha is None else alpha) / rank
        self.dropout = nn.Dropout(dropout)
        self.changes = nn.ModuleList()
        self.merged = False
        self._layers: list[nn.Linear | nn.Conv2d] = []

    def attach(self, backbone: nn.Module) -> None:
        """Finds the layers.

        Raises:
            ValueError: no layer matches; the message lists candidates.
        """
        layers = _layers(backbone)
        self.sites = self._matching(list(layers)) if self.targets else self._default(backbone)
        if not self.sites:
            endings = sorted({name.rsplit('.', 1)[-1] for name in layers})
            raise ValueError(
                f'LoRA(targets={self.targets}) matches no linear layer or convolution of '
                f'{type(backbone).__name__}; their names end with {endings}'
            )
        for index, name in enumerate(self.sites):
            layer = layers[name]
            self._layers.append(layer)
            if isinstance(layer, nn.Conv2d):
                self.changes.append(LowRankConv(layer, self.rank))
            elif name.endswith('qkv'):
                parts = ['qkv'.index(part) for part in self.parts]
                self.changes.append(LowRankLinear(layer, self.rank, parts=parts, num_parts=3))
            else:
                self.changes.append(LowRankLinear(layer, self.rank))
            layer.register_forward_hook(partial(self._change, index))

    def _matching(self, names: Sequence[str]) -> list[str]:
        patterns = [re.compile(rf'(.*\.)?{target}') for target in self.targets]
        return [name for name in names if any(p.fullmatch(name) for p in patterns)]

    def _default(self, backbone: nn.Module) -> list[str]:
        layers = _layers(backbone)
        blocks = transformer_blocks(backbone)
        if blocks:
            endings = ('qkv', *(f'{part}_proj' for part in self.parts))
            inside = [f'{name}.attn.' for name in blocks]
            return [
                name
                for name in layers
                if name.startswith(tuple(inside)) and name.rsplit('.', 1)[-1] in endings
            ]
        inside = [f'{name}.' for name in residual_blocks(backbone)]
        return [
            name
            for name, layer in layers.items()
            if name.startswith(tuple(inside))
            and 'downsample' not in name
            and getattr(layer, 'groups', 1) == 1
        ]

    def _change(self, index: int, _module: nn.Module, args: tuple, out: Tensor) -> Tensor:
        if self.merged:
            return out
        return out + self.scale * self.changes[index](self.dropout(args[0]))

    @torch.no_grad()
    def merge(self) -> None:
        """Adds the changes to the layers' weights; they act no more after that."""
        if self.merged:
            return
        for layer, change in zip(self._layers, self.changes, strict=True):
            widen(layer.weight)
            layer.weight += self.scale * change.weight().to(layer.weight)
        self.merged = True


def _layers(backbone: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Linear layers and convolutions that are called as modules, so that a hook acts."""
    attentions = [n for n, m in backbone.named_modules() if isinstance(m, nn.MultiheadAttention)]
    inside = tuple(f'{name}.' for name in attentions)
    return {
        name: module
        for name, module in backbone.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d)) and not name.startswith(inside)
    }
