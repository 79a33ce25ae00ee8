"""Batch norms with a built-in activation keep it when they are converted."""

from __future__ import annotations

import pytest
import torch
from mmengine.model import convert_sync_batchnorm, revert_sync_batchnorm
from timm.layers import BatchNormAct2d
from torch import nn

from vitadapter_dense.encoders import TimmStages


@pytest.mark.parametrize(
    'convert', [convert_sync_batchnorm, nn.SyncBatchNorm.convert_sync_batchnorm]
)
def test_conversion_to_synchronised_batch_norms_loses_no_activation(convert):
    model = TimmStages('regnetx_002', depth=8, w0=16, wa=16.0, wm=2.0).eval()
    assert any(isinstance(module, BatchNormAct2d) for module in model.modules())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(images)
        names = list(model.state_dict())
        for change in (convert, revert_sync_batchnorm, convert):
            model = change(model).train().eval()
            assert list(model.state_dict()) == names
            torch.testing.assert_close(model(images), expected)
    assert any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())
