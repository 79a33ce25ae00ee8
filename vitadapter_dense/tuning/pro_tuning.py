"""``ProTuning``: prompt blocks between the stages of a frozen backbone.

Pro-Tuning: Unified Prompt Tuning for Vision Tasks (Nie et al., IEEE TCSVT 2024,
https://arxiv.org/abs/2207.14381). Behind every stage a prompt block (1x1 convolution, 5x5 depthwise
convolution, 1x1 convolution) makes a prompt of the stage's map; map and prompt are blended, and the
blend goes to the next stage and to the head.

There is no public code, and what is public of the paper does not tell the block's width, groups,
normalisation, activation, start, nor how the two are blended. The defaults here are a
reconstruction: with them the blocks of a ResNet-101 have 3.616 M parameters, which together with a
head of 120 classes gives the 3.86 M that the paper reports; other structures give that number too.
How the paper groups the blocks of a plain ViT is not public either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from vitadapter_dense.encoders.tokens import Tokens
from vitadapter_dense.tuning.base import Tuning
from vitadapter_dense.tuning.stages import find_stages, hook_stage, is_plain_vit

_ACTIVATIONS = dict(ReLU=nn.ReLU, GELU=nn.GELU)

NormType = Literal['BN', 'GN'] | None
Activation = Literal['ReLU', 'GELU'] | None
Blend = Literal['add', 'scalar', 'channel']


class SqueezeExcitation(nn.Module):
    """Gates the channels of a map by its mean (Hu et al., https://arxiv.org/abs/1709.01507).

    Args:
        channels: of the map.
        reduction: how many times fewer channels there are in between.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, max(1, channels // reduction), kernel_size=1)
        self.expand = nn.Conv2d(max(1, channels // reduction), channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> the same shape."""
        gate = self.expand(torch.relu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


def _norm(kind: NormType, channels: int) -> nn.Module:
    if kind == 'BN':
        return nn.BatchNorm2d(channels)
    if kind == 'GN':
        return nn.GroupNorm(1, channels)
    return nn.Identity()


class PromptBlock(nn.Module):
    """Blends a map with the prompt that it makes of it; the arguments are those of ``ProTuning``.

    Args:
        channels: of the map.

    Raises:
        ValueError: ``groups`` does not divide the channels, or an unknown ``blend``.
    """

    def __init__(
        self,
        channels: int,
        *,
        ratio: float,
        groups: int,
        se_reduction: int | None,
        norm: NormType,
        act: Activation,
        kernel_size: int,
        blend: Blend,
        zero_start: bool,
    ) -> None:
        super().__init__()
        hidden = max(groups, round(channels * ratio / groups) * groups)
        if channels % groups:
            raise ValueError(f'groups={groups} does not divide the {channels} channels of a stage')
        self.reduce = nn.Conv2d(channels, hidden, kernel_size=1, groups=groups)
        self.norm1 = _norm(norm, hidden)
        self.mix = nn.Conv2d(
            hidden, hidden, kernel_size=kernel_size, padding=kernel_size // 2, groups=hidden
        )
        self.norm2 = _norm(norm, hidden)
        self.se = SqueezeExcitation(hidden, se_reduction) if se_reduction else nn.Identity()
        self.expand = nn.Conv2d(hidden, channels, kernel_size=1, groups=groups)
        self.norm3 = _norm(norm, channels)
        self.act = nn.Identity() if act is None else _ACTIVATIONS[act]()
        start = 0.0 if zero_start else 1.0
        if blend == 'add':
            self.gain = None
            if zero_start:  # one layer only: with two at zero neither would ever learn
                nn.init.zeros_(self.expand.weight if norm is None else self.norm3.weight)
                nn.init.zeros_(self.expand.bias)
        else:
            shape = (1,) if blend == 'scalar' else (channels, 1, 1)
            self.gain = nn.Parameter(torch.full(shape, start))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> the same shape."""
        prompt = self.act(self.norm1(self.reduce(x)))
        prompt = self.se(self.act(self.norm2(self.mix(prompt))))
        prompt = self.norm3(self.expand(prompt))
        return x + (prompt if self.gain is None else self.gain * prompt)


@MODELS.register_module()
class ProTuning(Tuning):
    """A prompt block behind every stage. The defaults are a reconstruction, see the module's text.

    Args:
        stages: numbers of the stages that get a block; default: all.
        sites: names of the modules whose outputs are the stages' maps, for a backbone whose
            structure is not known.
        ratio: width of a block relative to its stage.
        groups: of the 1x1 convolutions.
        se_reduction: of a squeeze-and-excitation gate before the last convolution; ``None``: none.
        norm: after each convolution: ``'BN'``, ``'GN'`` (one group) or ``None``.
        act: after the first two convolutions: ``'ReLU'``, ``'GELU'`` or ``None``.
        kernel_size: of the depthwise convolution.
        blend: the prompt is added as it is (``'add'``), times a learned number (``'scalar'``) or
            times a learned number a channel (``'channel'``).
        zero_start: the prompts are zero before training.

    Raises:
        ValueError: an unknown option.
    """

    acts_behind = True

    def __init__(
        self,
        *,
        stages: Sequence[int] | None = None,
        sites: Sequence[str] | None = None,
        ratio: float = 1.0,
        groups: int = 4,
        se_reduction: int | None = 16,
        norm: NormType = 'BN',
        act: Activation = None,
        kernel_size: int = 5,
        blend: Blend = 'add',
        zero_start: bool = True,
    ) -> None:
        super().__init__()
        for option, value, known in (
            ('norm', norm, ('BN', 'GN', None)),
            ('act', act, (*_ACTIVATIONS, None)),
            ('blend', blend, ('add', 'scalar', 'channel')),
        ):
            if value not in known:
                raise ValueError(f'ProTuning({option}={value!r}): choose one of {known}')
        self.stages, self._names = stages, sites
        self._block_options = dict(
            ratio=ratio,
            groups=groups,
            se_reduction=se_reduction,
            norm=norm,
            act=act,
            kernel_size=kernel_size,
            blend=blend,
            zero_start=zero_start,
        )
        self.prompt_blocks = nn.ModuleDict()
        self._stage_of_block: dict[int, int] = {}

    def attach(self, backbone: nn.Module) -> None:
        """Finds the stages and makes their prompt blocks.

        Raises:
            ValueError: no stage, or a number beyond the stages.
        """
        found = find_stages(backbone, self._names)
        chosen = list(range(len(found))) if self.stages is None else list(self.stages)
        beyond = [index for index in chosen if not 0 <= index < len(found)]
        if beyond or not chosen:
            raise ValueError(
                f'ProTuning(stages={chosen}): {type(backbone).__name__} has the stages '
                f'{dict(enumerate(stage.name for stage in found))}'
            )
        for index in chosen:
            stage = found[index]
            self.sites.append(stage.name)
            block = PromptBlock(stage.channels, **self._block_options)
            self.prompt_blocks[str(index)] = block
            if is_plain_vit(backbone):
                self._stage_of_block[stage.last_block] = index
            else:
                hook_stage(backbone, stage, self.after_stage, index)

    def after_stage(self, index: int, feature_map: Tensor) -> Tensor:
        """Blends a stage's map with its prompt."""
        return self.prompt_blocks[str(index)](feature_map)

    def after_block(self, index: int, tokens: Tokens) -> Tokens:
        """The same on the map of a plain ViT's tokens; prefix tokens pass by."""
        if index not in self._stage_of_block:
            return tokens
        blended = self.after_stage(self._stage_of_block[index], tokens.as_map())
        return tokens.with_map(blended)
