"""``ExtraAttention``: one more transformer layer, over the coarsest map of a backbone.

ViT-Adapter's HTC++ puts it in front of FPN (detection/configs/htc++/*.py). Names of parameters are
those of its checkpoints (``attn.qkv``, ``ffn.fc1``, ``final_norm``, ...).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mmengine.registry import MODELS
from timm.layers import DropPath, Mlp
from timm.models.vision_transformer import Attention
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@MODELS.register_module()
class ExtraAttention(nn.Module):
    """Global self-attention and a feed-forward network over the last map; the others stay.

    Args:
        in_channels: of all maps.
        num_heads: of the attention.
        ffn_ratio: hidden width of the feed-forward network relative to the map's.
        drop_path: rate of stochastic depth, of both branches.
        with_cp: recompute the layer in the backward pass.

    Raises:
        ValueError: heads that do not divide the last map's channels.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_heads: int,
        *,
        ffn_ratio: float = 4.0,
        drop_path: float = 0.0,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        dim = in_channels[-1]
        if dim % num_heads:
            raise ValueError(
                f'num_heads={num_heads} does not divide the {dim} channels of the last map; '
                'give a divisor of them'
            )
        self.with_cp = with_cp
        norm = partial(nn.LayerNorm, eps=1e-5)
        self.norm1, self.norm2, self.final_norm = norm(dim), norm(dim), norm(dim)
        self.attn = Attention(dim, num_heads, qkv_bias=True)
        self.ffn = Mlp(dim, int(dim * ffn_ratio))
        self.drop_path = DropPath(drop_path)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps ``(B, C, H, W)``, the coarsest last; the same shapes."""
        *finer, last = maps
        tokens = last.flatten(2).transpose(1, 2)  # (B, H*W, C)
        if self.with_cp and self.training:
            tokens = checkpoint(self._layer, tokens, use_reentrant=False)
        else:
            tokens = self._layer(tokens)
        return *finer, tokens.transpose(1, 2).reshape(last.shape).contiguous()

    def _layer(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens)))
        tokens = tokens + self.drop_path(self.ffn(self.norm2(tokens)))
        return self.final_norm(tokens)
