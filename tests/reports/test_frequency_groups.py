"""Results of classes by how often they occur in training: groups, counts, and who gets them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config

from vitadapter_dense import ClassAccuracy, FrequencyGroupsHook
from vitadapter_dense.datasets import DatasetError
from vitadapter_dense.datasets.class_frequency import training_images
from vitadapter_dense.reports.frequency_groups import FREQUENCIES, SHOTS, group_means


def coco_config(folder: Path, counts: dict[str, int]) -> Config:
    """A training set with so many images of each class, two objects of it on each."""
    names, images, objects = list(counts), [], []
    for category, count in enumerate(counts.values()):
        for _ in range(count):
            number = len(images)
            images.append(dict(id=number, file_name=f'{number}.jpg', width=9, height=9))
            objects += 2 * [dict(image_id=number, category_id=category, bbox=[0, 0, 3, 3])]
    content = dict(images=images, annotations=objects)
    content['categories'] = [dict(id=n, name=name) for n, name in enumerate(names)]
    (folder / 'train.json').write_text(json.dumps(content))
    leaf = dict(type='CocoDataset', data_root=str(folder), ann_file='train.json')
    leaf['metainfo'] = dict(classes=tuple(names))
    repeated = dict(type='RepeatDataset', times=3, dataset=leaf)
    return Config(dict(train_dataloader=dict(dataset=repeated)))


def test_groups_hold_the_classes_that_their_papers_say() -> None:
    counts = [500, 101, 100, 20, 19, 11, 10, 0, 300]
    values = [0.9, 0.7, 0.6, 0.4, 0.5, 0.3, 0.2, 0.0, float('nan')]
    shots = group_means(values, counts, SHOTS)
    assert shots == pytest.approx(dict(many=0.8, medium=0.5, few=0.25))
    frequencies = group_means(values, counts, FREQUENCIES)
    assert frequencies == pytest.approx(dict(frequent=0.8, common=0.45, rare=0.1))
    assert group_means([0.5], [3], SHOTS) == dict(few=0.5)


def test_accuracy_of_shot_groups_is_a_mean_over_classes() -> None:
    metric = ClassAccuracy(among=(0, 1, 3))
    metric.set_counts([200, 150, 9, 5])
    right = {0: 4, 1: 1, 3: 0}  # of four images each
    for label, count in right.items():
        for number in range(4):
            scores = torch.zeros(4)
            scores[label if number < count else (label + 1) % 4 or 1] = 1
            metric.process(None, [dict(gt_label=torch.tensor([label]), pred_score=scores)])
    found = metric.evaluate(12)
    assert found['accuracy/many'] == pytest.approx(100 * (1 + 0.25) / 2)
    assert found['accuracy/few'] == 0
    assert 'accuracy/medium' not in found


class Evaluation:
    """A COCO metric that evaluates nothing but hands the hook's listener what it would find."""

    def compute_metrics(self, results: list) -> dict[str, float]:
        return {}


def runner_of(cfg: Config, classes: tuple[str, ...]) -> Any:
    loader = SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=classes)))
    evaluator = SimpleNamespace(metrics=[Evaluation()])
    return SimpleNamespace(cfg=cfg, test_dataloader=loader, test_evaluator=evaluator)


def test_ap_of_categories_by_their_training_images(tmp_path: Path) -> None:
    cfg = coco_config(tmp_path, dict(cat=120, dog=15, fox=2, owl=1))
    assert training_images(cfg) == dict(cat=120, dog=15, fox=2, owl=1)
    hook = FrequencyGroupsHook()
    hook.before_test(runner_of(cfg, ('owl', 'cat', 'dog', 'fox')))
    hook._precisions.classes = ('owl', 'cat', 'dog', 'fox')  # of the evaluation, in its order
    hook._precisions.values = {'box AP': [0.1, 0.8, 0.5, 0.3], 'box AP50': [1.0] * 4}
    metrics = {'coco/bbox_mAP': np.mean([0.1, 0.8, 0.5, 0.3])}
    hook.after_test_epoch(None, metrics)
    assert {name: value for name, value in metrics.items() if name != 'coco/bbox_mAP'} == {
        'coco/bbox_mAP_frequent': pytest.approx(0.8),
        'coco/bbox_mAP_common': pytest.approx(0.5),
        'coco/bbox_mAP_rare': pytest.approx(0.2),
    }


def test_what_cannot_be_grouped_is_said_before_the_first_image(tmp_path: Path) -> None:
    cfg = coco_config(tmp_path, dict(cat=2))
    with pytest.raises(DatasetError, match='no class that is evaluated is in the training set'):
        FrequencyGroupsHook().before_test(runner_of(cfg, ('dog',)))
    with pytest.raises(DatasetError, match='has no train_dataloader. Mend: name it'):
        training_images(Config(dict(train_dataloader=None)))
    maps = dict(type='ADE20KDataset', data_prefix=dict(img_path='a', seg_map_path='b'))
    with pytest.raises(DatasetError, match='ADE20KDataset has neither a label an image nor'):
        training_images(Config(dict(train_dataloader=dict(dataset=maps))))
    (tmp_path / 'train.json').write_text('[]')
    with pytest.raises(DatasetError, match=r'train\.json is no COCO file that can be counted'):
        training_images(cfg)
