"""Where in a transformer block a method may act, for plain ViTs and Swin alike.

A pre-norm block is ``x1 = x0 + attention(norm1(x0))``, ``x2 = x1 + mlp(norm2(x1))``. A block that
is tuned calls these parts one after the other itself, with what methods add in between, so that
everything a method looks at is an argument and nothing of a forward pass is kept. Its parameters
keep their names, and the parts are called as modules. Known blocks: those of timm's
``VisionTransformer``, ``Beit``, ``Eva`` and ``SwinTransformer``, and the ``SwinBlock`` of
MMDetection and MMSegmentation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from timm.models import beit, eva, swin_transformer, vision_transformer
from torch import Tensor, nn

from vitadapter_dense.encoders.attention import GridAttention
from vitadapter_dense.encoders.maps import map_of
from vitadapter_dense.encoders.mixin import Mixin, mix_in, parts_of
from vitadapter_dense.encoders.tokens import TokenLayout
from vitadapter_dense.tuning.base import Tuning

Branch = Literal['attention', 'mlp']
Function = Callable[[Tensor, TokenLayout], Tensor]


@dataclass(frozen=True)
class Addition:
    """What a method adds to the residual sum behind a branch.

    Attributes:
        function: makes it.
        of: of what: the branch's input, that input normed, or the residual sum.
    """

    function: Function
    of: Literal['input', 'normed', 'sum']


class TunedBlock(Mixin):
    """A block of timm's ViT with what methods add; mixed into its class."""

    takes_layout = True
    additions: dict[Branch, list[Addition]]

    def forward(self, x: Tensor, layout: TokenLayout | None = None) -> Tensor:
        """``(B, num_prefix + H * W, C)`` in the given layout -> the same shape."""
        return self.tuned_forward(x, layout)

    def tuned_forward(self, x: Tensor, layout: TokenLayout | None, **attention: Any) -> Tensor:
        """Both branches and what is added behind them."""
        normed = self.norm1(x)
        after = self.add_attention(x, normed, layout, **attention)
        x = self._with_additions('attention', x, normed, after, layout)
        normed = self.norm2(x)
        return self._with_additions('mlp', x, normed, self.add_mlp(x, normed), layout)

    def _with_additions(
        self, branch: Branch, x: Tensor, normed: Tensor, after: Tensor, layout: TokenLayout | None
    ) -> Tensor:
        for addition in self.additions[branch]:
            of = dict(input=x, normed=normed, sum=after)[addition.of]
            after = after + addition.function(of, layout)
        return after

    def add_attention(self, x: Tensor, normed: Tensor, layout: TokenLayout | None) -> Tensor:
        """``x + attention(normed)``, with layer scale and stochastic depth."""
        args = (layout,) if isinstance(self.attn, GridAttention) else ()
        return x + self.drop_path1(self.ls1(self.attn(normed, *args)))

    def add_mlp(self, x: Tensor, normed: Tensor) -> Tensor:
        """``x + mlp(normed)``, likewise."""
        return x + self.drop_path2(self.ls2(self.mlp(normed)))


class _TunedEvaBlock(TunedBlock):
    """A block of timm's ``Eva`` or ``Beit``."""

    def add_attention(self, x: Tensor, normed: Tensor, layout: TokenLayout | None) -> Tensor:
        out = self.attn(normed, layout)
        return x + self.drop_path1(out if self.gamma_1 is None else self.gamma_1 * out)

    def add_mlp(self, x: Tensor, normed: Tensor) -> Tensor:
        out = self.mlp(normed)
        return x + self.drop_path2(out if self.gamma_2 is None else self.gamma_2 * out)


class TunedSwinBlock(TunedBlock):
    """A block of timm's ``SwinTransformer``."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, H, W, C)`` -> the same shape."""
        return self.tuned_forward(x, TokenLayout((x.shape[1], x.shape[2])))

    def add_attention(
        self,
        x: Tensor,
        normed: Tensor,
        layout: TokenLayout | None,
        windows: Callable[..., Tensor] | None = None,
    ) -> Tensor:
        """``windows``: called in place of the attention within the windows."""
        shifted = self if windows is None else InPlaceOf(self, attn=windows)
        return x + self.drop_path1(swin_transformer.SwinTransformerBlock._attn(shifted, normed))

    def add_mlp(self, x: Tensor, normed: Tensor) -> Tensor:
        out = self.mlp(normed.flatten(1, -2))  # timm's gives the MLP tokens
        return x + self.drop_path2(out).view_as(x)


class TunedToolboxSwinBlock(TunedBlock):
    """A ``SwinBlock`` of MMDetection or MMSegmentation, whose parts drop paths themselves."""

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """``(B, H * W, C)`` -> the same shape."""
        return self.tuned_forward(x, TokenLayout(tuple(hw_shape)))

    def add_attention(
        self,
        x: Tensor,
        normed: Tensor,
        layout: TokenLayout | None,
        windows: Callable[..., Tensor] | None = None,
    ) -> Tensor:
        """``windows``: called in place of the attention within the windows."""
        if windows is None:
            return self.attn(normed, layout.hw) + x
        shifted = InPlaceOf(self.attn, w_msa=windows)
        return type(self.attn).forward(shifted, normed, layout.hw) + x

    def add_mlp(self, x: Tensor, normed: Tensor) -> Tensor:
        return self.ffn(normed, identity=x)


