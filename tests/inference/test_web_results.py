"""What a page in the browser keeps: what a choice leaves of it, what files it takes, how much."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from mmengine.visualization import Visualizer
from PIL import Image
from pycocotools import mask as coco_mask

from vitadapter_dense.datasets.loading import LoadImageChecked
from vitadapter_dense.inference.prediction import Prediction
from vitadapter_dense.inference.web_results import (
    Choice,
    ImageError,
    ResultStore,
    compute,
    read_image,
    thumbnail,
)

NAMES = ('cat', 'dog', 'sky')
PALETTE = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
HEIGHT, WIDTH = 200, 300
EVERYTHING = Choice(0.0, (), 0.5)


def sample_of(kind: str) -> BaseDataElement:
    """Two cats and a dog on the left, sky on the right half of the maps."""
    sample = BaseDataElement()
    masks = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.bool)
    masks[0, :50, :50], masks[1, 50:100, :50], masks[2, 100:, :100] = True, True, True
    if kind == 'map':
        labels = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.uint8)
        labels[:, 100:, :100], labels[..., 150:] = 1, 2
        sample.pred_sem_seg = PixelData(data=labels)
        sample.seg_logits = PixelData(data=torch.zeros(3, HEIGHT, WIDTH))
        return sample
    boxes = torch.tensor([[0.0, 0, 50, 50], [0, 50, 50, 100], [0, 100, 100, 200]])
    sample.pred_instances = InstanceData(
        bboxes=boxes,
        scores=torch.tensor([0.9, 0.6, 0.3]),
        labels=torch.tensor([0, 0, 1]),
        masks=masks,
    )
    if kind == 'panoptic':
        ids = torch.full((1, HEIGHT, WIDTH), len(NAMES))
        ids[:, :50, :50], ids[:, 50:100, :50], ids[:, 100:, :100] = 1000, 2000, 3001
        ids[..., 150:] = 2
        sample.pred_panoptic_seg = PixelData(sem_seg=ids)
    return sample


class ToyPredictor:
    """Finds the same in every image, and counts them."""

    names = NAMES

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.calls = 0
        self.visualizer = Visualizer(name='toy')
        self.visualizer.dataset_meta = dict(classes=NAMES, palette=PALETTE)

    def read(self, path: Path) -> np.ndarray:
        return LoadImageChecked()(dict(img_path=str(path)))['img']

    def __call__(self, image: np.ndarray) -> Prediction:
        self.calls += 1
        return Prediction(image[..., ::-1], sample_of(self.kind), NAMES, self.visualizer)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / 'grey.png'
    cv2.imwrite(str(path), np.full((HEIGHT, WIDTH, 3), 100, np.uint8))
    return path


def look(kind: str, image: Path):
    return compute(ToyPredictor(kind), image, max_pixels=10**6)


@pytest.mark.parametrize('kind', ['boxes', 'map', 'panoptic'])
def test_what_is_hidden_is_in_no_picture_no_list_and_no_legend(kind: str, image: Path) -> None:
    result = look(kind, image)
    amounts = {
        'boxes': dict(cat='2', dog='1'),
        'map': dict(sky='50.0%', cat='33.3%', dog='16.7%'),
        'panoptic': dict(sky='50.0%', dog='16.7%', cat='8.3%'),
    }[kind]
    for hidden in ((), (1,), (0, 1, 2)):
        choice = Choice(0.0, hidden, 0.5)
        seen = [number for number in range(3) if number not in hidden]
        legend = {entry.name: entry.amount for entry in result.legend(choice)}
        expected = {k: v for k, v in amounts.items() if NAMES.index(k) in seen}
        assert legend == expected
        assert list(legend) == list(expected)  # the most first
        entries = json.loads(json.dumps(result.entries(choice)))
        assert {entry['category_name'] for entry in entries} == set(legend)
        picture = cv2.imdecode(np.frombuffer(result.png(choice), np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (HEIGHT, WIDTH, 3)
        # each coloured pixel is of a class that is seen
        coloured = picture[np.ptp(picture, axis=2) > 90][:, ::-1].astype(int)
        assert {NAMES[number] for number in np.argmax(coloured, axis=1)} <= set(legend)
        assert bool(len(coloured)) == bool(legend)
    assert (picture == 100).all()
    whole = result.entries(EVERYTHING)
    areas = sum(coco_mask.decode(entry['segmentation']).sum() for entry in whole)
    assert areas == {'boxes': 15_000, 'map': 60_000, 'panoptic': 45_000}[kind]


def test_the_lowest_score_leaves_out_objects(image: Path) -> None:
    result = look('boxes', image)
    assert result.has_scores
    assert not look('map', image).has_scores
    assert not look('panoptic', image).has_scores  # what is drawn of it is the map
    for score, expected in ((0.3, 3), (0.31, 2), (0.6, 2), (0.95, 0)):
        assert len(result.entries(Choice(score, (), 0.5))) == expected
    assert not np.array_equal(result.draw(EVERYTHING), result.draw(Choice(0.5, (), 0.5)))


def test_opacity_is_the_share_of_the_colour(image: Path) -> None:
    for kind, share in (('map', 0.0), ('map', 1.0), ('boxes', 0.25), ('panoptic', 0.25)):
        png = look(kind, image).png(Choice(0.0, (), share))
        picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        expected = 100 + share * (np.array(PALETTE[1]) - 100)
        assert np.allclose(picture[160, 50], expected, atol=1)  # in the dog


def test_the_model_runs_once_and_its_scores_of_all_pixels_are_dropped(image: Path) -> None:
    predictor = ToyPredictor('map')
    result = compute(predictor, image, max_pixels=10**6)
    for share in (0.1, 0.9):
        result.draw(Choice(0.0, (), share))
        result.png(Choice(0.0, (), share))
    assert predictor.calls == 1
    assert 'seg_logits' not in result.full.sample
    assert result.shown.image.shape == (HEIGHT * 2, WIDTH * 2, 3)  # a small one is enlarged
    assert result.draw(EVERYTHING).shape == result.shown.image.shape
    assert result.seconds > 0


def test_files_that_are_not_taken(image: Path, tmp_path: Path) -> None:
    predictor = ToyPredictor('boxes')
    text, cut = tmp_path / 'text.jpg', tmp_path / 'cut.png'
    text.write_text('no image')
    cut.write_bytes(image.read_bytes()[:-30])
    for path, said in ((text, 'cannot be decoded'), (cut, 'is cut off')):
        with pytest.raises(ImageError, match=f'^Image {path.name} {said}') as caught:
            read_image(predictor, path, max_pixels=10**6)
        assert str(tmp_path) not in str(caught.value)
        assert 'annotation' not in str(caught.value)
    with pytest.raises(ImageError, match=r'300 x 200 pixels.* 0\.05 million'):
        read_image(predictor, image, max_pixels=50_000)
    assert read_image(predictor, image, max_pixels=60_000).shape == (HEIGHT, WIDTH, 3)
    assert predictor.calls == 0
    assert thumbnail(text) is None
    Image.new('RGB', (900, 300)).save(tmp_path / 'wide.jpg')
    assert thumbnail(tmp_path / 'wide.jpg').size == (192, 64)


def test_results_are_kept_while_there_is_room(image: Path) -> None:
    size = look('boxes', image).num_bytes
    assert size > (3 + 3) * HEIGHT * WIDTH * 5  # masks and image, in both sizes
    store = ResultStore(most_bytes=int(2.5 * size))
    first, second = store.add(look('boxes', image)), store.add(look('boxes', image))
    assert first != second
    assert store.get(first) is not store.get(second)
    store.get(first)
    third = store.add(look('boxes', image))
    assert [store.get(name) is not None for name in (first, second, third)] == [True, False, True]
    alone = ResultStore(most_bytes=0)
    name = alone.add(SimpleNamespace(num_bytes=1))
    assert alone.get(name) is not None
    alone.add(SimpleNamespace(num_bytes=1))
    assert alone.get(name) is None
    assert alone.get('no such') is None
