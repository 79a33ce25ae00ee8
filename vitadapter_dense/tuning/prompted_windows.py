"""Prompts in Swin's windowed attention: every window sees them.

As in Visual Prompt Tuning (https://arxiv.org/abs/2203.12119, appendix A): prompts are copied into
every window, what the windows make of them is averaged, position bias and shift mask are zero
between prompts and everything else, and a prompt goes through patch merging as four copies of
itself. Unlike in the authors' code, images of any size work and the samples of a batch are not
mixed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from timm.models.swin_transformer import WindowAttention
from torch import Tensor, nn
from torch.nn import functional as F


class PromptState:
    """Prompts of one block in the forward pass under way; not copied with the model.

    Attributes:
        prompts: ``(B, p, C)`` that enter the attention, normalised; ``None``: none.
        outputs: ``(B, p, C)`` that the attention made of them.
    """

    def __init__(self) -> None:
        self.prompts: Tensor | None = None
        self.outputs: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return dict(prompts=None, outputs=None)


class _Prompted:
    """A window attention that takes prompts into every window; mixed into its class."""

    prompt_state: PromptState

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Windows ``(B * num_windows, N, C)``, those of an image in a row -> the same shape."""
        prompts = self.prompt_state.prompts
        if prompts is None:
            return super().forward(x, mask)
        batch, count, _ = prompts.shape
        copies = prompts.repeat_interleave(x.shape[0] // batch, dim=0).to(x.dtype)
        out = self._attend(torch.cat([copies, x], dim=1), mask, count)
        self.prompt_state.outputs = out[:, :count].unflatten(0, (batch, -1)).mean(1)
        return out[:, count:]

    def _attend(self, x: Tensor, mask: Tensor | None, count: int) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # each (B*num_windows, M, count + N, D)
        bias = _position_bias(self)
        if mask is not None:
            repeats = x.shape[0] // mask.shape[0]
            bias = bias + mask.to(bias.dtype).repeat(repeats, 1, 1)[:, None]
        bias = F.pad(bias, (count, 0, count, 0)).to(q.dtype)
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias, dropout_p=self.attn_drop.p if self.training else 0.0
        )
        return self.proj_drop(self.proj(out.transpose(1, 2).flatten(2)))


def _position_bias(attention: nn.Module) -> Tensor:
    """``(1, M, N, N)`` of timm's or the toolboxes' window attention."""
    index = attention.relative_position_index
    bias = attention.relative_position_bias_table[index.flatten()]
    return bias.unflatten(0, index.shape).permute(2, 0, 1)[None]


@lru_cache
def _prompted_class(kind: type[nn.Module]) -> type[nn.Module]:
    return type(f'Prompted{kind.__name__}', (_Prompted, kind), {})


def take_prompts(block: nn.Module) -> PromptState:
    """Makes a Swin block's attention take prompts; returns where to put them."""
    attention = block.attn if isinstance(block.attn, WindowAttention) else block.attn.w_msa
    attention.__class__ = _prompted_class(type(attention))
    attention.prompt_state = PromptState()
    return attention.prompt_state


def prompts_after_block(block: nn.Module, prompts: Tensor, state: PromptState) -> Tensor:
    """The residual sums of a block for its prompts ``(B, p, C)``."""
    prompts = prompts + state.outputs
    normed = block.norm2(prompts)
    if hasattr(block, 'mlp'):
        return prompts + block.mlp(normed)
    return prompts + block.ffn.layers(normed)


def merge_prompts(downsample: nn.Module, prompts: Tensor) -> Tensor:
    """Takes prompts ``(B, p, C)`` through patch merging, each as a map of 2 x 2 equal tokens."""
    batch, count, channels = prompts.shape
    maps = prompts.flatten(0, 1)[:, None, None].expand(-1, 2, 2, channels)
    if hasattr(downsample, 'sampler'):  # the toolboxes' patch merging
        merged, _ = downsample(maps.flatten(1, 2), (2, 2))
    else:
        merged = downsample(maps)
    return merged.reshape(batch, count, -1)
