"""Lets mmcv's ``MultiScaleDeformableAttention`` compute with our kernels.

That is the attention in the pixel decoder of Mask2Former and in the encoders of Deformable DETR and
DINO. mmcv's module stays, with its weights and its arithmetic up to the sampling; only the two
functions that it calls for the sampling are replaced, which mmcv looks up in its module by name. It
is opt-in: call :func:`replace_mmcv_ops`, or name the module ``msda.use_in_mmcv`` among the
``custom_imports`` of a config.
"""

from __future__ import annotations

from types import ModuleType, TracebackType
from typing import Any

import torch
from torch import Tensor

from msda.functional import ms_deform_attn

_REPLACED = ('multi_scale_deformable_attn_pytorch', 'MultiScaleDeformableAttnFunction')
_KEPT = '_replaced_by_msda'


def _attend(
    value: Tensor, spatial_shapes: Tensor, sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    wide = torch.float64 if value.dtype == torch.float64 else torch.float32
    shapes = [(height, width) for height, width in spatial_shapes.tolist()]
    return ms_deform_attn(
        value, shapes, sampling_locations.to(wide), attention_weights.to(value.dtype)
    )


class _Function:
    """Stands in for mmcv's autograd function."""

    @staticmethod
    def apply(
        value: Tensor,
        spatial_shapes: Tensor,
        level_start_index: Tensor,
        sampling_locations: Tensor,
        attention_weights: Tensor,
        im2col_step: Any = None,
    ) -> Tensor:
        return _attend(value, spatial_shapes, sampling_locations, attention_weights)


class MmcvReplacement:
    """A replacement in effect. ``restore()``, or the end of a ``with`` block, undoes it.

    Where there are several (a config's and a ``with`` block's, say), mmcv has its own functions
    again once all of them are undone, in whatever order.
    """

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._active = True
        # kept beside what they stand for, so that every replacement finds them
        if not hasattr(module, _KEPT):
            originals = {name: getattr(module, name) for name in _REPLACED}
            setattr(module, _KEPT, {'count': 0, 'originals': originals})
            module.multi_scale_deformable_attn_pytorch = _attend
            module.MultiScaleDeformableAttnFunction = _Function
        getattr(module, _KEPT)['count'] += 1

    def restore(self) -> None:
        """Gives mmcv its own functions back. A second call does nothing."""
        if not self._active:
            return
        self._active = False
        kept = getattr(self._module, _KEPT)
        kept['count'] -= 1
        if kept['count'] == 0:
            for name, original in kept['originals'].items():
                setattr(self._module, name, original)
            delattr(self._module, _KEPT)

    def __enter__(self) -> MmcvReplacement:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.restore()


def replace_mmcv_ops() -> MmcvReplacement:
    """Makes mmcv's ``MultiScaleDeformableAttention`` compute with our kernels, in this process.

    Returns:
        What undoes it: ``replacement.restore()``, or ``with replace_mmcv_ops(): ...``.

    Raises:
        ImportError: mmcv is not installed, or its version names the functions differently.
    """
    from mmcv.ops import multi_scale_deform_attn as module

    missing = [name for name in _REPLACED if not hasattr(module, name)]
    if missing:
        raise ImportError(f'{module.__file__} has no {" and no ".join(missing)} to replace')
    return MmcvReplacement(module)
