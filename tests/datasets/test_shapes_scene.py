"""Properties of the drawn scenes: sizes, visible parts, occlusion, classes that no colour tells."""

from __future__ import annotations

import numpy as np
import pytest

from vitadapter_dense.datasets.shapes import SHAPES_CLASSES, SHAPES_PALETTE, draw_scene
from vitadapter_dense.datasets.shapes_patterns import SHAPES
from vitadapter_dense.datasets.shapes_scene import MIN_VISIBLE, NUM_OBJECTS, SIZE_RANGE, Scene

SIDE = 192


@pytest.fixture(scope='module')
def scenes() -> list[Scene]:
    return [draw_scene(3, 'train', index, size=SIDE) for index in range(160)]


def test_there_are_enough_classes_with_a_palette():
    assert len(SHAPES_CLASSES) >= 5
    assert len(SHAPES_PALETTE) == len(SHAPES_CLASSES)
    assert len(set(SHAPES_PALETTE)) == len(SHAPES_CLASSES)


def test_sizes_fill_the_range(scenes):
    sizes = np.array([item.size for scene in scenes for item in scene.objects]) / SIDE
    assert sizes.min() >= SIZE_RANGE[0]
    assert sizes.max() <= SIZE_RANGE[1]
    # log-uniform: each third of the logarithmic range holds a third of the objects
    thirds = np.histogram(np.log(sizes), bins=3, range=np.log(SIZE_RANGE))[0] / len(sizes)
    np.testing.assert_allclose(thirds, 1 / 3, atol=0.06)


def test_number_of_objects_and_class_frequencies(scenes):
    numbers = [len(scene.objects) for scene in scenes]
    assert max(numbers) == NUM_OBJECTS[1]
    assert NUM_OBJECTS[0] < np.mean(numbers) < NUM_OBJECTS[1]
    labels = [item.label for scene in scenes for item in scene.objects]
    frequencies = np.bincount(labels, minlength=len(SHAPES_CLASSES)) / len(labels)
    noise = np.sqrt(0.2 * 0.8 / len(labels))
    np.testing.assert_allclose(frequencies, 1 / len(SHAPES_CLASSES), atol=4 * noise)


def test_boxes_are_tight_and_masks_disjoint(scenes):
    for scene in scenes:
        painted = np.zeros((SIDE, SIDE), int)
        for item in scene.objects:
            x, y, w, h = item.box
            assert item.mask.shape == (h, w)
            assert x >= 0
            assert y >= 0
            assert x + w <= SIDE
            assert y + h <= SIDE
            assert item.mask.any(axis=0)[[0, -1]].all()
            assert item.mask.any(axis=1)[[0, -1]].all()
            assert max(w, h) <= item.size + 2
            assert max(w, h) >= round(SIDE * SIZE_RANGE[0])
            painted[y : y + h, x : x + w] += item.mask
        assert painted.max() <= 1
        np.testing.assert_array_equal(painted > 0, scene.semantic_map() > 0)


def test_objects_hide_one_another(scenes):
    """A convex outline shows whole unless something is before it or the image ends."""
    fills = []
    for scene in scenes:
        for item in scene.objects:
            x, y, w, h = item.box
            cut = x == 0 or y == 0 or x + w == SIDE or y + h == SIDE
            if SHAPES_CLASSES[item.label] == 'circle' and not cut:
                fills.append(item.mask.sum() / (np.pi / 4 * w * h))
    fills = np.array(fills)
    assert 0.05 < np.mean(fills < 0.9) < 0.7
    assert fills.min() > 0.5 * MIN_VISIBLE


def _mean_colours(scenes: list[Scene]) -> tuple[np.ndarray, np.ndarray]:
    colours, labels = [], []
    for scene in scenes:
        for item in scene.objects:
            x, y, w, h = item.box
            colours.append(scene.image[y : y + h, x : x + w][item.mask].mean(axis=0))
            labels.append(item.label)
    return np.array(colours), np.array(labels)


def test_mean_colour_does_not_tell_the_class(scenes):
    colours, labels = _mean_colours(scenes)
    for label in range(len(SHAPES_CLASSES)):
        of_class = colours[labels == label]
        error = colours.std(axis=0) / np.sqrt(len(of_class))
        assert (np.abs(of_class.mean(axis=0) - colours.mean(axis=0)) < 4 * error).all()
    # A classifier by the nearest class mean is no better than chance on the other half.
    half = len(labels) // 2
    means = [colours[:half][labels[:half] == i].mean(axis=0) for i in range(len(SHAPES_CLASSES))]
    distances = np.linalg.norm(colours[half:, None] - np.array(means), axis=-1)
    accuracy = np.mean(distances.argmin(axis=1) == labels[half:])
    assert accuracy < 1 / len(SHAPES_CLASSES) + 0.07


@pytest.mark.parametrize('name', SHAPES_CLASSES)
def test_pattern_covers_half_of_the_surface(name):
    """So neither the mean nor the spread of the colours depends on the class."""
    v, u = np.mgrid[-12:12:600j, -12:12:600j].astype(np.float32)
    assert np.mean(SHAPES[name][1](u, v) > 0) == pytest.approx(0.5, abs=0.02)


def test_outlines_differ():
    """The share of its box that an upright outline covers tells the classes apart."""
    rng = np.random.default_rng(0)
    shares = []
    for outline, _ in SHAPES.values():
        x, y = outline(rng).T
        area = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
        shares.append(area / np.ptp(x) / np.ptp(y))
    assert np.diff(np.sort(shares)).min() > 0.02


@pytest.mark.parametrize('size', [(96, 256), (300, 64)])
def test_other_sizes(size):
    scene = draw_scene(0, 'val', 5, size=size)
    assert scene.image.shape == (*size, 3)
    assert scene.image.dtype == np.uint8
    assert scene.objects
    assert all(item.size <= SIZE_RANGE[1] * min(size) for item in scene.objects)


def test_every_index_split_and_seed_has_its_own_picture():
    pictures = [
        draw_scene(0, 'train', 0),
        draw_scene(0, 'train', 1),
        draw_scene(0, 'val', 0),
        draw_scene(1, 'train', 0),
    ]
    for i, first in enumerate(pictures):
        for second in pictures[i + 1 :]:
            assert np.abs(first.image.astype(int) - second.image).mean() > 5
