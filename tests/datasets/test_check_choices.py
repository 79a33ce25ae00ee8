"""As many cells as queries, and as many results as are asked for, before torch's `topk` fails."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from vitadapter_dense.datasets.check_choices import find_few_cells, find_few_results
from vitadapter_dense.datasets.coco_summary import CocoSummary
from vitadapter_dense.inference.predictor import build_model_on_meta

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def config(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}.py')


def test_cells_are_those_of_the_maps():
    """Counted on the model's own maps of an image of odd sides."""
    pytest.importorskip('mmdet')
    cfg = config('shapes/dino_vitadapter_xs')
    image = torch.zeros(1, 3, 45, 70, device='meta')
    maps = build_model_on_meta(cfg).eval().extract_feat(image)
    cells = sum(each.shape[2] * each.shape[3] for each in maps)
    summary = CocoSummary('a.json', images=[dict(width=140, height=90), dict(width=99, height=99)])
    steps = [dict(type='mmdet.Resize', scale=(70, 70), keep_ratio=True)]
    cfg.model.num_queries = cells
    assert find_few_cells(cfg.model, steps, summary, name='train') == []
    cfg.model.num_queries = cells + 1
    (said,) = find_few_cells(cfg.model, steps, summary, name='train')
    assert f'num_queries is {cells + 1}, but an image of train becomes 70 x 45' in said
    assert f'num_queries={cells} or fewer' in said


def test_the_smallest_of_all_branches_counts_and_crops_are_left_alone():
    cfg = config('coco/dino_vitadapter_s')
    summary = CocoSummary('a.json', images=[dict(width=640, height=480)])
    steps = cfg.train_dataloader.dataset.pipeline
    assert find_few_cells(cfg.model, steps, summary, name='train') == []
    steps[3].transforms[1][-1].scales[0] = (100, 100)
    (said,) = find_few_cells(cfg.model, steps, summary, name='train')
    assert 'becomes 100 x 75, which is 181 cells at the strides 8, 16, 32, 64' in said
    steps.append(dict(type='RandomCrop', crop_size=(50, 50)))
    assert find_few_cells(cfg.model, steps, summary, name='train') == []


@pytest.mark.parametrize(
    ('name', 'change', 'said'),
    [
        ('shapes/dino_vitadapter_xs', 'test_cfg.max_per_img=201', '201, but 40 queries and 5 cl'),
        ('shapes/dino_vitadapter_xs', 'test_cfg.max_per_img=200', ''),
        ('coco/dino_vitadapter_s', 'num_queries=3', 'max_per_img is 300, but 3 queries and 80'),
        ('shapes/pmt_xs_instance', 'panoptic_head.num_queries=3', 'max_per_image is 20, but 3 q'),
        ('coco/sparse_rcnn_vitadapter_s', 'rpn_head.num_proposals=1', 'rcnn.max_per_img is 300, b'),
    ],
)
def test_more_results_than_there_can_be_are_refused(name, change, said):
    cfg = config(name)
    assert find_few_results(cfg.model) == []
    key, value = change.split('=')
    cfg.merge_from_dict({f'model.{key}': int(value)})
    found = find_few_results(cfg.model)
    assert all(said in message and 'Mend: ' in message for message in found)
    assert len(found) == bool(said)
