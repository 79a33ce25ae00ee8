"""Heads with another number of classes or of class weights than the data are found."""

from __future__ import annotations

import re

import pytest

from vitadapter_dense.datasets.check_heads import find_disagreements

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


def test_class_weights_are_as_many_as_outputs() -> None:
    mask2former = dict(num_classes=3, loss_cls=dict(class_weight=[1.0] * 151))
    (said,) = find_disagreements(dict(decode_head=mask2former), CLASSES)
    assert re.match(r'model\.decode_head\.loss_cls\.class_weight has 151 .* give 4 of them', said)
    fcn = dict(num_classes=3, loss_decode=[dict(), dict(class_weight=[1.0] * 2)])
    (said,) = find_disagreements(dict(decode_head=fcn), CLASSES)
    assert 'loss_decode.class_weight has 2 entries, but the head has 3 outputs' in said
    for good in (dict(loss_cls=dict(class_weight=[1.0] * 4)), dict(loss_decode=dict())):
        assert find_disagreements(dict(decode_head=dict(num_classes=3, **good)), CLASSES) == []
