"""Heads with another number of classes or of class weights than the data are found."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from vitadapter_dense.datasets.check_heads import (
    find_disagreements,
    find_other_depths,
)
from vitadapter_dense.datasets.check_losses import doubtful_losses

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ('ground', 'dark', 'light')


@pytest.mark.parametrize(
    ('path', 'heads'),
    [
        ('decode_head', dict(decode_head=dict(num_classes=150))),
        ('auxiliary_head.1', dict(auxiliary_head=[dict(num_classes=n) for n in (3, 150)])),
        ('roi_head.bbox_head', dict(roi_head=dict(bbox_head=dict(num_classes=150)))),
        ('roi_head.mask_head.0', dict(roi_head=dict(mask_head=[dict(num_classes=150)]))),
    ],
)
def test_head_with_another_number_is_named(path, heads) -> None:
    agreeing = dict(
        decode_head=dict(num_classes=3), roi_head=dict(semantic_head=dict(num_classes=9))
    )
    assert find_disagreements(agreeing, CLASSES) == []
    (said,) = find_disagreements({**agreeing, **heads}, CLASSES)
    assert said.startswith(f'model.{path}.num_classes is 150, but the data set has 3 classes (gro')
    assert 'Mend: set num_classes=3' in said


def test_every_head_of_our_detectors_is_compared() -> None:
    """Told by another number in one place after the other, wherever a config has `num_classes`."""
    for name, number in (('cascade_mask_rcnn_r50_full', 4), ('htc_vitadapter_s', 6)):
        model = Config.fromfile(ROOT / 'configs' / 'coco' / f'{name}.py').model
        classes = [f'c{index}' for index in range(80)]
        options = dict(things=80, scope='mmdet')
        assert find_disagreements(model, classes, **options) == []
        heads = [*model.roi_head.bbox_head]
        masks = model.roi_head.mask_head
        heads += masks if isinstance(masks, list) else [masks]
        assert len(heads) == number
        for head in heads:
            head.num_classes = 81
            (said,) = find_disagreements(model, classes, **options)
            assert '.num_classes is 81, but the data set has 80 classes' in said
            head.num_classes = 80
        assert len(find_disagreements(model, classes[:7], **options)) == number


@pytest.mark.parametrize(
    ('heads', 'said'),
    [
        (dict(rpn_head=dict(num_classes=1)), None),
        (dict(roi_head=dict(semantic_head=dict(num_classes=183))), None),
        (dict(roi_head=dict(mask_head=dict(num_classes=80, class_agnostic=True))), None),
        (dict(roi_head=dict(mask_iou_head=dict(num_classes=80))), 'mask_iou_head.num_classes is'),
        (dict(panoptic_head=dict(num_things_classes=3, num_stuff_classes=0)), None),
        (dict(panoptic_head=dict(num_things_classes=2, num_stuff_classes=1)), 'set num_things_cl'),
        (dict(panoptic_fusion_head=dict(num_things_classes=3, num_stuff_classes=53)), '56.* sum 3'),
        (
            dict(bbox_head=dict(num_classes=3, loss_cls=dict(class_weight=[1.0] * 3))),
            "give 4 of them .one for each class, and one for 'no object'",
        ),
        (
            dict(
                bbox_head=dict(
                    num_classes=3, loss_cls=dict(use_sigmoid=True, class_weight=[1.0] * 3)
                )
            ),
            None,
        ),
        (
            dict(bbox_head=dict(num_classes=3, loss_cls=dict(type='SeesawLoss', num_classes=1203))),
            'loss_cls.num_classes is 1203',
        ),
    ],
)
def test_heads_of_detectors(heads, said) -> None:
    found = find_disagreements(heads, CLASSES, things=3)
    assert bool(found) == bool(said)
    assert not said or re.search(said, found[0])


def test_a_head_that_says_no_number_has_its_types_default() -> None:
    pytest.importorskip('mmdet')
    heads = dict(roi_head=dict(bbox_head=dict(type='Shared2FCBBoxHead')))
    (said,) = find_disagreements(heads, CLASSES, scope='mmdet')
    assert 'bbox_head.num_classes is 80' in said
    assert find_disagreements(heads, ['c'] * 80, scope='mmdet') == []


def test_class_weights_are_as_many_as_outputs() -> None:
    mask2former = dict(num_classes=3, loss_cls=dict(class_weight=[1.0] * 151))
    (said,) = find_disagreements(dict(decode_head=mask2former), CLASSES)
    assert re.match(r'model\.decode_head\.loss_cls\.class_weight has 151 .* give 4 of them', said)
    fcn = dict(num_classes=3, loss_decode=[dict(), dict(class_weight=[1.0] * 2)])
    (said,) = find_disagreements(dict(decode_head=fcn), CLASSES)
    assert 'loss_decode.class_weight has 2 entries, but the head has 3 outputs' in said
    for good in (dict(loss_cls=dict(class_weight=[1.0] * 4)), dict(loss_decode=dict())):
        assert find_disagreements(dict(decode_head=dict(num_classes=3, **good)), CLASSES) == []


def segmentor(loss, **head):
    return dict(decode_head=dict(type='FCNHead', num_classes=3, loss_decode=loss, **head))


WEIGHTED = dict(type='CrossEntropyLoss', class_weight=[0.25, 1.0, 1.0])
BROKEN = {
    'IndexError': dict(WEIGHTED, avg_non_ignore=True),
    'RuntimeError': dict(WEIGHTED, use_sigmoid=True),
    'TypeError': dict(type='OhemCrossEntropy'),
}
SOUND = [
    WEIGHTED,
    dict(type='CrossEntropyLoss', avg_non_ignore=True),
    dict(WEIGHTED, type='PixelCrossEntropyLoss', avg_non_ignore=True),
    dict(type='DiceLoss', use_sigmoid=False),
    dict(type='LovaszLoss', reduction='none'),
]
PER_IMAGE = dict(type='LovaszLoss', per_image=True)
SIGMOID = dict(type='CrossEntropyLoss', use_sigmoid=True)


def test_losses_that_end_at_the_first_ignored_pixel_are_found() -> None:
    pytest.importorskip('mmcv.ops', reason='needs mmcv')
    init_default_scope('mmdet')  # whatever was last
    for error, loss in BROKEN.items():
        (said,) = find_disagreements(segmentor([dict(SOUND[0]), loss]), CLASSES)
        assert f'model.decode_head.loss_decode.1 ({loss["type"]}) cannot be computed' in said
        assert error in said
        assert "type='PixelCrossEntropyLoss'" in said
    assert find_disagreements(segmentor(SOUND), CLASSES) == []
    broken = segmentor(BROKEN['IndexError'])
    assert find_disagreements(broken, CLASSES, trains=False) == []  # an evaluation has no loss
    own_way = dict(type='PIDHead', num_classes=3, loss_decode=[BROKEN['TypeError']])
    assert find_disagreements(dict(decode_head=own_way), CLASSES) == []


def test_losses_that_do_not_ignore_or_that_need_labels_are_doubted() -> None:
    pytest.importorskip('mmcv.ops', reason='needs mmcv')
    doubts = (
        'loss_decode.3 (DiceLoss) does not ignore ignored pixels',
        'loss_decode.4 (LovaszLoss) is not finite for a batch without any label',
        'loss_decode (LovaszLoss) cannot be computed for an image without any label',
        'loss_decode (CrossEntropyLoss) cannot be computed for a batch without any label',
    )
    said = [line for loss in (SOUND, PER_IMAGE) for line in doubtful_losses(segmentor(loss))]
    said += doubtful_losses(segmentor(SIGMOID, out_channels=1))
    assert len(said) == len(doubts)
    for line, doubt in zip(said, doubts):
        assert doubt in line


def test_a_segmentor_of_one_class_is_refused_and_a_detector_is_not() -> None:
    head = dict(num_classes=1, out_channels=1)
    (said,) = find_disagreements(dict(decode_head=head), ('crack',), trains=False)
    assert "metainfo.classes=('background', 'crack')" in said
    assert find_disagreements(dict(bbox_head=dict(num_classes=1)), ('crack',)) == []


def test_padding_is_what_the_heads_ignore() -> None:
    (said,) = find_disagreements(dict(decode_head=dict(num_classes=3, ignore_index=0)), CLASSES)
    assert 'ignore_index is 0, but label maps are padded with 255' in said
    padded = dict(data_preprocessor=dict(seg_pad_val=0))
    head = dict(num_classes=3, ignore_index=0)
    assert find_disagreements(dict(decode_head=head, **padded), CLASSES) == []


@pytest.mark.parametrize(
    ('name', 'change', 'said'),
    [
        (
            'pmt_s_dinov3_frozen',
            'model.backbone.out_indices=[2, 11]',
            r'\[2, 11\] gives 2 maps.* takes 4',
        ),
        ('eomt_s_dinov3', 'model.backbone.open_blocks=4', 'open_blocks is 4.*num_blocks is 3'),
    ],
)
def test_decoder_for_other_depths_is_named(name, change, said) -> None:
    for path in (f'ade20k/{name}', f'coco/{name}_instance'):
        cfg = Config.fromfile(ROOT / 'configs' / f'{path}.py')
        assert find_other_depths(cfg.model) == []
        key, value = change.split('=')
        cfg.merge_from_dict({key: ast.literal_eval(value)})
        (message,) = find_other_depths(cfg.model)
        assert re.search(said, message)
