"""tools/train.py: what a run leaves, exact resumption, and what bad input gets."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from tiny_detection import TinyTask, losses_by_iteration, run_script, run_tool

from vitadapter_dense.checkpoints import read_checkpoint
from vitadapter_dense.command_line.run_files import best_checkpoint, last_checkpoint
from vitadapter_dense.reports.run_logs import scalar_files


def test_run_saves_evaluates_and_names_what_it_wrote(tiny_task: TinyTask) -> None:
    assert last_checkpoint(tiny_task.work_dir) == tiny_task.work_dir / 'epoch_2.pth'
    for path in (last_checkpoint(tiny_task.work_dir), best_checkpoint(tiny_task.work_dir)):
        assert str(path) in tiny_task.said
    assert sorted(losses_by_iteration(tiny_task.work_dir)) == [1, 2, 3, 4, 5, 6]
    (scalars,) = scalar_files(tiny_task.work_dir)
    assert str(scalars.parents[1]) in tiny_task.said  # the folder of the log
    records = [json.loads(line) for line in scalars.read_text().splitlines()]
    evaluated = [record for record in records if 'coco/segm_mAP' in record]
    assert [record['step'] for record in evaluated] == [1, 2]
    assert all(0 <= record['coco/bbox_mAP'] <= 1 for record in evaluated)


def test_resumed_run_repeats_the_uninterrupted_one(tiny_task: TinyTask, tmp_path: Path) -> None:
    arguments = [tiny_task.config, '--work-dir', tmp_path, '--seed', 3]
    one_epoch = ['--resume', '--cfg-options', 'train_cfg.max_epochs=1']
    _, printed = run_tool('train.py', *arguments, *one_epoch)
    assert 'from the beginning' in printed
    assert sorted(losses_by_iteration(tmp_path)) == [1, 2, 3]
    run_tool('train.py', *arguments, '--resume', '--amp', 'bfloat16')
    mixed = losses_by_iteration(tmp_path)
    run_tool('train.py', *arguments, '--resume', tmp_path / 'epoch_1.pth')
    whole, resumed = losses_by_iteration(tiny_task.work_dir), losses_by_iteration(tmp_path)
    assert resumed == pytest.approx(whole, rel=1e-5)
    assert mixed[4] == pytest.approx(whole[4], rel=0.05)  # later ones draw other regions
    assert mixed[4] != whole[4]
    written = Config.fromfile(tmp_path / tiny_task.config.name)  # a new run of it is a new run
    assert (written.resume, written.load_from) == (False, None)


def test_checkpoint_of_another_architecture_stops(tiny_task: TinyTask, tmp_path: Path) -> None:
    other = tmp_path / 'other.pth'
    torch.save(dict(state_dict=torch.nn.Sequential(torch.nn.Linear(3, 3)).state_dict()), other)
    with pytest.raises(SystemExit, match='(?s)does not fit.*matched 0.*missing.*unexpected'):
        run_tool(
            'train.py', tiny_task.config, '--work-dir', tmp_path / 'work', '--load-from', other
        )
    assert last_checkpoint(tmp_path / 'work') is None


def test_corrupt_image_is_named_and_the_checkpoint_kept(
    tiny_task: TinyTask,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a data set so large that no look into some of its images shows it before."""
    monkeypatch.setattr('vitadapter_dense.datasets.check_image_files._DECODED', 0)
    data = shutil.copytree(tiny_task.data, tmp_path / 'data')
    broken = data / 'train' / 'train_4.jpg'
    broken.write_bytes(broken.read_bytes()[:-400])
    work_dir = tmp_path / 'work'
    work_dir.mkdir()
    kept = shutil.copy(tiny_task.work_dir / 'epoch_1.pth', work_dir)
    arguments = [tiny_task.config, '--work-dir', work_dir, '--data-root', data, '--resume']
    arguments += ['--seed', 3]  # the first run's
    with pytest.raises(SystemExit, match=f'error: .*{broken}'):
        run_tool('train.py', *arguments)
    assert last_checkpoint(work_dir) == Path(kept)
    assert 'state_dict' in read_checkpoint(kept)
    said = capsys.readouterr().err
    assert str(kept) in said
    assert '--resume' in said


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--data-root', '/no/such/folder'], '/no/such/folder.*make train'),
        (['--resume', 'no_such.pth'], 'no_such.pth'),
        (['--launcher', 'slurm'], 'SLURM_PROCID'),
    ],
)
def test_bad_arguments_end_with_a_message(
    tiny_config: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit, match=f'(?s){message}'):
        run_tool('train.py', tiny_config, '--work-dir', tmp_path, *arguments)


def test_missing_configuration_names_the_nearest() -> None:
    with pytest.raises(SystemExit, match=r'Did you mean: .*mask_rcnn_vitadapter_s\.py'):
        run_tool('train.py', 'configs/coco/mask_rcnn_vitadaptor_s.py')


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('model.backbone.interaction_indexes=[[0,1],[2,2]]', 'do not cover the 4 blocks.*end at 3'),
        ('model.backbone.encoder.window_sizes=[2,2]', 'window_sizes has 2 entries.*4 blocks'),
        ('model.backbone.encoder.model_name=deit_tinny_patch16_224', 'deit_tiny_patch16_224'),
    ],
)
def test_model_that_cannot_be_built_ends_with_a_message(
    tiny_config: Path, tmp_path: Path, option: str, message: str
) -> None:
    with pytest.raises(SystemExit, match=f'error: .*{message}'):
        run_tool('train.py', tiny_config, '--work-dir', tmp_path, '--cfg-options', option)


def test_mixed_precision_of_a_configuration_trains_on_the_cpu(
    tiny_config: Path, tmp_path: Path
) -> None:
    # As configs/coco/cascade_mask_rcnn_*: mmcv's RoIAlign takes no bfloat16.
    options = ['optim_wrapper.type=AutocastOptimWrapper', 'train_cfg.max_epochs=1']
    more = ['--work-dir', tmp_path, '--cfg-options', *options, 'train_cfg.val_begin=2']
    run_tool('train.py', tiny_config, *more)
    losses = losses_by_iteration(tmp_path)
    assert sorted(losses) == [1, 2, 3]
    assert all(0 < loss < 20 for loss in losses.values())


@pytest.mark.slow
def test_two_cpu_processes_train_save_and_evaluate(tiny_task: TinyTask, tmp_path: Path) -> None:
    python = dict(PYTHON=sys.executable)
    more = ['--work-dir', tmp_path, '--cfg-options', 'train_dataloader.batch_size=1']
    run_script('tools/dist_train.sh', tiny_task.config, 2, *more, **python)
    assert sorted(losses_by_iteration(tmp_path)) == [1, 2, 3, 4, 5, 6]
    assert (tmp_path / 'epoch_2.pth').is_file()
    out = tmp_path / 'metrics.json'
    more = ['--out', out, '--show-dir', tmp_path / 'shown']
    run_script('tools/dist_test.sh', tiny_task.config, tmp_path, 2, *more, **python)
    names = sorted(path.name for path in (tmp_path / 'shown').glob('*.png'))
    assert names == ['val_0.png', 'val_1.png', 'val_2.png']
    alone, _ = run_tool('test.py', tiny_task.config, tmp_path)
    together = json.loads(out.read_text())
    assert together['coco/bbox_mAP'] == pytest.approx(alone['coco/bbox_mAP'], abs=1e-6)
