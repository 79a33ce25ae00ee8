"""Multi-scale deformable attention for PyTorch, useful on its own: it needs nothing but torch.

    from msda import MSDeformAttn, ms_deform_attn, ms_deform_attn_fused

The operators live in the ``msda`` namespace (``torch.ops.msda``). Without compiled kernels the
PyTorch reference serves: slower, never broken. :func:`backend` tells which one is in use.
"""

from __future__ import annotations

import torch

from msda.functional import ms_deform_attn, ms_deform_attn_fused
from msda.kernels import Backend, kernels
from msda.module import MSDeformAttn

__all__ = [
    'Backend',
    'MSDeformAttn',
    'backend',
    'ms_deform_attn',
    'ms_deform_attn_fused',
]


def backend(device: str | torch.device = 'cpu') -> Backend:
    """What serves the operators on a device: compiled kernels or the reference, and why."""
    return kernels.backend(device)
