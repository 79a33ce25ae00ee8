"""Pre-trained weights and a data preprocessor that do not belong together are told, with both."""

from __future__ import annotations

import pytest

from vitadapter_dense.encoders.image_statistics import find_other_statistics

IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
HALF = dict(mean=[127.5] * 3, std=[127.5] * 3, bgr_to_rgb=True)
CLIP = dict(mean=[122.77, 116.75, 104.09], std=[68.5, 66.63, 70.32], bgr_to_rgb=True)
DEIT = dict(type='TimmViT', model_name='deit_small_patch16_224.fb_in1k', pretrained=True)


def _warnings(backbone: dict, preprocessor: dict | None, *, beside: bool = False) -> list[str]:
    model = dict(type='FasterRCNN', backbone=backbone)
    if beside:
        return find_other_statistics(dict(model=model, data_preprocessor=preprocessor))
    return find_other_statistics(dict(model=dict(model, data_preprocessor=preprocessor)))


@pytest.mark.parametrize(
    ('name', 'right'),
    [
        ('deit_small_patch16_224.fb_in1k', IMAGENET),
        ('vit_small_patch16_384.augreg_in21k_ft_in1k', HALF),
        ('vit_base_patch16_siglip_224', HALF),
        ('eva02_small_patch14_336.mim_in22k_ft_in1k', CLIP),
        ('vit_base_patch16_clip_224.openai', CLIP),
        ('vit_small_patch14_dinov2.lvd142m', IMAGENET),
        ('resnet50', None),
    ],
)
def test_statistics_of_the_encoder_and_no_others(name, right):
    encoder = dict(type='TimmViT', model_name=name, pretrained=True)
    for given in (IMAGENET, HALF, CLIP):
        found = _warnings(dict(type='ViTAdapter', encoder=encoder), given)
        if right is not None:
            assert len(found) == (given is not right)
        for text in found:
            assert name in text
            assert str(given['mean'][0]) in text
    if right is not None:
        assert str(right['mean'][0])[:5] in _warnings(dict(encoder=encoder), None)[0]


@pytest.mark.parametrize(
    'backbone',
    [
        dict(type='ViTAdapter', encoder=DEIT),
        dict(type='PlainViT', encoder=dict(DEIT, pretrained='weights.pth')),
        dict(type='SimplePyramid', encoder=dict(type='CachedEncoder', encoder=DEIT)),
        dict(
            type='TunedBackbone',
            backbone=dict(type='TimmStages', model_name='resnet50.a1_in1k', pretrained=True),
        ),
        dict(type='ResNet', init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')),
    ],
)
def test_wherever_the_weights_are_named(backbone):
    for beside in (False, True):
        assert not _warnings(backbone, IMAGENET, beside=beside)
        assert len(_warnings(backbone, HALF, beside=beside)) == 1


def test_colours_scale_and_no_normalisation():
    assert 'in BGR' in _warnings(dict(DEIT), dict(IMAGENET, bgr_to_rgb=False))[0]
    assert not _warnings(dict(DEIT), dict(IMAGENET, bgr_to_rgb=False, rgb_to_bgr=True))
    unit = dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225], bgr_to_rgb=True)
    assert 'for images of 0 to 1 (they come with 0 to 255)' in _warnings(dict(DEIT), unit)[0]
    assert 'not normalised at all' in _warnings(dict(DEIT), dict(type='DetDataPreprocessor'))[0]
    caffe = dict(type='Pretrained', checkpoint='open-mmlab://detectron2/resnet50_caffe')
    bgr = dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False)
    assert not _warnings(dict(init_cfg=caffe), bgr)
    assert len(_warnings(dict(init_cfg=caffe), dict(bgr, bgr_to_rgb=True))) == 1


def test_random_and_unknown_weights_are_left_alone():
    assert not _warnings(dict(DEIT, pretrained=False), HALF)
    assert not _warnings(dict(DEIT, model_name='no_such_model'), HALF)
