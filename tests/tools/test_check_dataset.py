"""tools/dataset/check_dataset.py: a table, a plot, the exit status; training refuses the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_detection import ROOT, run_tool
from tiny_segmentation import CLASSES, CONFIG, write_images

TOOL = 'dataset/check_dataset.py'


def seg_config(folder: Path, *, images: int = 2, classes: tuple[str, ...] = CLASSES) -> list:
    """The arguments that name a tiny segmentation task in a folder."""
    write_images(folder / 'data', images)
    config = folder / 'tiny_seg.py'
    config.write_text(CONFIG.format(root=ROOT, classes=classes))
    return [config, '--data-root', folder / 'data']


def test_segmentation_is_counted_once_and_drawn(tmp_path: Path) -> None:
    arguments = [*seg_config(tmp_path), '--out', tmp_path / 'plot.png', '--workers', 1]
    status, printed = run_tool(TOOL, *arguments)
    assert status == 0
    assert printed.count(', 2 images') == 1  # validation has the same files
    assert printed.count('warning: all 2 images of val and test are images of training') == 1
    assert 'Nothing would break' in printed
    rows = [line.split() for line in printed.splitlines()]
    counts = {row[0]: int(row[1]) for row in rows if row and row[0] in CLASSES}
    assert list(counts) == list(CLASSES)
    assert sum(counts.values()) == 2 * 64 * 80
    assert cv2.imread(str(tmp_path / 'plot.png')).std() > 0


def test_label_outside_the_classes_is_an_error(tmp_path: Path) -> None:
    arguments = [*seg_config(tmp_path), '--out', tmp_path / 'plot.png', '--workers', 1]
    file = tmp_path / 'data' / 'maps' / '1.png'
    labels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    labels[:2, :3] = 3
    cv2.imwrite(str(file), labels)
    status, printed = run_tool(TOOL, *arguments)
    assert status == 1
    assert f'value 3 is no class: 6 pixels in 1 files, first {file}' in printed
    with pytest.raises(SystemExit, match=r'1\.png has the values \[3\], which are no class'):
        run_tool('train.py', *arguments[:3], '--work-dir', tmp_path / 'work')


@pytest.mark.slow
def test_what_no_sample_shows_ends_the_training_with_the_files_name(tmp_path: Path) -> None:
    arguments = seg_config(tmp_path, images=16)
    for number in range(1, 16, 2):  # every second map is looked into before
        cv2.imwrite(
            str(tmp_path / 'data' / 'maps' / f'{number}.png'), np.full((64, 80), 7, np.uint8)
        )
    with pytest.raises(SystemExit, match=r'maps/\d+\.png has labels that are no class: 7 \('):
        run_tool('train.py', *arguments, '--work-dir', tmp_path / 'work')


@pytest.mark.slow
def test_disagreeing_number_of_classes_ends_before_the_first_step(tmp_path: Path) -> None:
    arguments = seg_config(tmp_path)
    command = [*arguments, '--work-dir', tmp_path / 'work', '--cfg-options']
    with pytest.raises(SystemExit, match=r'decode_head.num_classes is 5, .* has 3 classes'):
        run_tool('train.py', *command, 'model.decode_head.num_classes=5')
    assert not list((tmp_path / 'work').glob('*.pth'))


def test_coco_is_counted_and_broken_images_are_named(tiny_config: Path, tmp_path: Path) -> None:
    data = shutil.copytree(tiny_config.parent / 'data', tmp_path / 'data')
    arguments = [tiny_config, '--data-root', data, '--out', tmp_path / 'p.png', '--workers', 1]
    status, printed = run_tool(TOOL, *arguments)
    assert status == 0
    content = json.loads((data / 'annotations' / 'instances_train.json').read_text())
    expected = sum(item['category_id'] == 1 for item in content['annotations'])
    row = next(line.split() for line in printed.splitlines() if line.startswith('  dark'))
    assert int(row[1]) == expected
    assert cv2.imread(str(tmp_path / 'p.png')).std() > 0

    image = data / 'train' / 'train_0.jpg'
    image.write_bytes(image.read_bytes()[:300])
    cv2.imwrite(str(data / 'train' / 'train_1.jpg'), np.zeros((80, 64, 3), np.uint8))
    status, printed = run_tool(TOOL, *arguments)
    assert status == 1
    assert f'1 x broken, first: image {image} is cut off' in printed
    assert 'train_1.jpg is 64 x 80 pixels, but its annotations are for 80 x 64' in printed
    assert 'To be mended before a training: train' in printed


@pytest.mark.slow
def test_what_does_not_fit_together_is_told_by_both_tools(tiny_config, tmp_path) -> None:
    """Images without objects, in the report and in the log of the run; heads, evaluators."""
    data = shutil.copytree(tiny_config.parent / 'data', tmp_path / 'data')
    file = data / 'annotations' / 'instances_train.json'
    content = json.loads(file.read_text())
    first = content['images'][0]['id']
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] != first]
    file.write_text(json.dumps(content))
    arguments = [tiny_config, '--data-root', data]
    report = ['--out', tmp_path / 'p.png', '--workers', 1]
    run = ['--work-dir', tmp_path / 'work']
    options = ['--cfg-options', 'train_dataloader.dataset.filter_cfg.filter_empty_gt=True']
    said = f'1 of {len(content["images"])} images are without annotations and left out'
    status, printed = run_tool(TOOL, *arguments, *report, *options)
    assert (status, said in printed) == (0, True)
    run_tool('train.py', *arguments, *run, *options, 'train_cfg.max_epochs=1')
    (log,) = (tmp_path / 'work').glob('*/*.log')
    assert f'train: {said}' in log.read_text()

    for option, message in (
        ('model.roi_head.bbox_head.num_classes=80', 'bbox_head.num_classes is 80, but'),
        ('model.roi_head.mask_head.num_classes=1', 'mask_head.num_classes is 1, but'),
        (f'val_evaluator.ann_file={file}', 'val_evaluator.ann_file is '),
    ):
        status, printed = run_tool(TOOL, *arguments, *report, '--cfg-options', option)
        assert (status, message in printed) == (1, True)
        with pytest.raises(SystemExit, match=message):
            run_tool(
                'train.py', *arguments, '--work-dir', tmp_path / 'other', '--cfg-options', option
            )


def test_mixed_batches_and_other_statistics_are_told_by_both_tools(tmp_path: Path) -> None:
    config, *data = seg_config(tmp_path)
    for kind, suffix in (('images', 'jpg'), ('maps', 'png')):
        file = str(tmp_path / 'data' / kind / f'1.{suffix}')
        cv2.imwrite(file, cv2.imread(file, cv2.IMREAD_UNCHANGED)[:, :70])
    text = config.read_text().replace('pretrained=False', "pretrained='/no/such/file'")
    config.write_text(text.replace('deit_tiny_patch16_224', 'vit_tiny_patch16_224.augreg_in21k'))
    options = ['--cfg-options', 'val_dataloader.batch_size=2']
    status, printed = run_tool(
        TOOL, config, *data, '--out', tmp_path / 'p.png', '--workers', 1, *options
    )
    assert status == 1
    assert 'ERROR: val_dataloader.batch_size is 2' in printed
    assert 'mean [127.5, 127.5, 127.5], std [127.5, 127.5, 127.5]' in printed
    assert 'mean [123.675, 116.28, 103.53]' in printed
    work = ['--work-dir', tmp_path / 'work']
    with pytest.raises(SystemExit, match='val_dataloader.batch_size is 2'):
        run_tool('train.py', config, *data, *work, *options)
    with pytest.raises(SystemExit, match='no checkpoint file'):
        run_tool('train.py', config, *data, *work)
    (log,) = (tmp_path / 'work').glob('*/*.log')
    assert 'were trained on images with mean [127.5' in log.read_text()
