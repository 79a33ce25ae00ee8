"""What the tools change in a configuration, what they demand of the machine, the progress bar."""

from __future__ import annotations

import importlib
import io
import logging
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from tiny_detection import ROOT, run_script

from tools import train
from vitadapter_cli.options import apply_options, load_config
from vitadapter_dense.command_line.config import (
    apply_amp,
    auto_backend,
    enable_auto_scale_lr,
    override_data_root,
)
from vitadapter_dense.command_line.environment import missing_pieces, require_openmmlab
from vitadapter_dense.command_line.run_files import find_checkpoint
from vitadapter_dense.inference.predictor import build_model
from vitadapter_dense.reports.progress import ProgressBarHook, track
from vitadapter_dense.training.float32_predictions import keep_predictions_float32


def strings(value: object) -> list[str]:
    """Every string in nested containers."""
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value
    return [text for item in items for text in strings(item)] if hasattr(items, '__iter__') else []


@pytest.mark.parametrize('name', ['mask_rcnn_vitadapter_s', 'htc_vitadapter_s'])
def test_data_root_is_replaced_everywhere(name: str) -> None:
    cfg = Config.fromfile(ROOT / 'configs' / 'coco' / f'{name}.py')
    assert override_data_root(cfg, '/elsewhere/coco') == 'data/coco/'
    assert not [text for text in strings(cfg._cfg_dict.to_dict()) if 'data/coco' in text]
    assert cfg.train_dataloader.dataset.data_root == '/elsewhere/coco/'
    expected = '/elsewhere/coco/annotations/instances_val2017.json'
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file == expected


def test_data_root_reaches_wrapped_data_sets_and_nothing_else() -> None:
    plain = dict(type='D', data_root='data/x', data_prefix=dict(img='data/x/img', other='data/xy'))
    wrapped = dict(type='Repeat', dataset=dict(type='Concat', datasets=[plain, dict(plain)]))
    evaluators = [dict(ann_file='data/x/a.json'), dict(ann_file='other/a.json')]
    cfg = Config(
        dict(
            train_dataloader=dict(dataset=wrapped),
            val_evaluator=evaluators,
            load_from='data/x/weights.pth',
        )
    )
    override_data_root(cfg, '/new/')
    for dataset in cfg.train_dataloader.dataset.dataset.datasets:
        assert dataset.data_root == '/new/'
        assert dataset.data_prefix == dict(img='/new/img', other='data/xy')
    assert [item.ann_file for item in cfg.val_evaluator] == ['/new/a.json', 'other/a.json']
    assert cfg.load_from == 'data/x/weights.pth'


def test_several_data_roots_cannot_be_overridden() -> None:
    sets = [dict(type='D', data_root='a'), dict(type='D', data_root='b')]
    cfg = Config(dict(train_dataloader=dict(dataset=dict(type='Concat', datasets=sets))))
    with pytest.raises(ValueError, match='found: a, b'):
        override_data_root(cfg, '/new')


def test_unknown_options_are_named(caplog: pytest.LogCaptureFixture) -> None:
    cfg = Config(dict(model=dict(backbone=dict(depth=4)), hooks=[dict(a=1)]))
    options = {'model.backbone.dep': 5, 'model.backbone.depth': 6, 'hooks.0.a': 2, 'hooks.0.b': 3}
    first, second = apply_options(cfg, options)
    assert "no 'model.backbone.dep' yet, it is added; similar: depth" in first
    assert "no 'hooks.0.b' yet" in second
    cfg.model.backbone.type = 'ViTAdapter'  # then its class tells
    assert apply_options(cfg, {'model.backbone.with_cp': True}) == []
    with pytest.raises(ValueError, match='use --data-root'):
        apply_options(cfg, {'data_root': 'a'})
    assert cfg.model.backbone.depth == 6
    assert cfg.hooks[0].a == 2


def test_loader_without_workers_keeps_none(tiny_config: Path) -> None:
    workers = {'train_dataloader.persistent_workers': True, 'train_dataloader.prefetch_factor': 4}
    kept = load_config(tiny_config, options={**workers, 'train_dataloader.num_workers': 1})
    assert kept.train_dataloader.persistent_workers
    alone = load_config(tiny_config, options={**workers, 'train_dataloader.num_workers': 0})
    assert {'persistent_workers', 'prefetch_factor'}.isdisjoint(alone.train_dataloader)


def test_mixed_precision_keeps_the_optimiser() -> None:
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1))))
    apply_amp(cfg, 'bfloat16')
    assert cfg.optim_wrapper == dict(
        type='AutocastOptimWrapper', dtype='bfloat16', optimizer=dict(type='SGD', lr=1)
    )
    cfg.optim_wrapper.type = 'DeepSpeedOptimWrapper'
    with pytest.raises(ValueError, match='DeepSpeedOptimWrapper'):
        apply_amp(cfg, 'bfloat16')


