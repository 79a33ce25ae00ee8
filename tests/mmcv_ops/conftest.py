"""mmcv's own Python around the operators of ``mmcv_ops``, whatever mmcv was built with."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

from mmcv_ops import operators
from tests.mmcv_ops import pretend

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


@pytest.fixture(params=['cpu', 'pretended GPU', pytest.param('cuda', marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Where the operators compute; a GPU computes on a stream of its own."""
    if request.param == 'cpu':
        yield torch.device('cpu')
    elif request.param == 'cuda':
        with torch.cuda.stream(torch.cuda.Stream()):
            yield torch.device('cuda')
    else:
        with pretend.PretendGpu():
            yield pretend.GPU
