"""tools/test.py: metrics, pictures beside ground truth, test-time augmentation, outputs."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from tiny_detection import CLASSES, CONFIG, ROOT, TinyTask, run_tool

from vitadapter_dense.command_line.run_files import best_checkpoint
from vitadapter_dense.inference.instance_tta import InstanceTTAModel
from vitadapter_dense.reports.run_logs import scalar_files


@pytest.fixture(scope='module')
def moved_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same configuration, its data root at a folder that does not exist."""
    config = tmp_path_factory.mktemp('moved') / 'tiny.py'
    config.write_text(CONFIG.format(root=ROOT, data='/no/such/data', classes=CLASSES))
    return config


def test_best_checkpoint_is_scored_and_drawn_on_other_data(
    tiny_task: TinyTask, moved_config: Path, tmp_path: Path
) -> None:
    out = tmp_path / 'metrics.json'
    arguments = ['--data-root', tiny_task.data, '--work-dir', tmp_path, '--out', out, '--show-dir']
    arguments += ['--report', '--by-frequency']
    metrics, printed = run_tool('test.py', moved_config, tiny_task.work_dir, *arguments)

    lines = scalar_files(tiny_task.work_dir)[0].read_text().splitlines()
    logged = [json.loads(line).get('coco/bbox_mAP', 0) for line in lines]
    assert metrics['coco/bbox_mAP'] == pytest.approx(max(logged), abs=1e-6)
    assert json.loads(out.read_text()) == pytest.approx(metrics)
    assert str(best_checkpoint(tiny_task.work_dir)) in printed
    (masks,) = re.findall(r'^  masks +([\d.]+)', printed, re.MULTILINE)
    assert float(masks) == pytest.approx(metrics['coco/segm_mAP'], abs=5e-4)

    pictures = sorted((tmp_path / 'pictures').glob('*.png'))
    assert [picture.name for picture in pictures] == ['val_0.png', 'val_1.png', 'val_2.png']
    drawn = cv2.imread(str(pictures[0]))
    image = cv2.imread(str(tiny_task.data / 'val' / 'val_0.jpg'))
    image = cv2.resize(image, None, fx=8, fy=8)  # a small one is enlarged for drawing
    assert drawn.shape == (22 + 512, 1280, 3)  # with a line of titles
    truth, prediction = drawn[22:, :640].astype(int), drawn[22:, 640:].astype(int)
    assert np.abs(truth - image).max() > 30
    assert np.abs(truth - prediction).max() > 30

    page = (tmp_path / 'report.html').read_text()
    assert all(name in page for name in (*CLASSES, 'box AP50', 'mask AP', 'val_0.jpg'))
    assert page.count('data:image/jpeg') == 3  # each image is among the best or the worst
    table = (tmp_path / 'report' / 'metrics_by_class.csv').read_text().splitlines()
    by_class = [float(row.split(',')[1]) for row in table[1:]]
    assert np.mean(by_class) == pytest.approx(metrics['coco/bbox_mAP'], abs=6e-4)
    objects = json.loads((tiny_task.data / 'annotations' / 'instances_train.json').read_text())
    pairs = {(one['category_id'], one['image_id']) for one in objects['annotations']}
    groups = defaultdict(list)
    for row, category in zip(table[1:], objects['categories'], strict=True):
        number = sum(category['id'] == kind for kind, _ in pairs)
        assert row.startswith(category['name'])
        assert int(row.split(',')[-1]) == number
        group = 'rare' if number <= 10 else 'common' if number <= 100 else 'frequent'
        groups[group].append(float(row.split(',')[1]))
    for group, values in groups.items():
        assert metrics[f'coco/bbox_mAP_{group}'] == pytest.approx(np.mean(values), abs=6e-4)
    rows = (tmp_path / 'report' / 'confusion_matrix.csv').read_text().splitlines()
    counts = np.array([[int(cell) for cell in row.split(',')[1:]] for row in rows[1:]])
    content = json.loads((tiny_task.data / 'annotations' / 'instances_val.json').read_text())
    assert counts[:-1].sum() == len(content['annotations'])
    assert all(name in printed for name in ('box AP75', str(tmp_path / 'report.html')))


def test_a_report_replaces_its_own_and_no_other(tiny_task: TinyTask, tmp_path: Path) -> None:
    """Without data to test on it shows the training; a stranger's file stays."""
    config = tmp_path / 'alone.py'
    text = tiny_task.config.read_text()
    names = ('dataloader', 'evaluator', 'cfg')
    text += ''.join(f'test_{name} = None\nval_{name} = None\n' for name in names)
    config.write_text(text)
    work_dir = shutil.copytree(tiny_task.work_dir, tmp_path / 'work')
    command = ['test.py', config, work_dir, '--report']
    for _ in range(2):
        assert run_tool(*command)[0] == {}
    page = (work_dir / 'report.html').read_text()
    assert 'no data to test on' not in page
    assert 'validation at epoch 2' in page
    assert page.count('data:image/png') == 1
    with pytest.raises(SystemExit, match=r'alone.*no test_dataloader'):
        run_tool(*command[:-1])
    other = config.with_name('other.py')
    other.write_text(text)
    with pytest.raises(SystemExit, match=r'other\.py did not make it.*report\.html'):
        run_tool('test.py', other, work_dir, '--report')
    with pytest.raises(SystemExit, match=r'tiny\.py did not make it.*report\.html'):
        run_tool('test.py', tiny_task.config, work_dir, '--report')
    assert (work_dir / 'report.html').read_text() == page


