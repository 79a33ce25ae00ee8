"""Classification sets: lists, folders, long tails, object crops; sampler, loss and metric."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from torch.nn import functional as F

from vitadapter_dense import (
    ClassAccuracy,
    ClassBalancedSampler,
    ListedImages,
    LogitAdjustedLoss,
    LongTailed,
    ObjectCrops,
)
from vitadapter_dense.datasets import DatasetError
from vitadapter_dense.datasets.class_balanced_sampler import ClassBalancedSampler as Sampler
from vitadapter_dense.datasets.classification import count_labels


class Numbers(BaseDataset):
    """A classification set of another hand: so many samples of each class, in turn."""

    def __init__(self, counts: list[int]) -> None:
        ranks = np.concatenate([np.arange(count) for count in counts])
        labels = np.repeat(np.arange(len(counts)), counts)
        self.labels = labels[np.argsort(ranks, kind='stable')].tolist()
        super().__init__(metainfo=dict(classes=tuple(map(str, range(len(counts))))))

    def load_data_list(self) -> list[dict]:
        return [dict(gt_label=label, number=n) for n, label in enumerate(self.labels)]

    def get_gt_labels(self) -> np.ndarray:
        return np.array(self.labels)

    def get_cat_ids(self, idx: int) -> list[int]:
        return [self.labels[idx]]


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.zeros((8, 9, 3), np.uint8))


@pytest.mark.parametrize(
    ('counts', 'imbalance', 'total', 'last'),
    [([500] * 100, 100, 10847, 5), ([5000] * 10, 100, 12406, 50)],
)
def test_profiles_are_those_of_cifar_lt(counts, imbalance, total, last) -> None:
    """Totals of CIFAR-100-LT and CIFAR-10-LT as published with LDAM."""
    long = LongTailed(Numbers(counts), imbalance, seed=3)
    found = count_labels(long)
    assert (len(long), found[0], found[-1]) == (total, counts[0], last)
    assert (np.diff(found) <= 0).all()
    numbers = [long.get_data_info(index)['number'] for index in range(200)]
    assert numbers == sorted(set(numbers))
    other = LongTailed(Numbers(counts), imbalance, seed=4)
    assert [other.get_data_info(n)['number'] for n in range(20)] != numbers[:20]
    assert long.get_cat_ids(7) == [long.get_gt_labels()[7]]


def test_long_tails_that_leave_nothing_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"leaves the class '5' and 1 more of 7 empty"):
        LongTailed(Numbers([20] * 7), 50)
    with pytest.raises(DatasetError, match='imbalance=0.5'):
        LongTailed(Numbers([20] * 7), 0.5)


def test_lists_and_folders(tmp_path: Path) -> None:
    write(tmp_path, 'images/a 1.jpg', 'images/b.jpg', 'images/deep/c.jpg')
    (tmp_path / 'train.txt').write_text('a 1.jpg 1\nb.jpg cat\n\ndeep/c.jpg 0\n')
    where = dict(data_root=str(tmp_path), data_prefix=dict(img='images'))
    listed = ListedImages('train.txt', metainfo=dict(classes=('cat', 'dog')), **where)
    assert listed.get_gt_labels().tolist() == [1, 0, 0]
    assert [Path(listed[n]['img_path']).is_file() for n in range(3)] == [True] * 3
    with pytest.raises(DatasetError, match='nobody names the classes'):
        ListedImages('train.txt', **where)
    (tmp_path / 'classes.txt').write_text('cat\ndog\n')
    assert ListedImages('train.txt', **where).metainfo['classes'] == ('cat', 'dog')
    for wrong in ('a.jpg 2', 'a.jpg', 'a.jpg fox', '3'):
        (tmp_path / 'wrong.txt').write_text(f'b.jpg 1\n{wrong}\n')
        with pytest.raises(DatasetError, match=r'wrong\.txt, line 2'):
            ListedImages('wrong.txt', **where)

    write(tmp_path / 'classes', 'y/1.jpg', 'x/2.PNG', 'x/deep/3.jpg', 'x/notes.txt.jpg')
    folders = ListedImages(data_root=str(tmp_path / 'classes'))
    assert folders.metainfo['classes'] == ('x', 'y')
    assert count_labels(folders).tolist() == [3, 1]
    with pytest.raises(DatasetError, match="'x', which is no class"):
        ListedImages(data_root=str(tmp_path / 'classes'), folders=['y', 'z'])
    with pytest.raises(DatasetError, match='there is no folder'):
        ListedImages(data_root=str(tmp_path / 'nowhere'))


def test_some_of_imagenets_folders_keep_its_labels(tmp_path: Path) -> None:
    """As in ImageNet-A and -R: 6 is the stingray, 999 toilet paper."""
    write(tmp_path, 'n01498041/a.jpg', 'n15075141/b.jpg')
    found = ListedImages(data_root=str(tmp_path), folders='imagenet')
    assert found.get_gt_labels().tolist() == [6, 999]
    names = found.metainfo['classes']
    assert (len(names), len(set(names)), names[6]) == (1000, 1000, 'stingray')


def test_accuracy_among_all_present_and_chosen_classes() -> None:
    samples = [
        dict(gt_label=torch.tensor([label]), pred_score=torch.tensor(scores))
        for label, scores in (
            (0, [0.2, 0.1, 0.7]),  # right among the first two alone
            (0, [0.6, 0.1, 0.3]),
            (1, [0.1, 0.8, 0.1]),
        )
    ]
    found = {}
    for among in ('all', 'present', (0, 1)):
        metric = ClassAccuracy(among)
        metric.process(None, samples)
        found[among] = metric.evaluate(3)
    assert found['all'] == {
        'accuracy/top1': pytest.approx(200 / 3),
        'accuracy/balanced': pytest.approx(75),
    }
    assert found['present']['accuracy/top1'] == found[(0, 1)]['accuracy/top1'] == 100
    metric = ClassAccuracy((1, 2))
    metric.process(None, samples)
    with pytest.raises(ValueError, match='an image is of class 0'):
        metric.evaluate(3)
    silent = ClassAccuracy()
    silent.process(None, [dict(gt_label=torch.tensor([0]), pred_score=torch.ones(3) / 3)])
    assert silent.evaluate(1)['accuracy/top1'] == 0


def coco_file(folder: Path) -> Path:
    """One image of 100 x 80 with a ramp: an object inside, at the border, a crowd, a tiny one."""
    ramp = np.arange(100, dtype=np.uint8)[None, :, None].repeat(80, 0).repeat(3, 2)
    (folder / 'images').mkdir()
    cv2.imwrite(str(folder / 'images' / 'ramp.png'), ramp)
    boxes = [[10, 20, 30, 40], [70.5, 60, 50, 50], [0, 0, 60, 60], [5, 5, 10, 10]]
    objects = [
        dict(id=n, image_id=1, category_id=7 + n % 2, bbox=box, iscrowd=int(n == 2))
        for n, box in enumerate(boxes)
    ]
    content = dict(
        images=[dict(id=1, file_name='ramp.png', width=100, height=80)],
        categories=[dict(id=7, name='cat'), dict(id=8, name='dog')],
        annotations=objects,
    )
    file = folder / 'objects.json'
    file.write_text(json.dumps(content))
    return file


def test_object_crops_hold_the_objects(tmp_path: Path) -> None:
    file = coco_file(tmp_path)
    options = dict(
        data_root=str(tmp_path),
        data_prefix=dict(img='images'),
        pipeline=[dict(type='LoadImageCrop')],
    )
    crops = ObjectCrops(file.name, min_size=15, **options)
    assert [(one['gt_label'], one['img_shape']) for one in crops] == [(0, (40, 30)), (1, (20, 30))]
    assert crops[0]['img'][0, :, 0].tolist() == list(range(10, 40))
    assert crops[1]['img'][0, :, 0].tolist() == list(range(70, 100))
    assert len(ObjectCrops(file.name, min_size=21, **options)) == 1  # the other is cut off to 20
    wide = ObjectCrops(file.name, min_size=21, margin=0.5, **options)
    assert wide[0]['img_shape'] == (80, 60)  # 20 more on each side, as far as the image goes
    dogs = ObjectCrops(file.name, min_size=8, metainfo=dict(classes=('dog',)), **options)
    assert [one['gt_label'] for one in dogs] == [0, 0]
    with pytest.raises(DatasetError, match='no object of 50 pixels'):
        ObjectCrops(file.name, min_size=50, **options)
    with pytest.raises(DatasetError, match="no category 'fox'"):
        ObjectCrops(file.name, metainfo=dict(classes=('fox',)), **options)
    (tmp_path / 'other.json').write_text('[]')
    with pytest.raises(DatasetError, match=r'other\.json is no COCO file'):
        ObjectCrops('other.json', **options)


def test_balanced_sampling_gives_every_class_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Numbers([40, 10, 1])
    sampler = ClassBalancedSampler(dataset, seed=1)
    drawn = list(sampler)
    counts = Counter(dataset.labels[index] for index in drawn)
    assert len(drawn) == len(sampler) == 51
    assert set(counts.values()) == {17}
    of_second = [index for index in drawn if dataset.labels[index] == 1]
    assert len(set(of_second)) == 10  # all of them once before one comes again
    sampler.set_epoch(1)
    assert list(sampler) != drawn
    sampler.set_epoch(0)
    assert list(sampler) == drawn
    parts = []
    for rank in range(2):
        module = Sampler.__module__
        monkeypatch.setattr(f'{module}.get_dist_info', lambda rank=rank: (rank, 2))
        part = ClassBalancedSampler(dataset, seed=1)
        parts.append(list(part))
        assert len(parts[-1]) == len(part) == 26
    assert [index for pair in zip(*parts) for index in pair][:51] == drawn


def test_logit_adjustment_is_cross_entropy_of_raised_logits() -> None:
    loss = LogitAdjustedLoss(3, tau=0.5)
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    with pytest.raises(ValueError, match='ClassCountsHook'):
        loss(logits, target)
    loss.set_counts([60, 30, 10])
    raised = logits + 0.5 * torch.tensor([0.6, 0.3, 0.1]).log()
    torch.testing.assert_close(loss(logits, target), F.cross_entropy(raised, target))
    one_hot = F.one_hot(target, 3).float()
    torch.testing.assert_close(loss(logits, one_hot), loss(logits, target))
    plain = LogitAdjustedLoss(3, tau=0)
    plain.load_state_dict(loss.state_dict())
    torch.testing.assert_close(plain(logits, target), F.cross_entropy(logits, target))
    with pytest.raises(ValueError, match='class 1 has no image'):
        loss.set_counts([60, 0, 10])
