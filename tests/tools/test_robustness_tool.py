"""tools/analysis/robustness.py against a data set of corrupted files, and a second run of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from tiny_detection import TinyTask, run_tool

from vitadapter_dense.datasets.corruption import corrupt, seed_of
from vitadapter_dense.inference.under_corruption import Record

TOOL = 'analysis/robustness.py'


def results_of(path: Path) -> dict:
    entries = json.loads(path.read_text())['results']
    return {(entry['corruption'], entry['severity']): entry['metrics'] for entry in entries}


def test_equals_an_evaluation_of_corrupted_files(tiny_task: TinyTask, tmp_path: Path) -> None:
    out = tmp_path / 'out.json'
    command = [TOOL, tiny_task.config, tiny_task.work_dir, '--work-dir', tmp_path / 'logs']
    asked = ['--corruptions', 'fog', 'contrast', '--severities', 2]
    _, printed = run_tool(*command, '--out', out, *asked)
    found = results_of(out)
    assert list(found) == [('clean', 0), ('fog', 2), ('contrast', 2)]
    assert 'mPC' in printed
    assert out.with_suffix('.png').is_file()

    files = tmp_path / 'data'
    shutil.copytree(tiny_task.data, files)
    listed = json.loads((files / 'annotations' / 'instances_val.json').read_text())['images']
    for name in (entry['file_name'] for entry in listed):
        image = next(files.rglob(name))
        rgb = cv2.imread(str(image))[..., ::-1]
        fog = corrupt(rgb, 'fog', 2, seed=seed_of(str(image), 'fog', 2))
        image.write_bytes(cv2.imencode('.png', fog[..., ::-1])[1])  # nothing may be lost
    data = ['--data-root', files, '--out', tmp_path / 'files.json', '--corruptions', 'snow']
    run_tool(*command, *data, '--severities', 1)
    assert results_of(tmp_path / 'files.json')['clean', 0] == found['fog', 2]

    # a second run measures what is missing, in any order
    content = out.read_text()
    _, printed = run_tool(*command, '--out', out, '--corruptions', 'contrast', '--severities', 2)
    assert out.read_text() == content
    assert 'fog' not in printed


def test_numbers_of_numpy_are_kept(tmp_path: Path) -> None:
    """Those of MMSegmentation are float32, which Python takes for no float."""
    (tmp_path / 'model.pth').touch()
    data = dict(test_dataloader=dict(dataset={}), test_evaluator={}, model={})
    cfg = Config(dict(data, load_from=str(tmp_path / 'model.pth')))
    metrics = dict(mIoU=np.float32(0.5), top1=np.float64(2.0), count=3, name='x')
    Record(tmp_path / 'out.json', cfg).add(('fog', 1), metrics)
    found = Record(tmp_path / 'out.json', cfg).results
    assert found == {('fog', 1): dict(mIoU=0.5, top1=2.0, count=3.0)}


def test_what_does_not_fit_is_refused(tiny_task: TinyTask, tmp_path: Path) -> None:
    command = [TOOL, tiny_task.config, tiny_task.work_dir, '--work-dir', tmp_path]
    with pytest.raises(SystemExit, match=r"no corruption 'fogg'.*fog"):
        run_tool(*command, '--corruptions', 'fogg')
    with pytest.raises(SystemExit, match='severity=7'):
        run_tool(*command, '--severities', 7)
    with pytest.raises(SystemExit, match=r'must end with \.json'):
        run_tool(*command, '--out', tmp_path / 'out.png')
