"""Which prediction stands for which object: by hand, by a plain loop, and as pycocotools does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData

from vitadapter_dense.reports.detection_confusion import DetectionConfusionMatrix
from vitadapter_dense.reports.instance_matching import Objects, match_instances, objects_of

Box = list[float]


def objects(boxes: list[Box], labels: list[int], crowd: tuple[int, ...] = ()) -> Objects:
    flags = np.isin(np.arange(len(boxes)), crowd)
    return Objects(np.array(boxes, float).reshape(-1, 4), np.array(labels, int), flags)


class Images:
    """A data set of one image for each list of objects."""

    def __init__(self, truths: list[Objects]) -> None:
        self.truths = truths

    def __len__(self) -> int:
        return len(self.truths)

    def get_data_info(self, index: int) -> dict:
        truth = self.truths[index]
        kept = zip(truth.boxes.tolist(), truth.labels.tolist(), truth.crowd.tolist(), strict=True)
        instances = [dict(bbox=b, bbox_label=n, ignore_flag=int(c)) for b, n, c in kept]
        return dict(img_path=f'{index}.jpg', instances=instances)


def predicted(index: int, boxes: list[Box], labels: list[int], scores: list[float]) -> dict:
    found = InstanceData(
        bboxes=torch.tensor(boxes).float().reshape(-1, 4),
        labels=torch.tensor(labels).long(),
        scores=torch.tensor(scores).float(),
    )
    sample = BaseDataElement(metainfo=dict(img_path=f'{index}.jpg'))
    sample.pred_instances = found
    return sample.to_dict()


def matrix_of(truths: list[Objects], samples: list[dict], classes: int) -> np.ndarray:
    metric = DetectionConfusionMatrix(0.3, 0.5)
    metric.dataset_meta = dict(classes=tuple(map(str, range(classes))))
    assert metric.read_objects(Images(truths))
    metric.process({}, samples)
    assert set(metric.evaluate(len(truths))) == {'precision', 'recall', 'F1'}
    return metric.matrix


def test_each_kind_of_outcome_is_counted_by_hand() -> None:
    """Of two classes: right, twice found, mistaken, missed, false, in a crowd, unsure."""
    truth = objects(
        [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [100, 0, 200, 100]], [0, 1, 0, 1], (3,)
    )
    outcomes = {
        (0, 0, 10, 8): (0, 0.5),  # right, the less sure of two: false
        (0, 0, 10, 10): (0, 0.9),  # right
        (20, 0, 30, 9): (0, 0.8),  # the 1 is taken for a 0
        (60, 0, 70, 10): (1, 0.7),  # false
        (110, 10, 130, 30): (1, 0.6),  # in the crowd of its class: left out
        (150, 10, 170, 30): (0, 0.6),  # in a crowd of another class: false
        (40, 0, 50, 10): (0, 0.2),  # too unsure: that object is missed
    }
    labels, scores = map(list, zip(*outcomes.values(), strict=True))
    sample = predicted(0, [list(box) for box in outcomes], labels, scores)
    found = matrix_of([truth], [sample], 2)
    assert found.tolist() == [[1, 0, 1], [1, 0, 0], [2, 1, 0]]
    metric = DetectionConfusionMatrix()
    assert metric.score(found) == pytest.approx(2 * 1 / (3 + 5))


def test_an_object_goes_to_its_own_class_before_a_surer_other_one() -> None:
    truth = objects([[0, 0, 10, 10]], [1])
    sample = predicted(0, [[0, 0, 10, 10], [0, 0, 10, 7]], [0, 1], [0.9, 0.5])
    assert matrix_of([truth], [sample], 2).tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 0]]


def plain_matching(boxes, labels, scores, truth, score_thr, iou_thr):
    """The rules of the module, one prediction and one object at a time."""

    def shared(a, b):
        width = min(a[2], b[2]) - max(a[0], b[0])
        height = min(a[3], b[3]) - max(a[1], b[1])
        return max(0.0, width) * max(0.0, height)

    def area(a):
        return (a[2] - a[0]) * (a[3] - a[1])

    taken, pairs = set(), []
    turn = sorted(range(len(scores)), key=lambda n: -scores[n])
    turn = [n for n in turn if scores[n] >= score_thr]
    for own_class in (True, False):
        left = []
        for n in turn:
            best, overlap = None, 0.0
            for m, box in enumerate(truth.boxes):
                if m in taken or truth.crowd[m] or (own_class and truth.labels[m] != labels[n]):
                    continue
                both = shared(boxes[n], box)
                iou = both / (area(boxes[n]) + area(box) - both)
                if iou >= iou_thr and iou > overlap:
                    best, overlap = m, iou
            if best is None:
                left.append(n)
            else:
                taken.add(best)
                pairs.append((best, n))
        crowds = [m for m in range(len(truth.boxes)) if truth.crowd[m]]
        turn = [
            n
            for n in left
            if not any(
                truth.labels[m] == labels[n]
                and shared(boxes[n], truth.boxes[m]) / area(boxes[n]) >= iou_thr
                for m in crowds
            )
        ]
    pairs += [(None, n) for n in turn]
    return pairs + [
        (m, None) for m in range(len(truth.boxes)) if m not in taken and not truth.crowd[m]
    ]


def random_image(generator: np.random.Generator) -> tuple[Objects, tuple]:
    """Objects, and predictions that lie near some of them; few classes, so that many meet."""
    count, more = generator.integers(0, 7, 2)
    low = generator.uniform(0, 40, (count, 2))
    boxes = np.concatenate([low, low + generator.uniform(8, 30, (count, 2))], 1)
    crowd = tuple(np.flatnonzero(generator.random(count) < 0.2))
    truth = objects(boxes.tolist(), generator.integers(0, 3, count).tolist(), crowd)
    places = generator.integers(0, max(1, count), more if count else 0)
    found = boxes[np.repeat(places, 2)]
    found = np.sort((found + generator.normal(0, 2.5, found.shape)).reshape(-1, 2, 2), 1)
    labels = generator.integers(0, 3, len(found))
    return truth, (found.reshape(-1, 4), labels, generator.random(len(found)))


def test_rules_agree_with_a_plain_loop() -> None:
    generator = np.random.default_rng(0)
    kinds = set()
    for _ in range(300):
        truth, found = random_image(generator)
        ours = match_instances(*found, truth, score_thr=0.3, iou_thr=0.5)
        plain = plain_matching(*found, truth, 0.3, 0.5)
        assert sorted(map(str, ours)) == sorted(map(str, plain))
        kinds |= {
            'missed' if n is None else 'false' if m is None else truth.labels[m] == found[1][n]
            for m, n in ours
        }
    assert kinds == {'missed', 'false', True, False}


def test_what_is_right_is_what_pycocotools_matches() -> None:
    coco = pytest.importorskip('pycocotools.coco')
    cocoeval = pytest.importorskip('pycocotools.cocoeval')
    generator = np.random.default_rng(1)
    images = [random_image(generator) for _ in range(60)]
    annotations, results, samples = [], [], []
    for number, (truth, (boxes, labels, scores)) in enumerate(images):
        samples.append(predicted(number, boxes.tolist(), labels.tolist(), scores.tolist()))
        for box, label, crowd in zip(truth.boxes, truth.labels, truth.crowd, strict=True):
            wide, high = box[2:] - box[:2]
            entry = dict(bbox=[*box[:2], wide, high], area=wide * high, iscrowd=int(crowd))
            entry |= dict(id=len(annotations) + 1, image_id=number, category_id=int(label))
            annotations.append(entry)
        scores = samples[-1]['pred_instances']['scores'].tolist()
        for box, label, score in zip(boxes, labels, scores, strict=True):
            if score >= 0.3:
                entry = dict(bbox=[*box[:2], *(box[2:] - box[:2])], score=score)
                results.append(dict(entry, image_id=number, category_id=int(label)))
    truth = coco.COCO()
    truth.dataset = dict(
        images=[dict(id=number) for number in range(len(images))],
        annotations=annotations,
        categories=[dict(id=number) for number in range(3)],
    )
    truth.createIndex()
    evaluation = cocoeval.COCOeval(truth, truth.loadRes(results), 'bbox')
    evaluation.params.iouThrs = np.array([0.5])
    evaluation.evaluate()
    right, found = np.zeros(3, int), np.zeros(3, int)
    for entry in filter(None, evaluation.evalImgs):
        if entry['aRng'] == evaluation.params.areaRng[0]:
            counts = ~entry['dtIgnore'][0].astype(bool)
            right[entry['category_id']] += (counts & (entry['dtMatches'][0] > 0)).sum()
            found[entry['category_id']] += counts.sum()
    matrix = matrix_of([image[0] for image in images], samples, 3)
    assert np.diag(matrix)[:3].tolist() == right.tolist()
    assert matrix.sum(axis=0)[:3].tolist() == found.tolist()
    assert right.sum() > 20


def test_masks_stand_for_boxes_that_a_model_does_not_give() -> None:
    truth = objects([[2, 3, 12, 8]], [0])
    sample = predicted(0, [[0, 0, 0, 0]], [0], [0.9])
    sample['pred_instances']['masks'] = torch.zeros(1, 20, 20, dtype=torch.bool)
    sample['pred_instances']['masks'][0, 3:8, 2:12] = True
    assert matrix_of([truth], [sample], 1).tolist() == [[1, 0], [0, 0]]


def test_nothing_known_and_nothing_found() -> None:
    class Silent:
        def __len__(self) -> int:
            return 1

        def get_data_info(self, index: int) -> dict:
            return dict(img_path='0.jpg')

    assert objects_of(Silent()) == {}
    metric = DetectionConfusionMatrix()
    metric.dataset_meta = dict(classes=('a',))
    with pytest.raises(ValueError, match='`instances`'):
        metric.process({}, [predicted(0, [], [], [])])
    assert matrix_of([objects([], [])], [predicted(0, [], [], [])], 1).tolist() == [[0, 0], [0, 0]]
    assert np.isnan(metric.score(np.zeros((2, 2), int)))
    with pytest.raises(ValueError, match=r'iou_thr 0'):
        DetectionConfusionMatrix(iou_thr=0)
