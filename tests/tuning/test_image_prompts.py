"""Prompts in the space of pixels, for backbones of convolutions: maps and boxes stay in place."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip('mmcv.ops', reason='needs the compiled ops of mmcv')

import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from tests.tuning.toys import build

PAD = dict(type='VisualPromptTuning', location='pad', num_tokens=20)
BELOW = dict(type='VisualPromptTuning', location='below', num_tokens=2)
# at stride 4 a value of its first stage sees 21 pixels to each side
SHORT_SIGHTED = dict(
    type='mmdet.ResNet',
    depth=18,
    base_channels=4,
    stem_channels=8,
    num_stages=1,
    strides=(1,),
    dilations=(1,),
    out_indices=(0,),
)
INSIDE = slice(7, -7)  # cells


def both(backbone: dict[str, Any], tuning: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    """A backbone plain and tuned, with the same weights."""
    import mmdet.models  # noqa: F401  (registers)

    plain = MODELS.build(backbone)
    tuned = MODELS.build(dict(type='TunedBackbone', backbone=backbone, tuning=tuning))
    tuned.load_state_dict(plain.state_dict(), strict=False)
    for model in (plain, tuned):  # MMDetection's ResNet returns nothing here
        model.eval()
    return plain, tuned


@torch.no_grad()
@pytest.mark.parametrize('size', [(160, 224), (150, 203), (101, 97)])
def test_maps_of_an_image_in_a_border_are_those_of_the_image(size: tuple[int, int]) -> None:
    plain, tuned = both(SHORT_SIGHTED, PAD)
    images = torch.randn(2, 3, *size)
    (expected,), (found,) = plain(images), tuned(images)
    assert found.shape == expected.shape
    torch.testing.assert_close(
        found[..., INSIDE, INSIDE], expected[..., INSIDE, INSIDE], rtol=1e-4, atol=1e-5
    )
    assert not torch.allclose(found[..., 0, :], expected[..., 0, :], atol=1e-2)
    tuned.tuning.border.rows.add_(1)  # above and below the image
    tuned.tuning.border.columns.zero_()
    (other,) = tuned(images)
    assert torch.equal(other[..., INSIDE, INSIDE], found[..., INSIDE, INSIDE])
    assert not torch.allclose(other[..., 0, 3:-3], found[..., 0, 3:-3])


@torch.no_grad()
def test_boxes_of_a_detector_stay_in_the_images_coordinates() -> None:
    import mmdet.models  # noqa: F401  (registers)

    init_default_scope('mmdet')

    def decoded(backbone: dict[str, Any], images: Tensor, state: Any = None) -> Any:
        torch.manual_seed(0)
        head = dict(
            type='FCOSHead',
            num_classes=2,
            in_channels=4,
            feat_channels=4,
            stacked_convs=0,
            strides=[4],
            regress_ranges=((-1, 1e8),),
        )
        model = MODELS.build(dict(type='FCOS', backbone=backbone, neck=None, bbox_head=head))
        model.eval()
        nn.init.normal_(model.bbox_head.conv_cls.weight)
        nn.init.normal_(model.bbox_head.conv_reg.weight, std=0.1)
        model.load_state_dict(state or model.state_dict(), strict=False)
        scores, boxes, _ = model.bbox_head(model.extract_feat(images))
        hw = scores[0].shape[-2:]
        (priors,) = model.bbox_head.prior_generator.grid_priors([hw], device='cpu')
        distances = boxes[0][0].movedim(0, -1).flatten(0, 1)
        boxes = model.bbox_head.bbox_coder.decode(priors, distances)
        return model, scores[0][0], boxes.unflatten(0, hw)

    images = torch.randn(1, 3, 160, 200)
    plain, scores, boxes = decoded(SHORT_SIGHTED, images)
    tuned = dict(type='TunedBackbone', backbone=SHORT_SIGHTED, tuning=PAD)
    _, others, found = decoded(tuned, images, plain.state_dict())
    assert found.shape == boxes.shape
    inside = slice(8, -8)
    close = dict(rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found[inside, inside], boxes[inside, inside], **close)
    torch.testing.assert_close(
        others[:, inside, inside], scores[:, inside, inside], rtol=1e-3, atol=1e-3
    )


@pytest.mark.slow
@pytest.mark.parametrize('name', ['tf_efficientnet_lite0', 'resnet10t'])
def test_timms_convolutions_take_both(name: str) -> None:
    backbone = dict(type='TimmStages', model_name=name, strides=(8, 32))
    images = torch.randn(1, 3, 70, 45)
    for tuning in (PAD, BELOW):
        plain, tuned = both(backbone, tuning)
        maps = tuned(images)
        assert [m.shape for m in maps] == [m.shape for m in plain(images)]
        maps[1].square().mean().backward()
        assert all(p.grad.abs().sum() > 0 for p in tuned.tuning.parameters())
        trains = {n for n, p in tuned.named_parameters() if p.requires_grad and 'tuning' not in n}
        assert trains == ({f'model.{_stem(name)}.weight'} if tuning is BELOW else set())


def _stem(name: str) -> str:
    return 'conv1.0' if name == 'resnet10t' else 'conv_stem'


def test_channels_below_are_input_channels_of_the_image_convolution() -> None:
    _, tuned = both(dict(SHORT_SIGHTED, norm_eval=True), BELOW)
    conv, extra = tuned.conv1, tuned.tuning.channel_embed
    images = torch.randn(1, 3, 224, 224)
    joined = torch.cat([images, tuned.tuning.channels], dim=1)
    weight = torch.cat([conv.weight, extra.weight], dim=1)
    expected = nn.functional.conv2d(joined, weight, stride=2, padding=3)
    torch.testing.assert_close(conv(images), expected, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_is_said_when_the_model_is_built() -> None:
    with pytest.raises(ValueError, match="there is location='prepend'"):
        build('vit', PAD)
    with pytest.raises(ValueError, match=r'acts on the image: deep=True'):
        build('resnet', dict(PAD, deep=True))
    with pytest.raises(ValueError, match='none that is known'):
        build('resnet', dict(type='VisualPromptTuning'))

    class Grouped(nn.Module):
        """A backbone whose first convolution sees four channels."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(4, 8, 3)

    with pytest.raises(ValueError, match='no convolution that sees its three'):
        MODELS.build(dict(type='TunedBackbone', backbone=Grouped(), tuning=BELOW))


