"""``AdaptFormer``: a bottleneck in parallel to the MLP of every block.

AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition (Chen et al., NeurIPS
2022, https://arxiv.org/abs/2205.13535, section 3.2): ``x + mlp(norm(x)) + s * up(relu(down(x)))``.
"""

from __future__ import annotations

from functools import partial

from mmengine.registry import MODELS
from torch import Tensor, nn

from vitadapter_dense.encoders.tokens import TokenLayout
from vitadapter_dense.tuning.adapter import Bottleneck
from vitadapter_dense.tuning.blocks import BlockSite, BlockTuning


@MODELS.register_module()
class AdaptFormer(BlockTuning):
    """One bottleneck a block, beside the MLP.

    Args:
        hidden: channels of the bottleneck (paper: 64).
        scale: of its output (paper: 0.1).
        dropout: inside the bottleneck (authors' code: 0.1).
    """

    def __init__(self, hidden: int = 64, *, scale: float = 0.1, dropout: float = 0.1) -> None:
        super().__init__()
        self.hidden, self.scale, self.dropout = hidden, scale, dropout
        self.adapters = nn.ModuleList()

    def attach_block(self, site: BlockSite) -> None:
        """One bottleneck for a block."""
        add = partial(self._beside_mlp, len(self.adapters))
        self.adapters.append(Bottleneck(site.dim, self.hidden, dropout=self.dropout, act=nn.ReLU))
        site.add_beside('mlp', add, normed=False)

    def _beside_mlp(self, index: int, x: Tensor, _layout: TokenLayout) -> Tensor:
        return self.scale * self.adapters[index](x)
