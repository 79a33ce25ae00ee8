"""The same tools on a segmentation configuration, from training to pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_detection import ROOT, losses_by_iteration, run_tool
from tiny_segmentation import CLASSES, CONFIG, write_images


@pytest.mark.slow
def test_every_tool_takes_a_segmentation_configuration(tmp_path: Path) -> None:
    data, work_dir = tmp_path / 'data', tmp_path / 'work'
    write_images(data, 4)
    config = tmp_path / 'tiny_seg.py'
    config.write_text(CONFIG.format(root=ROOT, classes=CLASSES))

    run_tool('train.py', config, '--work-dir', work_dir, '--data-root', data, '--amp')
    assert sorted(losses_by_iteration(work_dir)) == [1, 2, 3, 4]
    arguments = [config, work_dir, '--data-root', data, '--show-dir']
    metrics, _ = run_tool('test.py', *arguments)
    assert 0 <= metrics['mIoU'] <= 100
    image = cv2.imread(str(data / 'images' / '0.jpg'))
    drawn = cv2.imread(str(work_dir / 'pictures' / '0.png'))
    assert drawn.shape == (64, 160, 3)
    assert np.abs(drawn[:, :80].astype(int) - image).max() > 30
    merged, _ = run_tool('test.py', config, work_dir, '--data-root', data, '--tta')
    assert 0 <= merged['mIoU'] <= 100

    out = tmp_path / 'drawn'
    command = [data / 'images', config, work_dir, '--out-dir', out, '--device', 'cpu']
    status, _ = run_tool('demo/image_demo.py', *command)
    assert status == 0
    demo = cv2.imread(str(out / '0.png'))
    assert demo.shape == image.shape
    assert np.abs(demo.astype(int) - image).max() > 30

    run_tool('analysis/plot_logs.py', work_dir)
    assert cv2.imread(str(work_dir / 'curves.png')).std() > 0
    browse = ['--data-root', data, '--num', 1, '--out-dir', tmp_path / 'browse']
    run_tool('analysis/browse_dataset.py', config, *browse)
    assert cv2.imread(str(next((tmp_path / 'browse').iterdir()))).shape == (64, 64, 3)
    _, printed = run_tool('analysis/count_params.py', config, '--depth', 1)
    assert 'decode_head' in printed
    _, printed = run_tool('analysis/get_flops.py', config, '--shape', 64, '--part', 'model')
    assert 'decode_head' in printed
