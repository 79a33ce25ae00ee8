"""`TimmStages` on images of any size: the maps have the sizes that their strides say."""

from __future__ import annotations

import pytest
import torch

from vitadapter_dense.encoders import TimmStages

SMALL = {
    'resnet10t': {},
    'convnext_atto': dict(depths=(1, 1, 1, 1), dims=(8, 8, 16, 16)),
    'swin_tiny_patch4_window7_224': dict(embed_dim=12, depths=(1, 2, 1, 1), num_heads=(1, 2, 2, 2)),
    'swinv2_tiny_window8_256': dict(embed_dim=12, depths=(1, 2, 1, 1), num_heads=(1, 2, 2, 2)),
    'pvt_v2_b0': dict(depths=(1, 1, 1, 1)),
    'hieradet_small': {},
}
SLOW = {'hieradet_small', 'swinv2_tiny_window8_256'}


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in SMALL]
)
def test_sizes_of_the_maps(name):
    torch.manual_seed(0)
    model = TimmStages(name, **SMALL[name]).eval()
    assert [level.shape[1] for level in model(torch.zeros(1, 3, 64, 64))] == model.out_channels
    for height, width in ((97, 130), (33, 64)):
        images = torch.randn(1, 3, height, width)
        with torch.no_grad():
            maps = model(images)
            padded = torch.zeros(1, 3, height // 32 * 32 + 32, width // 32 * 32 + 32)
            padded[..., :height, :width] = images
            larger = model(padded[..., : -(-width // 32) * 32])
        for level, whole, stride in zip(maps, larger, model.strides, strict=True):
            size = (-(-height // stride), -(-width // stride))
            assert tuple(level.shape[-2:]) == size
            # what is seen is the image in whole multiples of 32, to the last row
            torch.testing.assert_close(level, whole[..., : size[0], : size[1]])


@pytest.mark.slow
def test_a_model_of_one_size_says_so():
    with torch.device('meta'):
        with pytest.raises(ValueError, match=r'coatnet.*any size.*give img_size=\(H, W\)'):
            TimmStages('coatnet_nano_rw_224')
        model = TimmStages('coatnet_nano_rw_224', img_size=(96, 128))
        assert model(torch.empty(2, 3, 96, 128))[0].shape[-2:] == (24, 32)
        with pytest.raises(ValueError, match=r'224 x 224 pixels.*img_size=\(96, 128\)'):
            model(torch.empty(2, 3, 224, 224))


@pytest.mark.slow
def test_whole_windows_and_maps_that_are_not_of_their_stride():
    with torch.device('meta'):
        model = TimmStages('maxvit_tiny_tf_224')  # whole windows of 7 on the coarsest map
        assert model(torch.empty(1, 3, 300, 450))[3].shape[-2:] == (10, 15)
        with pytest.raises(ValueError, match='not stride 4'):
            TimmStages('inception_v3')
