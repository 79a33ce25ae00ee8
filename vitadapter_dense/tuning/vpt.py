"""``VisualPromptTuning``: learned inputs for a frozen backbone.

Visual Prompt Tuning (Jia et al., ECCV 2022, https://arxiv.org/abs/2203.12119): section 3.2 for the
shallow and the deep kind, section 4.3 for where prompts may stand. Sizes that the authors' code
fixes when the model is built (prompts that are added to a map, images that are concatenated) are
resampled to the size at hand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from vitadapter_dense.encoders.position import resample_grid_embedding
from vitadapter_dense.encoders.tokens import Tokens
from vitadapter_dense.tuning.base import Tuning
from vitadapter_dense.tuning.blocks import need_transformer_blocks, transformer_blocks
from vitadapter_dense.tuning.image_prompts import (
    SIDE,
    BorderPrompt,
    beside,
    cell_of,
    frame,
    image_convolution,
)
from vitadapter_dense.tuning.patch_embedding import patch_conv, patch_tokens
from vitadapter_dense.tuning.prompted_windows import carry_prompts, prompt_block
from vitadapter_dense.tuning.stages import find_stages, is_plain_vit

Location = Literal['prepend', 'add', 'prepend_pixel', 'below', 'pad']
_LOCATIONS = ('prepend', 'add', 'prepend_pixel', 'below', 'pad')


@MODELS.register_module()
class VisualPromptTuning(Tuning):
    """Prompts for a plain ViT, a Swin or a convolutional backbone; no identity at the start.

    Args:
        num_tokens: number of prompts; with ``'below'`` of channels, with ``'pad'`` of pixels.
        deep: other prompts in each block in place of what became of the last ones.
        location: ``'prepend'`` puts prompts beside the tokens, ``'add'`` adds a map of prompts to
            the tokens' map, ``'prepend_pixel'`` makes the prompts of learned patches by the frozen
            patch embedding, ``'below'`` adds channels to the image and trains the convolution that
            sees it, ``'pad'`` puts a border around it. The last three are shallow. Convolutional
            backbones take the last two, plain ViTs all but ``'pad'``. The border leaves maps and
            boxes where they are: maps are cut to the image.
        dropout: of the prompts.
        project: width of the prompts before a learned projection; ``None``: no projection.

    Raises:
        ValueError: options that exclude each other.
    """

    identity_at_start = False
    adds_tokens = True

    def __init__(
        self,
        num_tokens: int = 50,
        *,
        deep: bool = False,
        location: Location = 'prepend',
        dropout: float = 0.0,
        project: int | None = None,
    ) -> None:
        super().__init__()
        if location not in _LOCATIONS or num_tokens < 1:
            raise ValueError(
                f'VisualPromptTuning(num_tokens={num_tokens}, location={location!r}): one token at '
                f'least; the location is one of {", ".join(_LOCATIONS)}'
            )
        if deep and location not in ('prepend', 'add'):
            raise ValueError(f'location={location!r} acts on the image: deep=True is not for it')
        if project is not None and location != 'prepend':
            raise ValueError(f"project={project} is for location='prepend', not {location!r}")
        self.num_tokens, self.deep, self.location = num_tokens, deep, location
        self.width = project
        self.dropout = nn.Dropout(dropout)

    @property
    def leaves_prompts(self) -> bool:
        """Whether the tokens behind the last block of a plain ViT say what became of prompts."""
        return self.location in ('prepend', 'prepend_pixel')

    # ------------------------------------------------------------------ set-up

    def attach(self, backbone: nn.Module) -> None:
        """Makes the prompts.

        Raises:
            ValueError: the backbone has nothing that such prompts are for.
        """
        if self.location == 'pad':
            self._make_border(backbone)
            return
        if self.location == 'below' and not transformer_blocks(backbone):
            self._blocks = []
            self._make_channels(*self._need_convolution(backbone))
            return
        blocks = need_transformer_blocks(backbone, self)
        self.sites = list(blocks) if self.deep else [next(iter(blocks))]
        self._blocks = list(blocks.values())
        self._prefix = 'model.' if hasattr(backbone, 'model') else ''
        self._patch_embed = [backbone.get_submodule(f'{self._prefix}patch_embed')]
        dims = [block.norm1.normalized_shape[0] for block in self._blocks]
        count = len(dims) if self.deep else 1
        conv = self._patch_conv
        spread = math.sqrt(6 / (3 * math.prod(conv.kernel_size) + (self.width or dims[0])))
        if self.location == 'prepend':
            self._make_tokens(dims[:count], spread)
        elif self.location == 'prepend_pixel':
            height, width = conv.kernel_size
            self.pixels = _uniform((1, 3, height, width * self.num_tokens), spread)
        elif self.location == 'add':
            self._grids = self._pretrained_grids(backbone)
            self.maps = nn.ParameterList(
                _uniform((1, math.prod(grid), dim), spread)
                for grid, dim in zip(self._grids[:count], dims, strict=False)
            )
        else:
            grid = self._pretrained_grids(backbone)[0]
            size = [side * kernel for side, kernel in zip(grid, conv.kernel_size, strict=True)]
            names = {id(module): name for name, module in backbone.named_modules()}
            self._make_channels(names[id(conv)], conv, size)
        if not is_plain_vit(backbone):
            self._hook_swin(backbone)

    @property
    def _patch_conv(self) -> nn.Conv2d:
        return patch_conv(self._patch_embed[0])

    def _make_tokens(self, dims: list[int], spread: float) -> None:
        """A bank of prompts a block; blocks of one width share a projection."""
        width = self.width
        self.tokens = nn.ParameterList(
            _uniform((1, self.num_tokens, width or dim), spread) for dim in dims
        )
        self.projections = nn.ModuleDict()
        if width is not None:
            for dim in sorted(set(dims)):
                projection = nn.Linear(width, dim)
                nn.init.kaiming_normal_(projection.weight, mode='fan_out')
                self.projections[str(dim)] = projection

    def _make_channels(
        self, name: str, conv: nn.Conv2d, size: Sequence[int] = (SIDE, SIDE)
    ) -> None:
        fan = 3 * math.prod(conv.kernel_size) + conv.out_channels
        self.channels = _uniform((1, self.num_tokens, *size), math.sqrt(6 / fan))
        self.channel_embed = beside(conv, self.num_tokens)
        self.sites = [name]
        conv.register_forward_hook(self._embed_channels)

    def _need_convolution(self, backbone: nn.Module) -> tuple[str, nn.Conv2d]:
        found = image_convolution(backbone)
        if found is None:
            raise ValueError(
                f"location='below' adds channels to the image, and {type(backbone).__name__} has "
                f'no convolution that sees its three: choose a ResNet, RegNet, ConvNeXt or '
                f"EfficientNet, or location='pad'"
            )
        return found

    def _make_border(self, backbone: nn.Module) -> None:
        only = getattr(getattr(backbone, 'image_sizes', None), 'only', None)
        if is_plain_vit(backbone) or only is not None:
            raise ValueError(
                f"location='pad' puts a border around the image, and {type(backbone).__name__} "
                f'takes images of one size alone, or tokens: use it on convolutional backbones; '
                f"for a plain ViT there is location='prepend'"
            )
        found = image_convolution(backbone)
        self._blocks = []
        self.sites = [found[0] if found else '']
        self.border = BorderPrompt(self.num_tokens, cell_of(backbone))
        frame(backbone, self)

    def _pretrained_grids(self, backbone: nn.Module) -> list[tuple[int, int]]:
        """For each block the size of the map for images as in pre-training."""
        if is_plain_vit(backbone):
            return [tuple(backbone._position_hw)] * len(self._blocks)
        side = SIDE // self._patch_conv.kernel_size[0]
        first = getattr(self._patch_embed[0], 'grid_size', None) or (side, side)
        grids = []
        for level, stage in enumerate(find_stages(backbone)):
            grid = tuple(max(1, -(-length // 2**level)) for length in first)
            grids += [grid] * len(stage.blocks)
        return grids

    def trainable(self, name: str, parameter: nn.Parameter) -> bool:
        """The patch embedding, where the image gets more channels."""
        return self.location == 'below' and name.rpartition('.')[0] in self.sites

    # ----------------------------------------------------------------- prompts

    def _prompts(self, index: int, batch: int) -> Tensor:
        """The prompts ``(B, p, C)`` that block ``index`` starts with."""
        if self.location == 'prepend_pixel':
            prompts = patch_tokens(self._patch_embed[0], self.pixels)
        else:
            prompts = self.tokens[index]
            if self.width is not None:
                dim = self._blocks[index].norm1.normalized_shape[0]
                prompts = self.projections[str(dim)](prompts)
        return self.dropout(prompts).expand(batch, -1, -1)

    def _added(self, index: int, hw: tuple[int, int]) -> Tensor:
        """``(1, H * W, C)`` to be added to the tokens of block ``index``."""
        return self.dropout(resample_grid_embedding(self.maps[index], self._grids[index], hw))

    def _embed_channels(self, conv: nn.Module, args: tuple, out: Tensor) -> Tensor:
        """What a patch convolution with more input channels would give."""
        channels = self.dropout(self.channels)
        channels = F.interpolate(channels, size=args[0].shape[-2:], mode='bilinear')
        return out + self.channel_embed(channels).to(out.dtype)

    # --------------------------------------------------------------- plain ViT

    def before_block(self, index: int, tokens: Tokens) -> Tokens:
        """Inserts prompts before the first block, and with ``deep`` replaces them before others."""
        if self.location == 'below' or (index and not self.deep):
            return tokens
        if self.location == 'add':
            grid = tokens.grid
            return tokens.with_grid(grid + self._added(index, tokens.hw).to(grid.dtype))
        prompts = self._prompts(index, tokens.x.shape[0]).to(tokens.x.dtype)
        kept = tokens.num_prefix - (self.num_tokens if index else 0)
        x = torch.cat([tokens.x[:, :kept], prompts, tokens.grid], dim=1)
        return replace(tokens, x=x, num_prefix=kept + self.num_tokens)

    def after_block(self, index: int, tokens: Tokens) -> Tokens:
        """Takes the prompts out of the sequence behind the last block."""
        if self.location in ('add', 'below') or index < len(self._blocks) - 1:
            return tokens
        kept = tokens.num_prefix - self.num_tokens
        x = torch.cat([tokens.x[:, :kept], tokens.grid], dim=1)
        return replace(tokens, x=x, num_prefix=kept, prompts=tokens.prefix[:, kept:])

    # -------------------------------------------------------------------- Swin

    def _hook_swin(self, backbone: nn.Module) -> None:
        if self.location == 'below':
            return
        if self.location == 'add':
            for index in range(len(self.maps)):
                hook = partial(self._add_to_swin, index)
                self._blocks[index].register_forward_pre_hook(hook)
            return
        if not self.deep:
            carry_prompts(
                backbone, self._blocks, self.num_tokens, new_prompts=partial(self._prompts, 0)
            )
            return
        for index, block in enumerate(self._blocks):
            prompt_block(block, partial(self._prompts, index))

    def _add_to_swin(self, index: int, _block: nn.Module, args: tuple) -> tuple:
        x = args[0]
        hw = (x.shape[1], x.shape[2]) if x.ndim == 4 else tuple(args[1])
        return (x + self._added(index, hw).view(1, *x.shape[1:]).to(x.dtype), *args[1:])


def _uniform(shape: tuple[int, ...], spread: float) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape).uniform_(-spread, spread))