def test_learning_rate_scaling_needs_a_base() -> None:
    cfg = Config(dict(auto_scale_lr=dict(enable=False, base_batch_size=16)))
    enable_auto_scale_lr(cfg)
    assert cfg.auto_scale_lr.enable
    with pytest.raises(ValueError, match='base_batch_size'):
        enable_auto_scale_lr(Config(dict(auto_scale_lr=dict(enable=False))))


def test_backend_without_a_gpu_is_gloo(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = Config(dict(env_cfg=dict(dist_cfg=dict(backend='nccl'))))
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    assert auto_backend(cfg) == 'nccl'
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    assert auto_backend(cfg) == cfg.env_cfg.dist_cfg.backend == 'gloo'


def test_checkpoint_of_a_moved_work_dir_is_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='holds no checkpoint'):
        find_checkpoint(tmp_path)
    (tmp_path / 'epoch_1.pth').touch()
    (tmp_path / 'epoch_2.pth').touch()
    (tmp_path / 'last_checkpoint').write_text('/gone/epoch_1.pth')
    assert find_checkpoint(tmp_path) == tmp_path / 'epoch_1.pth'
    (tmp_path / 'best_coco_bbox_mAP_epoch_1.pth').touch()
    assert find_checkpoint(tmp_path) == tmp_path / 'best_coco_bbox_mAP_epoch_1.pth'


def test_whole_environment_has_no_missing_pieces() -> None:
    assert missing_pieces(['mmdet', 'mmseg']) == []


def test_operators_that_do_not_load_are_told_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = importlib.import_module

    def import_module(name: str) -> object:
        if name == 'mmcv._ext':
            raise ImportError('undefined symbol. Mend: install another')
        return found(name)

    monkeypatch.setattr('importlib.import_module', import_module)
    with pytest.raises(SystemExit, match='operators do not load: undefined symbol. Mend: install'):
        require_openmmlab()


@pytest.mark.parametrize('files', ['mmcv/__init__.py,,\n', ''])
def test_two_copies_of_openmmlab_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: str
) -> None:
    """An empty distribution under the name, which some install for others to find, is none."""
    info = tmp_path / 'mmcv-2.2.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Name: mmcv\nVersion: 2.2.0\n')
    (info / 'RECORD').write_text(files)
    monkeypatch.syspath_prepend(tmp_path)
    problems = missing_pieces()
    if not files:
        assert problems == []
        return
    (problem,) = problems
    assert problem.startswith('mmcv and onedl-mmcv==2.3.6 are both installed')
    assert '`pip uninstall -y mmcv`' in problem
    assert problem.endswith('--no-cache-dir onedl-mmcv==2.3.6`.')


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def train_three_iterations(hook: ProgressBarHook, logger: logging.Logger) -> None:
    runner = SimpleNamespace(iter=0, epoch=0, max_iters=3, max_epochs=2, logger=logger)
    hook.before_train(runner)
    for iteration in range(3):
        runner.iter = iteration
        hook.after_train_iter(runner, iteration, outputs=dict(loss=1.5))
        logger.info(f'line {iteration}')
    hook.after_train(runner)


@pytest.mark.parametrize('stream', [Terminal(), io.StringIO()])
def test_bar_is_shown_on_a_terminal_only(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, 'stderr', stream)
    monkeypatch.setenv('TERM', 'xterm')
    logger = MMLogger('bar', logger_name='bar')
    (handler,) = logger.handlers
    handler.setStream(stream)
    train_three_iterations(ProgressBarHook(), logger)
    shown = stream.getvalue()
    assert all(f'line {iteration}' in shown for iteration in range(3))
    assert ('3/3' in shown and 'loss 1.500' in shown) == stream.isatty()
    assert handler.stream is sys.stderr is stream


def test_tracked_items_come_out_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, 'stderr', stream)
        assert list(track(range(25), 'things')) == list(range(25))


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh'])
def test_scripts_explain_themselves(script: str) -> None:
    wrong = run_script(ROOT / 'tools' / script, 'config.py', check=False)
    assert wrong.returncode == 2
    assert 'Usage: tools/' in wrong.stderr
    helped = run_script(ROOT / 'tools' / script, '--help')
    assert 'PYTHON' in helped.stdout


@pytest.mark.parametrize(
    ('variables', 'expected'), [({}, '--standalone'), ({'PORT': '29999'}, '29999')]
)
def test_dist_script_starts_the_processes(
    tmp_path: Path, variables: dict[str, str], expected: str
) -> None:
    python = fake_program(tmp_path / 'python')
    command = [ROOT / 'tools' / 'dist_train.sh', 'c.py', 4, '--amp', '--work-dir', 'a b']
    said = run_script(*command, PYTHON=str(python), **variables).stdout.splitlines()
    assert said[0].endswith('tools/dist_launch.py')
    assert expected in said
    assert said[said.index('--nproc_per_node') + 1] == '4'
    assert said[-6:] == ['c.py', '--launcher', 'pytorch', '--amp', '--work-dir', 'a b']


