"""Objects in folds: no photograph in two, frequent classes, corrupted at their own size."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from vitadapter_dense.datasets.corruption import corrupt, seed_of
from vitadapter_dense.datasets.crop_folds import cut_pictures, frequent_objects
from vitadapter_dense.datasets.errors import DatasetError


@pytest.fixture
def sources(tmp_path: Path) -> list[tuple[Path, Path]]:
    """Two files of four images: each shows two dogs, one in two a cow, one has nine cats."""
    found, rng = [], np.random.default_rng(0)
    for half in (0, 1):
        images, objects = [], []
        for number in range(4):
            name = f'{half}{number}.png'
            cv2.imwrite(str(tmp_path / name), rng.integers(0, 255, (60, 80, 3), np.uint8))
            images.append(dict(id=number, file_name=name, width=80, height=60))
            kinds = [1, 1] + [2] * (number % 2) + [3] * (9 if number == half == 0 else 0)
            for place, category in enumerate(kinds):
                box = [place, 10, 30, 40 + 20 * (place == 1)]  # the second leaves the image
                one = dict(id=len(objects), image_id=number, category_id=category, iscrowd=0)
                objects.append(dict(one, bbox=box))
        names = enumerate(('dog', 'cow', 'cat'), start=1)
        categories = [dict(id=number, name=name) for number, name in names]
        file = tmp_path / f'{half}.json'
        content = dict(images=images, annotations=objects, categories=categories)
        file.write_text(json.dumps(content))
        found.append((file, tmp_path))
    return found


def test_objects_are_dealt_out_by_photograph(sources) -> None:
    options = dict(num_classes=2, min_size=24, num_folds=4)
    found = frequent_objects(sources, **options, seed=0)
    assert found.classes == ('dog', 'cow')  # nine cats are in one photograph
    assert np.bincount(found.labels).tolist() == [16, 4]
    of_file = {}
    for file, fold in zip(found.files, found.folds, strict=True):
        of_file.setdefault(file, set()).add(fold)
    assert len(of_file) == 8
    assert all(len(folds) == 1 for folds in of_file.values())
    assert np.bincount([folds.pop() for folds in of_file.values()]).tolist() == [2] * 4
    again, other = (frequent_objects(sources, **options, seed=seed) for seed in (0, 1))
    assert again.folds.tolist() == found.folds.tolist() != other.folds.tolist()
    assert again.name == found.name != other.name
    with pytest.raises(DatasetError, match='objects of 3 classes, not 4'):
        frequent_objects(sources, **(options | dict(num_classes=4)), seed=0)


def test_pictures_are_corrupted_before_they_are_resized(sources) -> None:
    found = frequent_objects(sources, num_classes=2, min_size=24, num_folds=2, seed=0)
    number = 1  # 30 x 50 inside of the image
    left, top, right, bottom = found.boxes[number]
    assert (left, top, right, bottom) == (1, 10, 31, 60)
    image = cv2.imread(found.files[number])[..., ::-1]
    for name in ('clean', 'gaussian_noise'):
        crop = np.ascontiguousarray(image[top:bottom, left:right])
        if name != 'clean':
            seed = seed_of(f'{found.files[number]}, object {number}', name, 2)
            crop = corrupt(crop, name, 2, seed=seed)
        wanted = cv2.resize(crop, (20, 20), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)
        assert np.array_equal(cut_pictures(found, 20, name, 2)[number], wanted), name