def test_augmented_views_are_merged_and_predictions_saved(
    tiny_task: TinyTask, tmp_path: Path
) -> None:
    work_dir = shutil.copytree(tiny_task.work_dir, tmp_path / 'work')
    before = {path: path.read_bytes() for path in work_dir.rglob('*') if path.is_file()}
    out = tmp_path / 'predictions.pkl'
    arguments = [work_dir, '--tta', '--out', out]
    run_tool('test.py', tiny_task.config, *arguments)
    metrics, _ = run_tool('test.py', tiny_task.config, *arguments)  # over its own file
    assert all(path.read_bytes() == content for path, content in before.items())
    copies = [path for path in work_dir.glob('*/tiny.py') if 'PrepareTTAHook' in path.read_text()]
    assert len(copies) in (1, 2)  # in the folders of the logs, which may be of one second
    assert 0 <= metrics['coco/bbox_mAP'] <= 1
    assert 0 <= metrics['coco/segm_mAP'] <= 1
    predictions = pickle.loads(out.read_bytes())
    assert len(predictions) == 3
    assert all(len(sample['pred_instances']['bboxes']) for sample in predictions)
    masks = [rle for sample in predictions for rle in sample['pred_instances']['masks']]
    assert {tuple(rle['size']) for rle in masks} == {(64, 80)}
    out.write_text('of the user')
    with pytest.raises(SystemExit, match=r'predictions\.pkl'):
        run_tool('test.py', tiny_task.config, *arguments)


def test_flipped_views_are_turned_back_and_the_best_instance_kept() -> None:
    from mmdet.models.detectors.base import BaseDetector
    from mmdet.structures import DetDataSample

    def view(flip: str | None, boxes: list[list[float]], scores: list[float]) -> DetDataSample:
        masks = torch.zeros(len(boxes), 20, 40, dtype=torch.bool)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
            mask[int(y1) : int(y2), int(x1) : int(x2)] = True
        sample = DetDataSample(metainfo=dict(ori_shape=(20, 40), turned=flip))
        sample.pred_instances = InstanceData(
            bboxes=torch.tensor(boxes).reshape(-1, 4),
            scores=torch.tensor(scores),
            labels=torch.zeros(len(boxes), dtype=torch.long),
            masks=masks,
        )
        return sample

    class Nothing(BaseDetector):
        loss = predict = _forward = extract_feat = None

    config = dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=2)
    model = InstanceTTAModel(tta_cfg=config, module=Nothing())
    views = [
        view(None, [[0.0, 0.0, 10.0, 10.0]], [0.5]),
        view('horizontal', [[30.0, 0.0, 40.0, 10.0], [0.0, 5.0, 9.0, 20.0]], [0.9, 0.4]),
        view('diagonal', [[30.0, 0.0, 40.0, 10.0]], [0.3]),
    ]
    (merged,) = model.merge_preds([views])
    found = merged.pred_instances
    assert found.bboxes.tolist() == [[0, 0, 10, 10], [31, 5, 40, 20]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.4])
    assert found.masks[0, :10, :10].all()
    assert found.masks[0].sum() == 100
    assert found.masks[1, 5:, 31:].all()
    alone = view(
        'horizontal', [[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 8.0]] * 2, [0.4, 0.3, 0.2, 0.1]
    )
    (turned,) = model.merge_preds([[alone]])  # as many, and in the order, as without views
    assert turned.pred_instances.bboxes.tolist() == [[31, 0, 40, 9], [31, 0, 40, 8]] * 2
    (empty,) = model.merge_preds([[view(None, [], []), view('vertical', [], [])]])
    assert len(empty.pred_instances) == 0


@pytest.mark.parametrize(
    ('checkpoint', 'arguments', 'message'),
    [
        ('no_such.pth', [], 'no_such.pth'),
        ('{empty}', [], 'holds no checkpoint'),
        ('{work}', ['--out', 'x.txt'], 'pkl.*json'),
        ('{work}', ['--data-root', '{empty}'], 'is empty'),
    ],
)
def test_bad_arguments_end_with_a_message(
    tiny_task: TinyTask, tmp_path: Path, checkpoint: str, arguments: list[str], message: str
) -> None:
    places = dict(empty=tmp_path, work=tiny_task.work_dir)
    words = [word.format(**places) for word in (checkpoint, *arguments)]
    with pytest.raises(SystemExit, match=message):
        run_tool('test.py', tiny_task.config, *words)


def test_truncated_checkpoint_is_refused(tiny_task: TinyTask, tmp_path: Path) -> None:
    broken = tmp_path / 'broken.pth'
    broken.write_bytes((tiny_task.work_dir / 'epoch_2.pth').read_bytes()[:100_000])
    with pytest.raises(SystemExit, match='truncated'):
        run_tool('test.py', tiny_task.config, broken, '--work-dir', tmp_path)
