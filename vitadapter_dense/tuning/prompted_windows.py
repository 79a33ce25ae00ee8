"""Prompts in Swin's windowed attention: every window sees them.

As in Visual Prompt Tuning (https://arxiv.org/abs/2203.12119, appendix A): prompts are copied into
every window, what the windows make of them is averaged, position bias and shift mask are zero
between prompts and everything else, and a prompt goes through patch merging as four copies of
itself. Unlike in the authors' code, images of any size work and the samples of a batch are not
mixed.

From block to block prompts ride in the tensor that the blocks hand on, behind the map: as tokens
after ``(B, H * W, C)``, as whole rows below ``(B, H, W, C)``. Nothing is kept aside, so that what
is recomputed in the backward pass finds the prompts of its own forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from timm.models.swin_transformer import WindowAttention
from torch import Tensor, nn
from torch.nn import functional as F

from vitadapter_dense.encoders.mixin import Mixin, mix_in
from vitadapter_dense.encoders.tokens import TokenLayout
from vitadapter_dense.tuning.blocks import tune_block


def put_behind(x: Tensor, prompts: Tensor) -> Tensor:
    """Prompts ``(B, p, C)`` behind a map: ``(B, H * W, C)`` or ``(B, H, W, C)``."""
    prompts = prompts.to(x.dtype)
    if x.ndim == 4:
        width, count = x.shape[2], prompts.shape[1]
        rows = (count + width - 1) // width
        prompts = F.pad(prompts, (0, 0, 0, rows * width - count)).unflatten(1, (rows, width))
    return torch.cat([x, prompts], dim=1)


def take_from_behind(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Undoes :func:`put_behind` for ``count`` prompts."""
    if x.ndim == 3:
        return x[:, : x.shape[1] - count], x[:, x.shape[1] - count :]
    rows = (count + x.shape[2] - 1) // x.shape[2]
    x, below = x[:, : x.shape[1] - rows], x[:, x.shape[1] - rows :]
    return x, below.flatten(1, 2)[:, :count]


