"""`TimmReadOut` gives what timm's own classifier reads, and what is behind the stages can train."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from mmengine.registry import MODELS

from vitadapter_dense import TimmReadOut, TimmStages

SMALL: dict[str, dict[str, Any]] = {
    'swin_tiny_patch4_window7_224': dict(
        img_size=64, window_size=4, embed_dim=12, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 2)
    ),
    'convnext_atto': dict(depths=(1, 1, 1, 1), dims=(8, 8, 16, 16)),
    'efficientnet_lite0': {},
    'resnet10t': {},
}
BEHIND = dict(
    swin_tiny_patch4_window7_224=['model.norm'],
    convnext_atto=['model.head.norm'],
    efficientnet_lite0=['model.conv_head', 'model.bn2'],
    resnet10t=[],
)


@torch.no_grad()
@pytest.mark.parametrize(
    'name',
    [pytest.param(n, marks=[pytest.mark.slow] * (n == 'efficientnet_lite0')) for n in SMALL],
)
def test_the_vector_is_that_of_timms_classifier(name: str) -> None:
    torch.manual_seed(0)
    whole = timm.create_model(name, num_classes=7, **SMALL[name]).eval()
    model = TimmReadOut(name, **SMALL[name]).eval()
    keys = model.model.load_state_dict(whole.state_dict(), strict=False)
    assert not keys.missing_keys
    images = torch.randn(2, 3, 64, 64)
    (vector,) = model(images)
    assert vector.shape == (2, model.embed_dim)
    torch.testing.assert_close(whole.get_classifier()(vector), whole(images))
    assert model.behind_stages == BEHIND[name]


def test_methods_that_act_on_outputs_take_the_vector_as_one_cell() -> None:
    kind = dict(model_name='convnext_atto', **SMALL['convnext_atto'])
    for method in ('SideTuning', 'PartialTuning'):
        torch.manual_seed(0)
        backbone = dict(type='TimmReadOut', **kind)
        model = MODELS.build(
            dict(type='TunedBackbone', backbone=backbone, tuning=dict(type=method))
        )
        (vector,) = model.train()(torch.randn(2, 3, 64, 96))
        assert vector.shape == (2, 16)
        vector.square().sum().backward()
        trains = {name: p for name, p in model.named_parameters() if p.requires_grad}
        assert [name for name, p in trains.items() if p.grad is None] == []
        assert ('model.head.norm.weight' in trains) == (method == 'PartialTuning')


def test_a_side_network_is_as_deep_as_its_map() -> None:
    """Of maps of stride 32 alone it once was as deep as those of stride 4."""
    for strides, levels in (((32,), 4), ((4, 8), 2)):
        stages = TimmStages('convnext_atto', strides=strides, **SMALL['convnext_atto'])
        tuned = MODELS.build(
            dict(type='TunedBackbone', backbone=stages, tuning=dict(type='SideTuning', width=4))
        )
        assert len(tuned.tuning.levels) == levels
