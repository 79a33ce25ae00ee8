"""`Predictor` as a user calls it: what goes in, what comes out, and what is refused."""

from __future__ import annotations

import copy
import json
import re
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from pycocotools import mask as coco_mask
from tiny_detection import TinyTask

from vitadapter_dense import Predictor
from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.reports.output_files import OutputError


@pytest.fixture(scope='module')
def predictor(tiny_task: TinyTask) -> Predictor:
    return Predictor(tiny_task.work_dir, device='cpu')


def same(first, second) -> bool:
    return all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ('boxes', 'scores', 'labels', 'masks')
    )


def test_one_image_is_one_prediction_however_it_is_given(
    predictor, tiny_task, tmp_path, monkeypatch
):
    monkeypatch.setenv('no_proxy', '*')
    path = tiny_task.data / 'val' / 'val_0.jpg'
    found = predictor(path)
    sample = predictor.predict(predictor.prepare(path)).pred_instances
    assert np.array_equal(found.boxes, sample.bboxes.numpy())
    assert np.array_equal(found.scores, sample.scores.numpy())
    assert found.masks.shape == (len(found.boxes), *found.image.shape[:2])
    assert found.masks.dtype == bool
    assert found.names == predictor.names
    assert found.label_map is None
    assert found.path == str(path)
    array = cv2.imread(str(path))
    assert np.array_equal(found.image, array[..., ::-1])
    assert same(predictor(str(path)), found)
    assert same(predictor(array), found)
    Image.fromarray(array[..., ::-1]).save(tmp_path / 'same.png')
    with Image.open(tmp_path / 'same.png') as image:
        assert same(predictor(image), found)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tiny_task.data / 'val'))
    handler.log_message = lambda *_: None
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}'
        assert same(predictor(f'{address}/val_0.jpg'), found)
        with pytest.raises(DatasetError, match=f'{address}/missing.jpg: .*404'):
            predictor(f'{address}/missing.jpg')
        server.shutdown()


def test_a_list_gives_what_one_at_a_time_gives(predictor, tiny_task):
    paths = sorted((tiny_task.data / 'val').glob('*.jpg'))
    other = cv2.resize(cv2.imread(str(paths[0])), (47, 33))
    images = [paths[0], other, *paths[1:], str(paths[0])]
    alone = [predictor(image) for image in images]
    for batch_size in (1, 2, 10):
        together = predictor(images, batch_size=batch_size)
        assert [found.path for found in together] == [found.path for found in alone]
        for found, expected in zip(together, alone, strict=True):
            assert np.array_equal(found.labels, expected.labels)
            np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(found.boxes, expected.boxes, rtol=1e-3, atol=1e-2)
    assert predictor([]) == []
    with pytest.raises(ValueError, match='batch_size=0'):
        predictor(images, batch_size=0)


def test_the_example_of_the_readme_runs(tiny_task, tmp_path, capsys):
    page = (Path(__file__).parents[2] / 'README.md').read_text()
    (code,) = [
        block
        for block in re.findall(r'```python\n(.*?)```', page, re.DOTALL)
        if 'Predictor' in block
    ]
    for theirs, ours in (
        ('work_dirs/shapes/mask_rcnn_vitadapter_xs', tiny_task.work_dir),
        ('data/shapes/val/000000.jpg', tiny_task.data / 'val' / 'val_0.jpg'),
        ('drawn.png', tmp_path / 'drawn.png'),
    ):
        assert theirs in code
        code = code.replace(theirs, str(ours))
    exec(code, {})
    assert capsys.readouterr().out.startswith('[(')
    assert (tmp_path / 'drawn.png').is_file()


def test_models_are_named_by_work_directory_file_or_config(predictor, tiny_task, tmp_path):
    path = tiny_task.data / 'val' / 'val_1.jpg'
    found = predictor(path)
    (best,) = tiny_task.work_dir.glob('best_*.pth')
    for arguments in (
        (tiny_task.config, tiny_task.work_dir),
        (str(tiny_task.config), str(best)),
        (Config.fromfile(tiny_task.config), best),
        (tiny_task.work_dir, best),
    ):
        assert same(Predictor(*arguments, device='cpu')(path), found), arguments
    with pytest.raises(ValueError, match=r"tiny\.py' has no weights: name a checkpoint"):
        Predictor(tiny_task.config)
    with pytest.raises(FileNotFoundError, match='holds no configurations'):
        Predictor(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'no configuration file nope\.py'):
        Predictor('nope.py', best)
    for name, message in (('float64', 'must be one of'), ('float16', "'bfloat16' is the narrow")):
        with pytest.raises(ValueError, match=message):
            Predictor(tiny_task.work_dir, device='cpu', precision=name)
    copied = shutil.copytree(tiny_task.work_dir, tmp_path / 'moved')
    narrow = Predictor(copied, device='cpu', precision='bfloat16')
    assert next(narrow.model.parameters()).dtype == torch.float32
    rounded = narrow(path)
    assert rounded.scores.dtype == rounded.boxes.dtype == np.float32
    assert not same(rounded, found)


def test_predictors_beside_each_other_draw_their_own_names(predictor):
    """MMEngine's registry keeps one visualizer of a name for all."""
    other = copy.copy(predictor)
    other.dataset_meta = dict(predictor.dataset_meta, classes=('else',))
    first, second = predictor.make_visualizer(), other.make_visualizer()
    assert first.dataset_meta['classes'] == predictor.names
    assert second.dataset_meta['classes'] == ('else',)


def test_what_comes_out_can_be_sent_and_looked_at(predictor, tiny_task, tmp_path):
    found = predictor(tiny_task.data / 'val' / 'val_2.jpg')
    entries = json.loads(json.dumps(found.to_json()))
    assert len(entries) == len(found.boxes) > 0
    for entry, box, score, label, mask in zip(
        entries, found.boxes, found.scores, found.labels, found.masks, strict=True
    ):
        left, top, width, height = entry['bbox']
        np.testing.assert_allclose([left, top, left + width, top + height], box, rtol=1e-5)
        assert entry['score'] == pytest.approx(float(score))
        assert entry['category_name'] == found.names[label]
        assert np.array_equal(coco_mask.decode(entry['segmentation']).astype(bool), mask)
        assert entry['area'] == mask.sum()
    picture = found.plot(score_thr=0.0)
    assert picture.shape == found.image.shape
    assert not np.array_equal(picture, found.image)
    assert np.array_equal(found.plot(score_thr=1.1), found.image)
    out = found.save(tmp_path / 'new' / 'one.png', score_thr=0.0)
    assert cv2.imread(str(out)) is not None
    found.save(out, score_thr=0.0)
    (tmp_path / 'mine.png').write_bytes(b'dear')
    with pytest.raises(OutputError, match=r'mine\.png'):
        found.save(tmp_path / 'mine.png')


@pytest.mark.parametrize(
    'image', [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8)]
)
def test_other_arrays_are_refused(predictor, image):
    with pytest.raises(ValueError, match='must be .height, width, 3., uint8, BGR'):
        predictor(image)


def test_what_is_no_image_is_named(predictor, tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(b'\xff\xd8\xff')
    for name in ('broken.jpg', 'missing.jpg'):
        with pytest.raises(ValueError, match=name):
            predictor([tmp_path / name])
