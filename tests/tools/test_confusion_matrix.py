"""tools/analysis/confusion_matrix.py: what it draws and lists, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_detection import run_tool

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
    draw_confusions(matrix, names, out=tmp_path / 'some' / 'one.png', command='test')
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
        draw_confusions(matrix, names, out=tmp_path / 'one.png', command='test')
        sizes.append(cv2.imread(str(tmp_path / 'one.png')).shape)
    assert sizes[0] == sizes[1]


def test_configuration_of_a_detector_is_refused(tiny_config: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match='not the configuration of a segmentor'):
        run_tool(TOOL, tiny_config, tmp_path)
