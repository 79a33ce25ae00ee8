"""Tuned backbones are saved whole, and two passes at a time know nothing of each other."""

from __future__ import annotations

import io

import pytest

pytest.importorskip('mmcv.ops', reason='needs mmcv')

import torch
from torch import Tensor, nn

from tests.tuning.toys import BACKBONES, IN_BLOCKS, METHODS, build, disturbed_pass, images

FAST = [('mona', 'vit'), ('side', 'vitadapter'), ('vpt', 'timm_swin'), ('lora', 'resnet')]
PAIRS = {
    *((method, backbone) for method in METHODS for backbone in ('vit', 'timm_swin')),
    ('vpt_pad', 'resnet'),
    *((method, 'swin') for method in IN_BLOCKS),
    *(('lora', backbone) for backbone in BACKBONES),
    *FAST,
} - {('vpt_pad', 'vit'), ('vpt_pad', 'timm_swin')}  # for convolutional backbones


def outputs(model: nn.Module) -> list[Tensor]:
    with torch.no_grad():
        return list(model(images()))


def assert_same(one: list[Tensor], other: list[Tensor]) -> None:
    for a, b in zip(one, other, strict=True):
        # kernels sum in another order where the memory is aligned otherwise
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ('method', 'backbone'),
    [pytest.param(*pair, marks=[pytest.mark.slow] * (pair not in FAST)) for pair in sorted(PAIRS)],
)
def test_saved_whole_and_disturbed(method, backbone):
    model = build(backbone, METHODS[method]).eval()
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.tuning.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    expected = outputs(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert type(loaded) is type(model)
    assert_same(outputs(loaded), expected)
    own = list(loaded.tuning.parameters())
    with torch.no_grad():
        for parameter in own:
            parameter.add_(torch.randn_like(parameter))
    assert any((a - b).abs().max() > 1e-3 for a, b in zip(outputs(loaded), expected)) == bool(own)
    assert_same(outputs(model), expected)
    assert_same(disturbed_pass(model), expected)
