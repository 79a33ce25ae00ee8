"""Corrupted images: the same in every process, like the package's own, for any image."""

from __future__ import annotations

import imagecorruptions
import numpy as np
import pytest
from mmengine.config import ConfigDict
from torch.utils.data import DataLoader, Dataset

from vitadapter_dense.datasets.corruption import (
    CORRUPTIONS,
    VALIDATION_CORRUPTIONS,
    SeededCorruption,
    add_corruption,
    corrupt,
    corruptions_of,
    seed_of,
)
from vitadapter_dense.datasets.errors import DatasetError

ALL = (*CORRUPTIONS, *VALIDATION_CORRUPTIONS)


def picture(height, width, *, seed=0):
    rows = np.linspace(0, 255, height)[:, None, None]
    noise = np.random.default_rng(seed).integers(0, 60, (height, width, 3))
    return ((rows + noise) / 2 + np.array([0, 40, 80])).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize('name', ALL)
def test_the_random_state_neither_counts_nor_changes(name):
    image = picture(41, 67)
    np.random.seed(1)
    wanted = np.random.random(3)
    np.random.seed(1)
    first = corrupt(image, name, 3, seed=5)
    assert np.array_equal(np.random.random(3), wanted)
    np.random.seed(2)
    assert np.array_equal(corrupt(image, name, 3, seed=5), first)
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    assert not np.array_equal(first, image)
    # as the package does it, with its state set by hand
    np.random.seed(5)
    options = dict(seed=5) if name in ('impulse_noise', 'glass_blur') else {}
    plain = imagecorruptions.corrupt(image, 3, corruption_name=name, **options)
    assert np.array_equal(plain, first)
    harder = corrupt(image, name, 5, seed=5)
    assert not np.array_equal(harder, first)


@pytest.mark.parametrize('shape', [(7, 90), (33, 20, 3), (40, 40, 1), (1, 1, 3)], ids=str)
def test_gray_and_tiny_images(shape):
    image = picture(*shape[:2])[..., : shape[2] if len(shape) > 2 else 1].reshape(shape)
    for name in ('shot_noise', 'snow', 'elastic_transform'):
        assert corrupt(image, name, 2, seed=0).shape == shape


class Pictures(Dataset):
    """Two images of the same pixels for each corruption: their names alone tell them apart."""

    def __len__(self):
        return 2 * len(ALL)

    def __getitem__(self, index):
        step = SeededCorruption(name=ALL[index // 2], severity=4)
        return step(dict(img=picture(32, 32), img_path=f'/data/{index}.png'))['img']


def test_workers_and_order_do_not_count():
    alone = list(DataLoader(Pictures(), batch_size=None))
    helped = list(DataLoader(Pictures(), batch_size=None, num_workers=2))
    for a, b in zip(alone, helped, strict=True):
        assert np.array_equal(a, b)
    drawn = [
        name
        for name, one, other in zip(ALL, alone[::2], alone[1::2], strict=True)
        if not np.array_equal(one, other)
    ]
    assert {'gaussian_noise', 'impulse_noise', 'glass_blur', 'motion_blur', 'frost'} <= set(drawn)
    assert np.array_equal(Pictures()[3], alone[3])
    seeds = {seed_of('a/1.png', name, s) for name in ('frost', 'snow') for s in (1, 2)}
    assert len(seeds) == 4
    assert seed_of('b/1.png', 'snow', 2) == seed_of('a/1.png', 'snow', 2)


def test_channels_are_turned_for_the_package():
    image = picture(40, 40)
    found = SeededCorruption(name='saturate', severity=5)(dict(img=image, img_path='x.png'))['img']
    wanted = corrupt(image[..., ::-1], 'saturate', 5, seed=seed_of('x.png', 'saturate', 5))
    assert np.array_equal(found, wanted[..., ::-1])
    assert not np.array_equal(found, corrupt(image, 'saturate', 5, seed=0))


def test_what_is_wrong_is_named():
    image = picture(40, 40)
    with pytest.raises(ValueError, match=r"no corruption 'gausian_noise'.*gaussian_noise"):
        SeededCorruption(name='gausian_noise')
    for severity in (0, 6, 2.5):
        with pytest.raises(ValueError, match=f'severity={severity}'):
            corrupt(image, 'fog', severity, seed=0)
    with pytest.raises(DatasetError, match='x.png: an image of float32'):
        SeededCorruption(name='fog')(dict(img=image.astype(np.float32), img_path='x.png'))


def test_is_put_behind_the_loading_of_every_wrapped_set():
    def part():
        steps = [dict(type='mmdet.LoadImageFromFile'), dict(type='Resize')]
        return dict(type='CocoDataset', pipeline=steps)

    wrapped = dict(type='ConcatDataset', datasets=[part(), dict(type='Repeat', dataset=part())])
    cfg = ConfigDict(wrapped)
    assert add_corruption(cfg) == 2
    for found in (cfg.datasets[0], cfg.datasets[1].dataset):
        kinds = [step['type'] for step in found.pipeline]
        assert kinds == ['mmdet.LoadImageFromFile', 'SeededCorruption', 'Resize']
    assert add_corruption(ConfigDict(pipeline=[dict(type='LoadFeatures')])) == 0

    class Built:
        def __init__(self, **parts):
            vars(self).update(parts)

    steps = [SeededCorruption(), SeededCorruption()]
    inner = Built(pipeline=Built(transforms=[print, steps[1]]))
    whole = Built(datasets=[Built(pipeline=Built(transforms=[steps[0]])), Built(dataset=inner)])
    assert list(corruptions_of(whole)) == steps
