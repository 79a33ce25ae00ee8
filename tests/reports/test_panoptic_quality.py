"""PQ, SQ and RQ: by hand, against a plain loop over pixels, and as a metric on files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vitadapter_dense.datasets import DatasetError
from vitadapter_dense.datasets.panoptic_files import encode_panoptic
from vitadapter_dense.reports.panoptic_metric import PanopticQuality
from vitadapter_dense.reports.panoptic_quality import (
    TrueSegment,
    class_qualities,
    count_image,
    mean_quality,
)

VOID = 0


def rows(*lines: str) -> np.ndarray:
    """A map of single digits."""
    return np.array([[int(digit) for digit in line] for line in lines])


def counts_of(truth, true_segments, found, found_segments, num_classes=2) -> list[list[float]]:
    named = {key: TrueSegment(*value) for key, value in true_segments.items()}
    return count_image(truth, named, found, found_segments, num_classes=num_classes).tolist()


def test_by_hand() -> None:
    """Class 0: IoUs of 3/5 and of exactly a half, which is no match; class 1: a perfect one."""
    truth = rows('1111222233')
    found = rows('0111122333')
    true_segments = {1: (0,), 2: (0,), 3: (1,)}
    counts = counts_of(truth, true_segments, found, {1: 0, 2: 0, 3: 1})
    assert counts[0] == [pytest.approx(3 / 5), 1, 1, 1]  # 2: 2 of 4 in common
    assert counts[1] == [pytest.approx(2 / 3), 1, 0, 0]
    first, second = class_qualities(np.array(counts))
    assert (first.sq, first.rq) == (pytest.approx(0.6), pytest.approx(0.5))
    assert first.pq == pytest.approx(0.3)
    assert second.pq == pytest.approx(2 / 3)
    mean = mean_quality([first, second, None])
    assert (mean.pq, mean.classes) == (pytest.approx((0.3 + 2 / 3) / 2), 2)
    assert mean_quality([None]) is None


def test_void_and_crowds_by_hand() -> None:
    """What lies on void leaves a union; what lies mostly on void or an own crowd is no mistake."""
    truth = rows('0000111122', '3333330000')
    true_segments = {1: (0,), 2: (1,), 3: (0, True)}
    # 4: half of it on void, the other half is all of 1 -> a perfect match
    # 5: 5 of 6 pixels on the crowd of its class -> ignored; as class 1 it would be wrong
    # 6: 4 pixels of void -> ignored
    found = rows('4444444422', '5555556666')
    assert counts_of(truth, true_segments, found, {4: 0, 2: 1, 5: 0, 6: 1}) == [
        [1, 1, 0, 0],
        [1, 1, 0, 0],
    ]
    assert counts_of(truth, true_segments, found, {4: 0, 2: 1, 5: 1, 6: 1})[1] == [1, 1, 1, 0]
    # exactly half on void counts, one pixel more does not
    truth, found = rows('0011'), rows('5555')
    assert counts_of(truth, {1: (1,)}, found, {5: 0})[0] == [0, 0, 1, 0]
    assert counts_of(rows('0001'), {1: (1,)}, found, {5: 0})[0] == [0, 0, 0, 0]
    # a segment of another class is a mistake and leaves the true one missed
    assert counts_of(rows('11'), {1: (0,)}, rows('77'), {7: 1}) == [[0, 0, 0, 1], [0, 0, 1, 0]]
    # a crowd is neither found nor missed
    assert counts_of(rows('11'), {1: (0, True)}, rows('77'), {7: 0}) == [[0] * 4, [0] * 4]
    assert counts_of(rows('11'), {1: (0, True)}, rows('00'), {}) == [[0] * 4, [0] * 4]


def loop(truth, true_segments, found, found_segments, num_classes) -> np.ndarray:
    """The definition, pixel by pixel, with nothing in common with the code."""
    counts = np.zeros((num_classes, 4))
    pixels = list(zip(truth.ravel().tolist(), found.ravel().tolist(), strict=True))
    matched_true, matched_found = set(), set()
    for t, (label, crowd) in true_segments.items():
        for f, other in found_segments.items():
            both = sum(a == t and b == f for a, b in pixels)
            either = sum(a == t or (b == f and a in true_segments) for a, b in pixels)
            if label == other and not crowd and both and both / either > 0.5:
                counts[label] += (both / either, 1, 0, 0)
                matched_true.add(t)
                matched_found.add(f)
    for t, (label, crowd) in true_segments.items():
        there = any(a == t for a, _ in pixels)
        counts[label, 3] += there and not crowd and t not in matched_true
    for f, label in found_segments.items():
        mine = [a for a, b in pixels if b == f]
        excused = sum(a not in true_segments or true_segments[a] == (label, True) for a in mine)
        counts[label, 2] += bool(mine) and f not in matched_found and excused / len(mine) <= 0.5
    return counts


def test_against_a_loop_over_pixels() -> None:
    generator = np.random.default_rng(0)
    matches = 0
    for _ in range(150):
        blocks = generator.integers(0, 7, (3, 3))
        truth = np.kron(blocks, np.ones((3, 3), int))
        found = np.where(generator.random(truth.shape) < 0.8, truth, generator.integers(0, 7))
        found = found * 1000  # ids of their own
        true_segments = {
            k: (int(generator.integers(2)), bool(generator.random() < 0.25)) for k in range(1, 6)
        }  # 0 and 6 are void
        found_segments = {
            1000 * k: true_segments[k][0] if generator.random() < 0.8 else 1 for k in range(1, 6)
        }
        expected = loop(truth, true_segments, found, found_segments, 2)
        counts = counts_of(truth, true_segments, found, found_segments)
        np.testing.assert_allclose(counts, expected)
        matches += expected[:, 1].sum()
    assert matches > 100


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two images; the ids need all three bytes of a colour, the category ids are not in a row."""
    first, second = rows('1111', '2222', '0033'), rows('4444')
    big = {1: 70_001, 2: 300, 3: 16_777_215, 4: 5}
    table = np.vectorize(lambda k: big.get(k, 0))
    for name, ids in (('a', first), ('b', second)):
        (tmp_path / f'{name}.png').write_bytes(encode_panoptic(table(ids)))
    segments = {1: 7, 2: 7, 3: 90, 4: 90}  # categories
    info = {k: dict(id=big[k], category_id=c, iscrowd=0, area=4) for k, c in segments.items()}
    content = dict(
        images=[
            dict(id=1, file_name='a.jpg', height=3, width=4),
            dict(id=2, file_name='b.jpg', height=1, width=4),
        ],
        annotations=[
            dict(image_id=1, file_name='a.png', segments_info=[info[1], info[2], info[3]]),
            dict(image_id=2, file_name='b.png', segments_info=[info[4]]),
        ],
        categories=[
            dict(id=7, name='thing', isthing=1),
            dict(id=8, name='never', isthing=1),
            dict(id=90, name='stuff', isthing=0),
        ],
    )
    (tmp_path / 'panoptic.json').write_text(json.dumps(content))
    return tmp_path


