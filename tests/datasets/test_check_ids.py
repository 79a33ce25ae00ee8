"""Ids that the check lets pass are counted right by the evaluation, and the others are not."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from coco_files import CLASSES, coco_content, write_coco

from vitadapter_dense.datasets import DatasetError, check_coco_annotations
from vitadapter_dense.datasets.check_ids import find_unusable_ids

BOXES = [[10, 10, 40, 30], [20, 30, 50, 40]]
GOOD = [(5, -1), (0.5, 3), (2**53, 2**53 + 1), (2**62, -(2**63))]
# refused for images and categories, for annotations
BAD_KEYS = [(1, 'b'), ('1', 2), (None, 1), (float('nan'), 1), (2**53 + 1, 0.5), ('a\0', 'a')]
BAD_ANNOTATIONS = [(0, 1), (1, 0.0), ('a', 'b'), (None, 'b'), (False, 2)]


def content_with(what: str, ids: tuple) -> dict[str, Any]:
    """Two images with one object each, of two categories; images, categories or annotations have
    these ids."""
    content = coco_content(BOXES)
    for item, identity in zip(content[what], ids, strict=True):
        item['id'] = identity
    key = dict(images='image_id', categories='category_id').get(what)
    for annotation, identity in zip(content['annotations'], ids, strict=True):
        if key:
            annotation[key] = identity
    return content


def average_precisions(content: dict[str, Any], folder: Path, *, metric: str) -> list[float]:
    """Of both objects found, then of each of them alone."""
    pytest.importorskip('mmdet')
    import torch
    from mmdet.datasets import CocoDataset
    from mmdet.evaluation import CocoMetric

    file = folder / 'a.json'
    file.write_text(json.dumps(content))
    options = dict(metainfo=dict(classes=CLASSES), data_prefix=dict(img=''), pipeline=[])
    options.update(serialize_data=False)  # which collects all garbage of the process
    dataset = CocoDataset(ann_file=str(file), **options)
    found = []
    for shown in ((0, 1), (0,), (1,)):
        evaluator = CocoMetric(ann_file=str(file), metric=metric)
        evaluator.dataset_meta = dataset.metainfo
        for index, item in enumerate(dataset):
            here = int(index in shown)
            x, y, w, h = BOXES[index]
            mask = torch.zeros(here, 80, 100, dtype=torch.bool)
            mask[:, y : y + h, x : x + w] = True
            prediction = dict(
                bboxes=torch.tensor([[x, y, x + w, y + h]] * here, dtype=torch.float).view(-1, 4),
                scores=torch.ones(here),
                labels=torch.tensor([item['instances'][0]['bbox_label']] * here, dtype=torch.long),
                masks=mask,
            )
            sample = dict(img_id=item['img_id'], ori_shape=(80, 100), pred_instances=prediction)
            evaluator.process({}, [sample])
        with contextlib.redirect_stdout(io.StringIO()):
            found.append(evaluator.compute_metrics(evaluator.results)[f'{metric}_mAP'])
    return found


@pytest.mark.slow
@pytest.mark.parametrize('metric', ['bbox', 'segm'])
@pytest.mark.parametrize('what', ['images', 'categories', 'annotations'])
def test_what_passes_is_evaluated_right(what, metric, tmp_path) -> None:
    texts = [] if what == 'annotations' else [('2', 'a')]
    for ids in (*GOOD, *texts):
        content = content_with(what, ids)
        assert find_unusable_ids(content) is None, ids
        assert average_precisions(content, tmp_path, metric=metric) == [1.0, 0.5, 0.5], ids


@pytest.mark.parametrize(
    ('what', 'all_ids'),
    [
        pytest.param('images', BAD_KEYS, marks=pytest.mark.slow),
        pytest.param('categories', BAD_KEYS, marks=pytest.mark.slow),
        ('annotations', BAD_ANNOTATIONS),
    ],
)
def test_what_does_not_pass_breaks_the_evaluation(what, all_ids, tmp_path) -> None:
    for ids in all_ids:
        content = content_with(what, ids)
        found = find_unusable_ids(content)
        assert found, ids
        assert f'Mend: number the {what}' in found or f'Mend: number {what}' in found
        try:
            wrong = average_precisions(content, tmp_path, metric='bbox') != [1.0, 0.5, 0.5]
        except (TypeError, ValueError):
            wrong = True
        assert wrong, ids


def test_a_training_can_use_ids_that_an_evaluation_cannot(tmp_path) -> None:
    write_coco(tmp_path, 'a', content_with('annotations', (0, 1)))
    arguments = (tmp_path / 'a.json', tmp_path / 'a', CLASSES)
    (said,) = check_coco_annotations(*arguments).warnings
    assert said.startswith('annotation id 0 counts as a miss')
    assert 'training can use' in said
    with pytest.raises(DatasetError, match=r'a\.json: annotation id 0 counts as a miss'):
        check_coco_annotations(*arguments, evaluated=True)
