"""tools/demo/image_demo.py: what goes in, what comes out, what happens to a broken image."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_detection import TinyTask, load_tool, run_tool

DEMO = 'demo/image_demo.py'


def test_folder_is_drawn_and_a_broken_image_named(
    tiny_task: TinyTask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = shutil.copytree(tiny_task.data / 'val', tmp_path / 'images')
    grey = cv2.imread(str(images / 'val_1.jpg'), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(images / 'val_1.png'), cv2.resize(grey, (47, 33)))
    (images / 'broken.jpg').write_bytes((images / 'val_2.jpg').read_bytes()[:100])
    (images / 'notes.txt').write_text('not an image')
    out = tmp_path / 'drawn'

    arguments = [images, tiny_task.config, tiny_task.work_dir, '--out-dir', out, '--device', 'cpu']
    status, printed = run_tool(DEMO, *arguments, '--score-thr', 0)

    assert status == 1
    assert str(images / 'broken.jpg') in capsys.readouterr().err
    assert '4 of 5' in printed
    names = sorted(picture.name for picture in out.glob('*.png'))
    assert names == ['val_0.png', 'val_1.jpg.png', 'val_1.png.png', 'val_2.png']
    drawn, image = cv2.imread(str(out / 'val_0.png')), cv2.imread(str(images / 'val_0.jpg'))
    image = cv2.resize(image, None, fx=8, fy=8)  # a small one is enlarged for drawing
    assert drawn.shape == image.shape
    assert np.abs(drawn.astype(int) - image).max() > 30
    assert cv2.imread(str(out / 'val_1.png.png')).shape == (33 * 13, 47 * 13, 3)


def test_images_of_the_user_stay_in_the_folder_of_the_pictures(
    tiny_task: TinyTask, tmp_path: Path
) -> None:
    images = shutil.copytree(tiny_task.data / 'val', tmp_path / 'images')
    (images / 'val_2.jpg').unlink()
    shutil.copy(images / 'val_0.jpg', images / '._val_0.jpg')  # as macOS leaves them
    before = {path: path.read_bytes() for path in images.iterdir()}
    model = [tiny_task.config, tiny_task.work_dir, '--score-thr', 1, '--device', 'cpu']
    arguments = [images, *model, '--out-dir', images]
    for _ in range(2):  # the second run finds the pictures of the first
        status, printed = run_tool(DEMO, *arguments)
        assert status == 0
        assert '2 of 2' in printed
    drawn = images / 'val_1.png'
    with pytest.raises(SystemExit, match='is what is read here'):
        run_tool(DEMO, drawn, *arguments[1:])
    cv2.imwrite(str(drawn), np.zeros((9, 9, 3), np.uint8))
    before[drawn] = drawn.read_bytes()
    drawn.with_suffix('.jpg').unlink()  # the image above is the only one of its name
    with pytest.raises(SystemExit, match=r'val_1\.png is what is read here'):
        run_tool(DEMO, *arguments)
    del before[drawn.with_suffix('.jpg')]
    assert all(path.read_bytes() == content for path, content in before.items())


def test_pictures_of_other_kinds_are_drawn(tiny_task: TinyTask, tmp_path: Path) -> None:
    """A GIF, which OpenCV may not know, and 16 bits with transparency."""
    image = cv2.imread(str(tiny_task.data / 'val' / 'val_1.jpg'))
    Image.fromarray(image[..., ::-1]).save(tmp_path / 'moving.gif')
    deep = np.dstack([image, np.full_like(image[..., :1], 7)]).astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / 'deep.png'), deep)
    for name in ('moving.gif', 'deep.png'):
        command = [tmp_path / name, tiny_task.config, tiny_task.work_dir, '--device', 'cpu']
        status, _ = run_tool(DEMO, *command, '--out-dir', tmp_path / 'drawn', '--score-thr', 1)
        assert status == 0
        drawn = cv2.imread(str((tmp_path / 'drawn' / name).with_suffix('.png')))
        expected = cv2.resize(image, drawn.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        assert np.abs(drawn.astype(int) - expected).mean() < 8


def test_no_prediction_leaves_the_image_as_it_is(tiny_task: TinyTask, tmp_path: Path) -> None:
    pattern = tiny_task.data / 'val' / 'val_[02].jpg'
    arguments = [pattern, tiny_task.config, tiny_task.work_dir / 'epoch_1.pth', '--device', 'cpu']
    status, _ = run_tool(DEMO, *arguments, '--out-dir', tmp_path, '--score-thr', 1)
    assert status == 0
    for name in ('val_0', 'val_2'):
        drawn = cv2.imread(str(tmp_path / f'{name}.png'))
        image = cv2.imread(str(tiny_task.data / 'val' / f'{name}.jpg'))
        image = cv2.resize(image, drawn.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        assert np.abs(drawn.astype(int) - image).mean() < 5


@pytest.mark.parametrize('source', ['{empty}', '{empty}/*.jpg', '{empty}/missing.jpg'])
def test_nothing_to_draw_is_an_error(tmp_path: Path, source: str) -> None:
    with pytest.raises(FileNotFoundError, match='no image|Nothing matches'):
        load_tool(DEMO).find_images(source.format(empty=tmp_path))
