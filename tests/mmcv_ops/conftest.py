"""mmcv's own Python around the operators of ``mmcv_ops``, whatever mmcv was built with."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from mmcv_ops import operators

_WRAPPERS = (
    'bbox',
    'carafe',
    'deform_conv',
    'focal_loss',
    'masked_conv',
    'modulated_deform_conv',
    'nms',
    'psa_mask',
    'roi_align',
    'roi_pool',
)


@pytest.fixture
def ops(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``mmcv.ops`` that calls the operators of this project."""
    mmcv_ops = pytest.importorskip('mmcv.ops')
    stand_in = ModuleType('mmcv._ext')
    operators.fill(stand_in)
    for name in _WRAPPERS:
        monkeypatch.setattr(importlib.import_module(f'mmcv.ops.{name}'), 'ext_module', stand_in)
    return mmcv_ops