class InPlaceOf:
    """A module for one call, with others in place of some of its children; the module stays.

    Args:
        module: whose functions are called with this as ``self``.
        **children: by their names.
    """

    def __init__(self, module: nn.Module, **children: Callable[..., Any]) -> None:
        self._module = module
        self.__dict__.update(children)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


_KINDS: dict[type[nn.Module], type[TunedBlock]] = {
    vision_transformer.Block: TunedBlock,
    beit.Block: _TunedEvaBlock,
    eva.EvaBlock: _TunedEvaBlock,
    swin_transformer.SwinTransformerBlock: TunedSwinBlock,
}


def _kind_of(block: nn.Module) -> type[TunedBlock] | None:
    """How a block is tuned; ``None``: it is of no known kind."""
    kind = parts_of(type(block))[-1]
    if kind.__name__ == 'SwinBlock':
        return TunedToolboxSwinBlock
    # a subclass with another forward pass has other parts
    return next((tuned for known, tuned in _KINDS.items() if kind.forward is known.forward), None)


def is_transformer_block(module: nn.Module) -> bool:
    """Whether :class:`BlockSite` knows the module."""
    return _kind_of(module) is not None


def transformer_blocks(backbone: nn.Module) -> dict[str, nn.Module]:
    """The transformer blocks of a backbone by name, from the first to the last."""
    return {name: m for name, m in backbone.named_modules() if is_transformer_block(m)}


def need_transformer_blocks(backbone: nn.Module, method: Tuning) -> dict[str, nn.Module]:
    """:func:`transformer_blocks`, or an error that says why the method cannot work.

    Raises:
        ValueError: there is none.
    """
    blocks = transformer_blocks(backbone)
    if not blocks:
        raise ValueError(
            f'{type(method).__name__} acts inside transformer blocks, and '
            f'{type(backbone).__name__} has none that is known (plain ViTs of timm, Swin of timm, '
            f'MMDetection and MMSegmentation); for convolutional backbones there are ProTuning, '
            f'Adapter, LoRA, SSF and the methods that choose parameters'
        )
    return blocks


def tune_block(block: nn.Module) -> None:
    """Has a block call its parts itself; a second call changes nothing."""
    if not isinstance(block, TunedBlock):
        mix_in(block, _kind_of(block))
        block.additions = dict(attention=[], mlp=[])


class BlockSite:
    """One transformer block while a method is attached to it, and the places in it.

    Args:
        name: of the block in the backbone.
        block: the block.

    Attributes:
        dim: width of the tokens.
    """

    def __init__(self, name: str, block: nn.Module) -> None:
        self.name, self.block = name, block
        self.dim: int = block.norm1.normalized_shape[0]
        self.mlp: nn.Module = block.mlp if hasattr(block, 'mlp') else block.ffn.layers
        tune_block(block)

    def add_after(self, branch: Branch, function: Function) -> None:
        """Adds ``function(x, layout)`` to x, the residual sum behind a branch."""
        self.block.additions[branch].append(Addition(function, 'sum'))

    def add_beside(self, branch: Branch, function: Function, *, normed: bool) -> None:
        """Adds ``function(x, layout)`` to a branch's output, x being its input.

        Args:
            branch: which.
            function: what; a bound method of a module, so that a copy of the block has its own.
            normed: x is taken after the layer norm, not before.
        """
        of = 'normed' if normed else 'input'
        self.block.additions[branch].append(Addition(function, of))

    def add_to_mlp_output(self, function: Callable[[Tensor], Tensor]) -> None:
        """Adds ``function(x)`` to x, the output of the MLP before layer scale and residual."""
        self.mlp.register_forward_hook(partial(_add_to_output, function))


def _add_to_output(
    function: Callable[[Tensor], Tensor], _module: nn.Module, _args: tuple, out: Tensor
) -> Tensor:
    return out + function(out)


def on_map(x: Tensor, layout: TokenLayout, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Applies a function of maps ``(B, C, H, W)`` to tokens; prefix tokens give zeros.

    Args:
        x: ``(B, num_prefix + H * W, C)`` or ``(B, H, W, C)``.
        layout: of x.
        function: keeps the size, may change the channels.
    """
    if x.ndim == 4:
        return function(map_of(x)).movedim(1, -1)
    grid = map_of(x[:, layout.num_prefix :].unflatten(1, layout.hw))
    out = function(grid).movedim(1, -1).flatten(1, 2)  # (B, H*W, C)
    if not layout.num_prefix:
        return out
    zeros = out.new_zeros(out.shape[0], layout.num_prefix, out.shape[2])
    return torch.cat([zeros, out], dim=1)


class BlockTuning(Tuning):
    """A method with modules of its own in every transformer block."""

    def attach(self, backbone: nn.Module) -> None:
        """Finds the blocks and adds to each what the method adds.

        Raises:
            ValueError: the backbone has no transformer blocks.
        """
        for name, block in need_transformer_blocks(backbone, self).items():
            site = BlockSite(name, block)
            self.sites.append(name)
            self.attach_block(site)

    def attach_block(self, site: BlockSite) -> None:
        """Adds modules for one block."""
        raise NotImplementedError