def sample(image_id: int, prediction: np.ndarray) -> dict:
    found = torch.from_numpy(prediction.astype(np.int32))[None]
    return dict(img_id=image_id, img_path='x.jpg', pred_panoptic_seg=dict(sem_seg=found))


def metric_of(folder: Path, **options) -> PanopticQuality:
    metric = PanopticQuality(str(folder / 'panoptic.json'), str(folder), **options)
    metric.dataset_meta = dict(
        classes=('thing', 'never', 'stuff'), thing_classes=('thing', 'never'), stuff_classes=()
    )
    return metric


def test_metric(files) -> None:
    """Things are class + 1000 * instance, stuff the class alone, 3 (of three classes) is void."""
    metric = metric_of(files, classwise=True)
    first = np.array([[1000] * 4, [2000, 2000, 2000, 3], [3, 3, 2, 2]])
    metric.process(None, [sample(1, first)])
    metric.process(None, [sample(2, np.array([[3, 3, 3, 2]]))])
    found = metric.evaluate(2)
    # thing: IoUs 1 and 3/4; stuff: 1 in the first image, in the second missed and wrong (1/4)
    thing, stuff = (1 + 3 / 4) / 2, 1 / (1 + 1 / 2 + 1 / 2)
    assert found['coco_panoptic/PQ_th'] == pytest.approx(100 * thing)
    assert found['coco_panoptic/PQ_st'] == pytest.approx(100 * stuff)
    assert found['coco_panoptic/PQ'] == pytest.approx(50 * (thing + stuff))
    assert found['coco_panoptic/SQ_st'] == pytest.approx(100)
    assert found['coco_panoptic/RQ_st'] == pytest.approx(50)
    assert found['coco_panoptic/RQ_th'] == pytest.approx(100)
    assert metric.qualities['never'] is None
    metric.process(None, [sample(2, np.array([[3, 3, 3, 3]]))])  # stuff alone
    assert math.isnan(metric.evaluate(1)['coco_panoptic/PQ_th'])


def test_metric_names_what_does_not_fit(files) -> None:
    metric = metric_of(files)
    with pytest.raises(DatasetError, match='has no segments of the image with id 5'):
        metric.process(None, [sample(5, np.zeros((3, 4)))])
    with pytest.raises(DatasetError, match='is 3 x 3 pixels, and its panoptic map 4 x 3'):
        metric.process(None, [sample(1, np.zeros((3, 3)))])
    (files / 'a.png').write_bytes((files / 'b.png').read_bytes())
    with pytest.raises(DatasetError, match=r'a\.png holds segments that its JSON does not list'):
        metric.process(None, [sample(1, np.zeros((3, 4)))])
