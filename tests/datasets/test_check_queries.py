"""Queries for all objects, and one number of levels in all parts of a detector."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from vitadapter_dense.datasets.check_queries import find_few_queries, find_other_levels
from vitadapter_dense.datasets.coco_summary import CocoSummary

COCO = Path(__file__).resolve().parents[2] / 'configs' / 'coco'


@pytest.mark.parametrize(
    'path', ['panoptic_head.num_queries', 'num_queries', 'rpn_head.num_proposals']
)
def test_fewer_queries_than_objects_are_named(path):
    *part, key = path.split('.')
    model = {part[0]: {key: 20}} if part else {key: 20}
    assert find_few_queries(model, CocoSummary('a.json', most_objects=20)) == []
    (said,) = find_few_queries(model, CocoSummary('a.json', most_objects=21))
    assert f'model.{path} is 20, but a.json has an image with 21 objects' in said
    assert find_few_queries(dict(roi_head={}), CocoSummary('a.json', most_objects=21)) == []


@pytest.mark.parametrize(
    ('name', 'change', 'said'),
    [
        ('dino_vitadapter_s', 'neck.neck.num_outs=5', 'model.neck.neck.num_outs is 5, model.num_f'),
        ('dino_vitadapter_s', 'neck.start_level=0', None),  # four in, four out
        ('dino_vitadapter_s', 'neck.num_pooled=1', 'model.neck.neck.num_outs is 5'),
        ('dino_vitadapter_s_5scale', 'num_feature_levels=4', 'num_feature_levels is 4, model.enc'),
        (
            'deformable_detr_vitadapter_s',
            'decoder.layer_cfg.cross_attn_cfg.num_levels=3',
            'cross_attn_cfg.num_levels is 3. Mend',
        ),
        ('dino_vitadapter_s_5scale', 'neck.in_channels=[384, 384, 384]', 'gives 4 maps, but in_ch'),
        ('htc_pp_vitadapter_l_beit', 'neck.1.in_channels=[1024]', r'model.neck (FPN) is of 1'),
        ('mask_rcnn_vitadapter_s', 'neck.in_channels=[384, 384]', r'[384, 384] of model.neck'),
    ],
)
def test_other_levels_are_named_with_a_mend(name, change, said):
    cfg = Config.fromfile(COCO / f'{name}.py')
    key, value = change.split('=')
    cfg.merge_from_dict({f'model.{key}': eval(value)})
    found = find_other_levels(cfg.model)
    if said is None:
        assert found == []
        return
    (message,) = found
    assert said in message
    assert 'Mend: ' in message
