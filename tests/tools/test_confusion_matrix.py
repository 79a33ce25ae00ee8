"""tools/analysis/confusion_matrix.py: what it draws and lists, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_detection import CLASSES, TinyTask, run_tool

from vitadapter_dense.reports.confusion_plot import draw_confusions, worst_confusions

TOOL = 'analysis/confusion_matrix.py'


def test_worst_confusions_come_first_with_their_share() -> None:
    matrix = np.array([[90, 10, 0], [30, 70, 0], [0, 0, 0]])
    found = worst_confusions(matrix, ('a', 'b', 'absent'), count=5)
    assert found == [('b', 'a', 30, 0.3), ('a', 'b', 10, 0.1)]


@pytest.mark.parametrize('number', [3, 24])
def test_picture_is_darkest_where_most_pixels_are(number: int, tmp_path: Path) -> None:
    matrix = np.eye(number, dtype=int)
    matrix[0, -1] = 700
    names = [f'class {index}' for index in range(number)]
    draw_confusions(matrix, names, unit='pixels', out=tmp_path / 'some' / 'one.png', command='test')
    picture = cv2.imread(str(tmp_path / 'some' / 'one.png'))
    blue = (picture[..., 0].astype(int) - picture[..., 2] > 60) & (picture[..., 2] < 60)
    assert blue.any()  # row 0, the last column, full
    assert picture.shape[0] > 500


def test_classes_that_are_nowhere_take_no_place(tmp_path: Path) -> None:
    sizes = []
    for number in (4, 40):
        matrix = np.zeros((number, number), int)
        matrix[:4, :4] = 1
        names = [f'class {index}' for index in range(number)]
        draw_confusions(matrix, names, unit='pixels', out=tmp_path / 'one.png', command='test')
        sizes.append(cv2.imread(str(tmp_path / 'one.png')).shape)
    assert sizes[0] == sizes[1]


def test_objects_of_a_detector_are_counted(tiny_task: TinyTask, tmp_path: Path) -> None:
    """Every object once, at both thresholds; what was missed and what is false have names."""
    content = json.loads((tiny_task.data / 'annotations' / 'instances_val.json').read_text())
    out = tmp_path / 'one.png'
    command = [TOOL, tiny_task.config, tiny_task.work_dir, '--work-dir', tmp_path, '--out', out]
    for threshold in ('0', '0.9'):
        _, printed = run_tool(*command, '--score-thr', threshold)
        head, *rows = csv.reader(out.with_suffix('.csv').read_text().splitlines())
        assert head[1:] == [*CLASSES, '(missed)']
        assert [row[0] for row in rows] == [*CLASSES, '(false)']
        counts = np.array([row[1:] for row in rows], int)
        assert counts[:-1].sum() == len(content['annotations'])
        recall = 100 * np.trace(counts) / len(content['annotations'])
        assert f'recall {recall:.2f}' in printed
    assert counts[:, :-1].sum() == 0  # nothing is as sure as that after so short a training
    with pytest.raises(SystemExit, match='iou_thr'):
        run_tool(*command, '--iou-thr', '0')


def test_configuration_without_test_data_is_refused(tiny_config: Path, tmp_path: Path) -> None:
    options = ['--cfg-options', 'test_dataloader=None']
    with pytest.raises(SystemExit, match='segmentor or a detector with test data'):
        run_tool(TOOL, tiny_config, tmp_path, *options)
