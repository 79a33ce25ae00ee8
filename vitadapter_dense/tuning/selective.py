"""Methods that add nothing and choose which pre-trained parameters train.

- ``FullTuning``: all of them.
- ``HeadOnly``: none, the linear probe (on a ``ViTAdapter`` the adapter still trains).
- ``PartialTuning``: the last k blocks (Yosinski et al., https://arxiv.org/abs/1411.1792).
- ``BiasTuning``: the biases (BitFit, Ben Zaken et al., https://arxiv.org/abs/2106.10199).
"""

from __future__ import annotations

import re

from mmengine.registry import MODELS
from torch import nn

from vitadapter_dense.tuning.base import Tuning


@MODELS.register_module()
class FullTuning(Tuning):
    """Every pre-trained parameter trains."""

    def trainable(self, name: str, parameter: nn.Parameter) -> bool:
        """Always."""
        return True


@MODELS.register_module()
class HeadOnly(Tuning):
    """No pre-trained parameter trains."""


@MODELS.register_module()
class PartialTuning(Tuning):
    """The last blocks of a plain ViT train.

    Args:
        num_blocks: how many, from the end.
    """

    def __init__(self, num_blocks: int = 1) -> None:
        super().__init__()
        self.num_blocks = num_blocks

    def attach(self, backbone: nn.Module) -> None:
        """Finds the blocks.

        Raises:
            ValueError: the backbone has no ``blocks``, or not so many.
        """
        depth = len(getattr(backbone, 'blocks', ()))
        if not 1 <= self.num_blocks <= depth:
            raise ValueError(
                f'PartialTuning(num_blocks={self.num_blocks}) on {type(backbone).__name__} with '
                f'{depth} blocks: give a number from 1 to the number of blocks'
            )
        self.sites = [f'blocks.{index}' for index in range(depth - self.num_blocks, depth)]

    def trainable(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether the parameter is of one of the last blocks."""
        block = re.match(r'blocks\.\d+', name)
        return block is not None and block.group() in self.sites


@MODELS.register_module()
class BiasTuning(Tuning):
    """Every bias of the backbone trains."""

    def attach(self, backbone: nn.Module) -> None:
        """Finds the biases.

        Raises:
            ValueError: there is none.
        """
        self.sites = [n for n, p in backbone.named_parameters() if self.trainable(n, p)]
        if not self.sites:
            raise ValueError(f'{type(backbone).__name__} has no parameter called bias')

    def trainable(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether the parameter is a bias."""
        return name.rsplit('.', 1)[-1] == 'bias'