class _PromptedWindows:
    """Attention within windows that see prompts, for one call.

    Args:
        attention: of the windows; timm's or the toolboxes'.
        prompts: ``(B, p, C)``, normed.

    Attributes:
        outputs: ``(B, p, C)`` that the attention made of them.
    """

    def __init__(self, attention: nn.Module, prompts: Tensor) -> None:
        self.attention, self.prompts, self.outputs = attention, prompts, prompts

    def __call__(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Windows ``(B * num_windows, N, C)``, those of an image in a row -> the same shape."""
        batch, count, _ = self.prompts.shape
        copies = self.prompts.repeat_interleave(x.shape[0] // batch, dim=0).to(x.dtype)
        out = self._attend(torch.cat([copies, x], dim=1), mask, count)
        self.outputs = out[:, :count].unflatten(0, (batch, -1)).mean(1)
        return out[:, count:]

    def _attend(self, x: Tensor, mask: Tensor | None, count: int) -> Tensor:
        own = self.attention
        qkv = own.qkv(x).unflatten(-1, (3, own.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # each (B*num_windows, M, count + N, D)
        bias = _position_bias(own)
        if mask is not None:
            repeats = x.shape[0] // mask.shape[0]
            bias = bias + mask.to(bias.dtype).repeat(repeats, 1, 1)[:, None]
        bias = F.pad(bias, (count, 0, count, 0)).to(q.dtype)
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias, dropout_p=own.attn_drop.p if own.training else 0.0
        )
        return own.proj_drop(own.proj(out.transpose(1, 2).flatten(2)))


def _position_bias(attention: nn.Module) -> Tensor:
    """``(1, M, N, N)`` of timm's or the toolboxes' window attention."""
    index = attention.relative_position_index
    bias = attention.relative_position_bias_table[index.flatten()]
    return bias.unflatten(0, index.shape).permute(2, 0, 1)[None]


class _PromptedBlock(Mixin):
    """A tuned Swin block with prompts; mixed into its class.

    Attributes:
        new_prompts: makes the prompts for so many images; ``None``: they come behind the map.
        num_coming: how many come behind the map.
        num_leaving: how many leave behind it.
    """

    new_prompts: Callable[[int], Tensor] | None
    num_coming: int
    num_leaving: int

    def forward(self, x: Tensor, hw_shape: tuple[int, int] | None = None) -> Tensor:
        """``(B, H, W, C)``, or ``(B, H * W, C)`` and the map's size; prompts may be behind."""
        x, prompts = take_from_behind(x, self.num_coming)
        if self.new_prompts is not None:
            prompts = self.new_prompts(x.shape[0])
        hw = (x.shape[1], x.shape[2]) if hw_shape is None else tuple(hw_shape)
        own = self.attn if isinstance(self.attn, WindowAttention) else self.attn.w_msa
        windows = _PromptedWindows(own, self.norm1(prompts))
        x = self.tuned_forward(x, TokenLayout(hw), windows=windows)
        if not self.num_leaving:
            return x
        prompts = prompts + windows.outputs
        mlp = self.mlp if hasattr(self, 'mlp') else self.ffn.layers
        return put_behind(x, prompts + mlp(self.norm2(prompts)))

    def without_prompts(self, x: Tensor, *hw_shape: tuple[int, int]) -> Tensor:
        """A map alone through the block."""
        return super().forward(x, *hw_shape)


class _PromptedMerging(Mixin):
    """Patch merging of a map with prompts behind it; mixed into its class."""

    num_prompts: int

    def forward(self, x: Tensor, *size: tuple[int, int]) -> Tensor | tuple[Tensor, tuple]:
        """Merges the map, and each prompt as a map of 2 x 2 equal tokens."""
        x, prompts = take_from_behind(x, self.num_prompts)
        batch, count, channels = prompts.shape
        copies = prompts.flatten(0, 1)[:, None, None].expand(-1, 2, 2, channels)
        if not size:  # timm's
            merged = super().forward(copies).reshape(batch, count, -1)
            return put_behind(super().forward(x), merged)
        merged, _ = super().forward(copies.flatten(1, 2), (2, 2))
        x, smaller = super().forward(x, *size)
        return put_behind(x, merged.reshape(batch, count, -1)), smaller

    def without_prompts(self, x: Tensor, *size: tuple[int, int]) -> Tensor | tuple[Tensor, tuple]:
        """A map alone through the merging."""
        return super().forward(x, *size)


def prompt_block(
    block: nn.Module,
    new_prompts: Callable[[int], Tensor] | None,
    *,
    num_coming: int = 0,
    num_leaving: int = 0,
) -> None:
    """Has a Swin block take prompts; the arguments are those of its new class."""
    tune_block(block)
    mix_in(block, _PromptedBlock)
    block.new_prompts = new_prompts
    block.num_coming, block.num_leaving = num_coming, num_leaving


def _prompt_merging(downsample: nn.Module, num_prompts: int) -> None:
    """Has the patch merging of a Swin take prompts along."""
    mix_in(downsample, _PromptedMerging)
    downsample.num_prompts = num_prompts


def _leave_prompts(count: int, _stage: nn.Module, _args: tuple, out: tuple) -> tuple:
    """A forward hook for a stage of the toolboxes: its own map, the third output, without them."""
    x, hw, of_stage, stage_hw = out
    return x, hw, take_from_behind(of_stage, count)[0], stage_hw


def _stages(backbone: nn.Module) -> list[nn.Module]:
    """The stages of a Swin of the toolboxes or of timm."""
    return list(backbone.stages if hasattr(backbone, 'stages') else backbone.model.layers)


def carry_prompts(
    backbone: nn.Module,
    blocks: Sequence[nn.Module],
    count: int,
    *,
    new_prompts: Callable[[int], Tensor] | None,
) -> None:
    """Has a Swin carry prompts from its first block through its last.

    The maps that its stages return are without them.

    Args:
        backbone: the Swin.
        blocks: its blocks, in order.
        count: of the prompts.
        new_prompts: makes them for so many images; ``None``: they come behind the first map.

    Raises:
        ValueError: prompts do not pass this Swin's stages.
    """
    stages = _stages(backbone)
    if type(stages[0]).__module__.startswith('mmpretrain.'):
        raise ValueError(
            "shallow prompts do not pass the stages of MMPretrain's Swin: take "
            "type='TimmReadOut', model_name='swin_...', or VisualPromptTuning(deep=True)"
        )
    last = len(blocks) - 1
    for index, block in enumerate(blocks):
        made = None if index else new_prompts
        prompt_block(
            block,
            made,
            num_coming=count if made is None else 0,
            num_leaving=count if index < last else 0,
        )
    for index, stage in enumerate(stages):
        if hasattr(stage.downsample, 'reduction'):
            _prompt_merging(stage.downsample, count)
        if index == len(stages) - 1:
            continue
        if hasattr(backbone, 'stages'):
            stage.register_forward_hook(partial(_leave_prompts, count))
        else:  # what rides below the map is cut off by `TimmStages`, with its padding
            stage.num_leaving = count


def run_without_prompts(
    backbone: nn.Module, x: Tensor, hw: tuple[int, int] | None
) -> tuple[Tensor, tuple[int, int]]:
    """What the stages of a Swin that carries prompts make of an embedded map without any.

    Args:
        backbone: the Swin.
        x: ``(B, H * W, C)`` of the toolboxes' patch embedding, or ``(B, H, W, C)`` of timm's.
        hw: size of the map, for the toolboxes'.

    Returns:
        The last map as tokens ``(B, H * W, C)``, and its size.
    """
    for stage in _stages(backbone):
        merging = stage.downsample if hasattr(stage.downsample, 'reduction') else None
        if hw is None:  # timm merges before the blocks
            x = x if merging is None else merging.without_prompts(x)
            for block in stage.blocks:
                x = block.without_prompts(x)
            continue
        for block in stage.blocks:
            x = block.without_prompts(x, hw)
        if merging is not None:
            x, hw = merging.without_prompts(x, hw)
    if hw is None:
        return x.flatten(1, 2), (x.shape[1], x.shape[2])
    return x, tuple(hw)