def whole_model(scope: str) -> nn.Module:
    """A small detector or segmentor on a backbone whose image has a border."""
    init_default_scope(scope)
    backbone = dict(
        type='TunedBackbone',
        backbone=dict(type=f'{scope}.ResNet', depth=18, base_channels=4, stem_channels=8),
        tuning=PAD,
    )
    preprocessor = dict(mean=[0.0] * 3, std=[1.0] * 3)
    if scope == 'mmseg':
        backbone['backbone'].update(strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1))
        head = dict(type='FCNHead', in_channels=32, channels=4, num_convs=1, num_classes=3)
        return MODELS.build(
            ConfigDict(
                type='EncoderDecoder',
                data_preprocessor=dict(type='SegDataPreProcessor', size_divisor=32, **preprocessor),
                backbone=backbone,
                decode_head=dict(head, in_index=3),
                test_cfg=dict(mode='whole'),
            )
        )
    head = dict(type='RetinaHead', num_classes=2, in_channels=8, feat_channels=8, stacked_convs=1)
    nms = dict(type='nms', iou_threshold=0.5)
    assigner = dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0)
    return MODELS.build(
        ConfigDict(
            type='RetinaNet',
            data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=32, **preprocessor),
            backbone=backbone,
            neck=dict(type='FPN', in_channels=[4, 8, 16, 32], out_channels=8, num_outs=5),
            bbox_head=dict(
                head,
                anchor_generator=dict(
                    type='AnchorGenerator', ratios=[1.0], scales=[4], strides=[4, 8, 16, 32, 64]
                ),
                bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
                loss_cls=dict(type='FocalLoss', use_sigmoid=True),
            ),
            train_cfg=dict(
                assigner=assigner,
                sampler=dict(type='PseudoSampler'),
                allowed_border=-1,
                pos_weight=-1,
            ),
            test_cfg=dict(nms_pre=100, score_thr=0.0, max_per_img=100, nms=nms),
        )
    )


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_a_whole_model_trains_its_border_and_answers_for_the_image(scope: str) -> None:
    """Labels and answers are in the image's coordinates, of images of two sizes in one batch."""
    import mmseg.models  # noqa: F401  (registers)
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData, PixelData
    from mmseg.structures import SegDataSample

    torch.manual_seed(0)
    model = whole_model(scope)
    sizes, samples = [(70, 90), (64, 50)], []
    for height, width in sizes:
        sample = DetDataSample() if scope == 'mmdet' else SegDataSample()
        shape = dict(img_shape=(height, width), ori_shape=(height, width), scale_factor=(1.0, 1.0))
        sample.set_metainfo(shape)
        if scope == 'mmdet':
            box = torch.tensor([[10.0, 12.0, 30.0, 40.0]])
            sample.gt_instances = InstanceData(bboxes=box, labels=torch.tensor([1]))
        else:
            sample.gt_sem_seg = PixelData(data=torch.randint(0, 3, (1, height, width)))
        samples.append(sample)
    images = [torch.randint(0, 255, (3, *size), dtype=torch.uint8) for size in sizes]
    batch = model.data_preprocessor(dict(inputs=images, data_samples=samples), True)
    loss, _ = model.parse_losses(model.loss(batch['inputs'], batch['data_samples']))
    loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in model.backbone.tuning.parameters())
    with torch.no_grad():
        model.eval()
        found = model.test_step(dict(inputs=images[:1], data_samples=samples[:1]))[0]
        if scope == 'mmseg':
            assert found.pred_sem_seg.data.shape[-2:] == sizes[0]
            return
        boxes = found.pred_instances.bboxes
        assert len(boxes) > 0
        assert (boxes[:, 2:] <= torch.tensor([90.0, 70.0])).all()
        assert (boxes >= 0).all()
