"""Which models have feature maps to draw."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from vitadapter_dense.inference.feature_maps import feature_maps


@pytest.mark.parametrize('kind', [dict(type='OpenViT', open_blocks=1), dict(type='TokenReadOut')])
def test_a_backbone_without_maps_is_named(kind):
    encoder = dict(type='TimmViT', model_name='deit_tiny_patch16_224', embed_dim=24, depth=2)
    model = nn.Module()
    model.backbone = MODELS.build(dict(kind, encoder=dict(encoder, num_heads=3)))
    batch = dict(
        inputs=torch.zeros(1, 3, 32, 32), data_samples=[SimpleNamespace(img_shape=(32,) * 2)]
    )
    model.data_preprocessor = lambda data, training: batch
    predictor = SimpleNamespace(model=model, prepare_array=lambda image: image)
    with pytest.raises(ValueError, match=f'{kind["type"]} gives no maps'):
        feature_maps(predictor, np.zeros((32, 32, 3), np.uint8))
