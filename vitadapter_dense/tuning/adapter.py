"""``Adapter``: bottlenecks in series with the layers of a frozen backbone.

Parameter-Efficient Transfer Learning for NLP (Houlsby et al., https://arxiv.org/abs/1902.00751,
section 2), as the Mona code places it in vision transformers: in every block one behind the
attention's residual sum and one on the MLP's output. In a convolutional backbone there is one
behind every residual block, its linear layers being 1x1 convolutions.
"""

from __future__ import annotations

from functools import partial

from mmengine.registry import MODELS
from torch import Tensor, nn

from vitadapter_dense.encoders.tokens import TokenLayout
from vitadapter_dense.tuning.blocks import BlockSite, BlockTuning, transformer_blocks
from vitadapter_dense.tuning.stages import find_stages


class Bottleneck(nn.Module):
    """``up(dropout(act(down(x))))``; ``up`` starts at zero, ``down`` does not (both at zero would
    never learn).

    Args:
        dim: channels, the last dimension of x.
        hidden: of the bottleneck.
        dropout: its probability.
        act: the activation.
    """

    def __init__(
        self, dim: int, hidden: int, *, dropout: float, act: type[nn.Module] = nn.GELU
    ) -> None:
        super().__init__()
        self.down = nn.Linear(dim, hidden)
        self.act = act()
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(hidden, dim)
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., C)`` -> the same shape."""
        return self.up(self.dropout(self.act(self.down(x))))


@MODELS.register_module()
class Adapter(BlockTuning):
    """Bottleneck adapters: two in every transformer block, one behind every residual block.

    Args:
        hidden: channels of the bottleneck (Mona's code: 64).
        dropout: inside the bottleneck (Mona's code: 0.1).
    """

    def __init__(self, hidden: int = 64, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.hidden, self.dropout = hidden, dropout
        self.after_attention = nn.ModuleList()
        self.after_mlp = nn.ModuleList()
        self.after_residual = nn.ModuleList()

    def attach(self, backbone: nn.Module) -> None:
        """Makes the adapters.

        Raises:
            ValueError: neither transformer blocks nor stages are known in the backbone.
        """
        if transformer_blocks(backbone):
            super().attach(backbone)
            return
        for stage in find_stages(backbone):
            for name in stage.blocks:
                adapter = Bottleneck(stage.channels, self.hidden, dropout=self.dropout)
                hook = partial(self._add_to_map, len(self.after_residual))
                self.after_residual.append(adapter)
                backbone.get_submodule(name).register_forward_hook(hook)
                self.sites.append(name)

    def _add_to_map(self, index: int, _module: nn.Module, _args: tuple, out: Tensor) -> Tensor:
        addition = self.after_residual[index](out.movedim(1, -1))  # (B, H, W, C)
        return out + addition.movedim(-1, 1)

    def attach_block(self, site: BlockSite) -> None:
        """Two adapters for a transformer block."""
        index = len(self.after_attention)
        for adapters in (self.after_attention, self.after_mlp):
            adapters.append(Bottleneck(site.dim, self.hidden, dropout=self.dropout))
        site.add_after('attention', partial(self._after_attention, index))
        site.add_to_mlp_output(partial(self._after_mlp, index))

    def _after_attention(self, index: int, x: Tensor, _layout: TokenLayout) -> Tensor:
        return self.after_attention[index](x)

    def _after_mlp(self, index: int, x: Tensor) -> Tensor:
        return self.after_mlp[index](x)
