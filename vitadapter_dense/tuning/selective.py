"""Methods that add nothing and choose which pre-trained parameters train.

- ``FullTuning``: all of them.
- ``HeadOnly``: none, the linear probe (on a ``ViTAdapter`` the adapter still trains).
- ``PartialTuning``: the last k blocks (Yosinski et al., https://arxiv.org/abs/1411.1792).
- ``BiasTuning``: the biases (BitFit, Ben Zaken et al., https://arxiv.org/abs/2106.10199).
- ``NormTuning``: scale and shift of the normalisation layers.

There is nothing to fold: what trains is plain weights already, and ``merge`` does nothing.
"""

from __future__ import annotations

import re

from mmengine.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from vitadapter_dense.tuning.base import Tuning
from vitadapter_dense.tuning.blocks import transformer_blocks
from vitadapter_dense.tuning.stages import residual_blocks

_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d)


class _Selective(Tuning):
    """What all methods of this file share: nothing of their own, nothing to fold."""

    mergeable = True

    def merge(self) -> None:
        """Nothing to fold."""


@MODELS.register_module()
class FullTuning(_Selective):
    """Every pre-trained parameter trains."""

    alone = True

    def trainable(self, name: str, parameter: nn.Parameter) -> bool:
        """Always."""
        return True


@MODELS.register_module()
class HeadOnly(_Selective):
    """No pre-trained parameter trains."""

    alone = True


@MODELS.register_module()
class PartialTuning(_Selective):
    """The last blocks train: transformer blocks, or residual blocks of a convolutional backbone.

    With them what is behind them in an encoder for classifiers, as in VPT's code: the final norm,
    of EfficientNet the last convolution.

    Args:
        num_blocks: how many, from the end.
    """

    def __init__(self, num_blocks: int = 1) -> None:
        super().__init__()
        self.num_blocks = num_blocks

    def attach(self, backbone: nn.Module) -> None:
        """Finds the blocks.

        Raises:
            ValueError: the backbone has no known blocks, or not so many.
        """
        blocks = list(transformer_blocks(backbone)) or residual_blocks(backbone)
        if not 1 <= self.num_blocks <= len(blocks):
            raise ValueError(
                f'PartialTuning(num_blocks={self.num_blocks}) on {type(backbone).__name__} with '
                f'{len(blocks)} blocks: give a number from 1 to the number of blocks'
            )
        self.sites = blocks[-self.num_blocks :]
        if getattr(backbone, 'keep_final_norm', False):  # as VPT's code has it
            self.sites += [
                name
                for name in ('norm', 'fc_norm')
                if list(backbone.get_submodule(name).parameters())
            ]
        self.sites += getattr(backbone, 'behind_stages', [])

    def trainable(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether the parameter is of one of the last blocks."""
        return any(name.startswith(f'{site}.') for site in self.sites)


class _ByName(_Selective):
    """Trains the parameters whose names are in ``sites``."""

    what: str

    def select(self, backbone: nn.Module) -> list[str]:
        """Names of the parameters to train."""
        raise NotImplementedError

    def attach(self, backbone: nn.Module) -> None:
        """Finds the parameters.

        Raises:
            ValueError: there is none.
        """
        self.sites = self.select(backbone)
        if not self.sites:
            raise ValueError(f'{type(backbone).__name__} has no {self.what}')

    def trainable(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether the parameter has been selected."""
        return name in self.sites


@MODELS.register_module()
class BiasTuning(_ByName):
    """Every bias of the backbone trains; tables of relative positions are no biases."""

    what = 'parameter called bias'

    def select(self, backbone: nn.Module) -> list[str]:
        """Parameters whose last name ends with ``bias`` (``q_bias`` of BEiT too)."""
        return [name for name, _ in backbone.named_parameters() if re.search(r'bias$', name)]


@MODELS.register_module()
class NormTuning(_ByName):
    """Scale and shift of every normalisation layer train."""

    what = 'normalisation layer with parameters'

    def select(self, backbone: nn.Module) -> list[str]:
        """Parameters of normalisation layers."""
        return [
            f'{name}.{key}'
            for name, module in backbone.named_modules()
            if isinstance(module, _NORMS)
            for key, _ in module.named_parameters(recurse=False)
        ]
