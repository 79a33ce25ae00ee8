"""Where in a transformer block a method may act, for plain ViTs and Swin alike.

A pre-norm block is ``x1 = x0 + attention(norm1(x0))``, ``x2 = x1 + mlp(norm2(x1))``. Methods act
through forward hooks on its modules, so that no class is forked and no parameter renamed: what is
added at the end of a branch goes into the residual sum. Known blocks: those of timm's
``VisionTransformer``, ``Beit``, ``Eva`` and ``SwinTransformer``, and the ``SwinBlock`` of
MMDetection and MMSegmentation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from timm.models import beit, eva, swin_transformer, vision_transformer
from torch import Tensor, nn

from vitadapter_dense.encoders.maps import map_of
from vitadapter_dense.tuning.base import Tuning

_TIMM_BLOCKS = (
    vision_transformer.Block,
    beit.Block,
    eva.EvaBlock,
    swin_transformer.SwinTransformerBlock,
)

Branch = Literal['attention', 'mlp']
Addition = Callable[[Tensor, 'BlockSite'], Tensor]


def is_transformer_block(module: nn.Module) -> bool:
    """Whether :class:`BlockSite` knows the module."""
    return isinstance(module, _TIMM_BLOCKS) or type(module).__name__ == 'SwinBlock'


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


class BlockSite:
    """One transformer block and the places in it.

    Args:
        name: of the block in the backbone.
        block: the block.

    Attributes:
        dim: width of the tokens.
        hw: ``(H, W)`` of the map in the forward pass under way.
        num_prefix: tokens before the map.
    """

    def __init__(self, name: str, block: nn.Module) -> None:
        self.name, self.block = name, block
        self.dim: int = block.norm1.normalized_shape[0]
        self.hw, self.num_prefix = (0, 0), 0
        self._inputs: dict[Branch, Tensor] = {}
        if type(block).__name__ == 'SwinBlock':
            # both add the residual or drop the path themselves
            self._ends = dict(attention=block.attn, mlp=block.ffn)
            self.mlp: nn.Module = block.ffn.layers
            block.attn.register_forward_pre_hook(self._read_layout)
        else:
            self._ends = dict(attention=block.drop_path1, mlp=block.drop_path2)
            self.mlp = block.mlp
            block.norm1.register_forward_pre_hook(self._read_layout)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes over: nothing of the forward pass under way."""
        return dict(self.__dict__, _inputs={})

    def _read_layout(self, _module: nn.Module, args: tuple) -> None:
        """Swin tells the size of the map in each call; for a plain ViT, its encoder does."""
        if args[0].ndim == 4:
            self.hw = (args[0].shape[1], args[0].shape[2])
        elif len(args) > 1:
            self.hw = tuple(args[1])
        elif hasattr(self.block, 'token_layout'):
            self.hw, self.num_prefix = self.block.token_layout

    def _keep_input(self, branch: Branch, _module: nn.Module, args: tuple) -> None:
        self._inputs[branch] = args[0]

    def _keep_normed(self, branch: Branch, _module: nn.Module, _args: tuple, out: Tensor) -> None:
        self._inputs[branch] = out

    def _norm(self, branch: Branch) -> nn.Module:
        return self.block.norm1 if branch == 'attention' else self.block.norm2

    def add_after(self, branch: Branch, addition: Addition) -> None:
        """Adds ``addition(x)`` to x, the residual sum behind a branch."""
        if branch == 'mlp':
            self.block.register_forward_hook(partial(self._add, addition))
            return
        self._norm(branch).register_forward_pre_hook(partial(self._keep_input, branch))
        self._ends[branch].register_forward_hook(partial(self._add_to_sum, branch, addition))

    def add_beside(self, branch: Branch, addition: Addition, *, normed: bool) -> None:
        """Adds ``addition(x)`` to a branch's output, x being its input.

        Args:
            branch: which.
            addition: what.
            normed: x is taken after the layer norm, not before.
        """
        norm = self._norm(branch)
        if normed:
            norm.register_forward_hook(partial(self._keep_normed, branch))
        else:
            norm.register_forward_pre_hook(partial(self._keep_input, branch))
        self._ends[branch].register_forward_hook(partial(self._add_beside, branch, addition))

    def add_to_mlp_output(self, addition: Addition) -> None:
        """Adds ``addition(x)`` to x, the output of the MLP before layer scale and residual."""
        self.mlp.register_forward_hook(partial(self._add, addition))

    def _add(self, addition: Addition, _module: nn.Module, _args: tuple, out: Tensor) -> Tensor:
        return out + addition(out, self)

    def _add_to_sum(
        self, branch: Branch, addition: Addition, _module: nn.Module, _args: tuple, out: Tensor
    ) -> Tensor:
        return out + addition(self._inputs.pop(branch) + out, self)

    def _add_beside(
        self, branch: Branch, addition: Addition, _module: nn.Module, _args: tuple, out: Tensor
    ) -> Tensor:
        return out + addition(self._inputs.pop(branch), self).view_as(out)

    def on_map(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Applies a function of maps ``(B, C, H, W)`` to tokens; prefix tokens give zeros.

        Args:
            x: ``(B, num_prefix + H * W, C)`` or ``(B, H, W, C)``.
            function: keeps the size, may change the channels.
        """
        if x.ndim == 4:
            return function(map_of(x)).movedim(1, -1)
        grid = map_of(x[:, self.num_prefix :].unflatten(1, self.hw))
        out = function(grid).movedim(1, -1).flatten(1, 2)  # (B, H*W, C)
        if not self.num_prefix:
            return out
        zeros = out.new_zeros(out.shape[0], self.num_prefix, out.shape[2])
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