@pytest.mark.parametrize('launcher', ['none', 'pytorch', 'slurm'])
def test_what_goes_on_after_a_stop_is_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, launcher: str
) -> None:
    monkeypatch.delenv('LOCAL_WORLD_SIZE', raising=False)  # torchrun alone sets it
    work_dir = tmp_path / 'my run'
    work_dir.mkdir()
    (work_dir / 'epoch_1.pth').touch()
    args = SimpleNamespace(config='my config.py', launcher=launcher)
    train.tell_how_to_go_on(args, Config(dict(work_dir=str(work_dir))))
    line = capsys.readouterr().err.splitlines()[-1]
    said = line.removeprefix('Continue with: ').removesuffix(' (and the other options as before)')
    assert 'my config.py' in shlex.split(said)
    assert shlex.split(said)[-3:] == ['--work-dir', str(work_dir), '--resume']


def test_a_slip_in_the_number_of_restarts_is_told(tmp_path: Path) -> None:
    python, script = fake_program(tmp_path / 'python'), ROOT / 'tools' / 'dist_train.sh'
    said = run_script(script, 'c.py', 4, PYTHON=str(python), MAX_RESTARTS='08').stdout.splitlines()
    assert said[said.index('--max-restarts') + 1] == '08'
    ran = run_script(script, 'c.py', 4, check=False, PYTHON=str(python), MAX_RESTARTS='3x')
    assert (ran.returncode, ran.stdout) == (2, '')


def test_slurm_script_starts_a_task_for_each_gpu(tmp_path: Path) -> None:
    fake_program(tmp_path / 'srun')
    command = [ROOT / 'tools' / 'slurm_train.sh', 'part', 'job', 'c.py', '--resume']
    path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    said = run_script(*command, PATH=path, GPUS='4', SRUN_ARGS='--time=1').stdout.splitlines()
    assert {'--partition=part', '--ntasks=4', '--gres=gpu:4', '--time=1'} <= set(said)
    assert said[-4:] == ['c.py', '--launcher', 'slurm', '--resume']


@pytest.mark.parametrize(
    ('ends', 'seconds_left', 'queued'),
    [
        ('exit 138', 9999, True),  # the tasks were sent SIGUSR1
        (
            'trap "exit 1" USR1; kill -USR1 $PPID; while :; do sleep .1; done',
            9999,
            True,
        ),  # the shell was
        (
            'trap "exit 143" TERM; kill -TERM $PPID; while :; do sleep .1; done',
            9999,
            False,
        ),  # scancel
        (
            'trap "exit 143" TERM; kill -TERM $PPID; while :; do sleep .1; done',
            60,
            True,
        ),  # the time limit
        (
            'trap "exit 0" USR1; kill -USR1 $PPID; while :; do sleep .1; done',
            60,
            False,
        ),  # it was done
        ('exit 1', 60, False),
    ],
)
def test_a_job_that_is_warned_is_queued_again(
    tmp_path: Path, ends: str, seconds_left: int, queued: bool
) -> None:
    fake_program(tmp_path / 'srun', ends)
    fake_program(tmp_path / 'scontrol')
    path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    command = [ROOT / 'tools' / 'slurm_train.sh', 'part', 'job', 'c.py']
    end = str(int(time.time()) + seconds_left)
    ran = run_script(*command, check=False, PATH=path, SLURM_JOB_ID='7', SLURM_JOB_END_TIME=end)
    said = ran.stdout.splitlines()
    assert said[said.index('c.py') + 1 :][:2] == ['--launcher', 'slurm']
    assert (said[-2:] == ['requeue', '7']) == queued
    done = queued or 'exit 0' in ends
    assert ran.returncode == (0 if done else int(re.search(r'exit (\d+)', ends)[1]))


def fake_program(path: Path, ends: str = '') -> Path:
    """A program that prints its arguments, one a line, and then does what it is told."""
    path.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@"\n{ends}\n')
    path.chmod(0o755)
    if not ends:
        assert subprocess.run([path, 'x'], capture_output=True, text=True).stdout == 'x\n'
    return path


def test_predictions_stay_float32_in_mixed_precision(tiny_config: Path) -> None:
    cfg = Config.fromfile(tiny_config)
    model = build_model(cfg)
    changed = keep_predictions_float32(model)
    heads = {'rpn_head', 'roi_head.bbox_head', 'roi_head.mask_head'}
    assert set(changed) == heads | {'roi_head.bbox_roi_extractor', 'roi_head.mask_roi_extractor'}
    assert keep_predictions_float32(model) == []
    images = torch.rand(1, 3, 64, 64)
    with torch.autocast('cpu', torch.bfloat16):
        maps = model.extract_feat(images)
        predictions = model.rpn_head(maps)
        rois = torch.tensor([[0.0, 3.5, 4.25, 40.75, 50.5]])
        read = model.roi_head.bbox_roi_extractor(maps[:4], rois)
    assert maps[0].dtype == torch.bfloat16
    assert {tensor.dtype for tensors in predictions for tensor in tensors} == {torch.float32}
    exact = model.roi_head.bbox_roi_extractor([level.float() for level in maps[:4]], rois)
    torch.testing.assert_close(read, exact)
