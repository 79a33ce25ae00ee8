"""Checkpoints are whole on the disk at any moment."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.training.toys import LossRecorder, TinyModel, build_runner, evaluation
from vitadapter_dense.checkpoints.checked_loading import read_checkpoint
from vitadapter_dense.checkpoints.files import latest_checkpoint
from vitadapter_dense.command_line.run_files import checkpoint_to_resume
from vitadapter_dense.command_line.work_dirs import (
    forget_launch,
    hold_work_dir,
    is_started_again,
)
from vitadapter_dense.training.errors import NotSavedError
from vitadapter_dense.training.full_disk import full_disk_named

# Trains; the second checkpoint's write stops half-way and waits to be killed.
SLOW_WRITER = """
import io, sys, time
from pathlib import Path
import torch
from tests.training.toys import build_runner

folder, save, count = Path(sys.argv[1]), torch.save, 0

def slow_save(checkpoint, file):
    global count
    count += 1
    if count < 2:
        return save(checkpoint, file)
    whole = io.BytesIO()
    save(checkpoint, whole)
    file.write(whole.getvalue()[: whole.tell() // 2])
    file.flush()
    (folder / 'writing').touch()
    time.sleep(60)

torch.save = slow_save
build_runner(folder, length=3, checkpoint=dict(max_keep_ckpts=1)).train()
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix in ('.pth', '.partial')}


def test_a_run_killed_while_it_writes_resumes_from_the_last_whole_checkpoint(tmp_path):
    folder = tmp_path / 'killed'
    folder.mkdir()
    root = Path(__file__).parents[2]
    paths = (root, root / 'ops', Path(__file__).parent)
    process = subprocess.Popen(
        [sys.executable, '-c', SLOW_WRITER, str(folder)],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, paths))},
        stdout=subprocess.DEVNULL,
    )
    try:
        for _ in range(1200):
            if (folder / 'writing').exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        assert process.poll() is None, 'the run ended before it was killed'
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()

    assert names(folder) == {'epoch_1.pth', '.epoch_2.pth.partial'}
    assert latest_checkpoint(folder) == str(folder / 'epoch_1.pth')
    assert read_checkpoint(folder / 'epoch_1.pth')['meta']['epoch'] == 1

    whole, resumed = LossRecorder(), LossRecorder()
    build_runner(tmp_path / 'whole', length=3, recorder=whole).train()
    build_runner(
        folder, length=3, recorder=resumed, resume=True, checkpoint=dict(max_keep_ckpts=1)
    ).train()
    assert resumed.losses == {i: loss for i, loss in whole.losses.items() if i >= 4}
    assert names(folder) == {'epoch_3.pth'}


def test_the_old_checkpoint_outlives_the_writing_of_the_new_one(tmp_path, monkeypatch):
    seen, save = [], torch.save

    def watched_save(checkpoint, file):
        seen.append({path.name for path in tmp_path.glob('*.pth')})
        save(checkpoint, file)

    monkeypatch.setattr(torch, 'save', watched_save)
    build_runner(tmp_path, length=4, checkpoint=dict(max_keep_ckpts=1)).train()
    assert seen == [set(), {'epoch_1.pth'}, {'epoch_2.pth'}, {'epoch_3.pth'}]
    assert names(tmp_path) == {'epoch_4.pth'}


class FillsTheDisk(LossRecorder):
    """From the second epoch on nothing more can be written of a checkpoint."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == 4:
            Path(runner.work_dir, '.epoch_2.pth.partial').symlink_to('/dev/full')


@pytest.mark.parametrize('width', [8, 9000])  # it shows at the end, or while torch writes
def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, width):
    runner = build_runner(
        tmp_path,
        model=dict(type=TinyModel, width=width),
        length=3,
        checkpoint=dict(max_keep_ckpts=1),
        recorder=FillsTheDisk(),
    )
    with pytest.raises(
        NotSavedError, match=r'epoch_2\.pth is not written: No space left on device'
    ):
        runner.train()
    assert names(tmp_path) == {'epoch_1.pth'}
    assert latest_checkpoint(tmp_path) == str(tmp_path / 'epoch_1.pth')


def test_what_cannot_be_read_is_no_full_disk():
    for number, kind in ((errno.ENOSPC, NotSavedError), (errno.EIO, OSError)):
        with pytest.raises(kind, match='image.jpg'), full_disk_named():
            raise OSError(number, 'as the system says', 'image.jpg')


def test_a_start_that_was_refused_is_not_gone_on_with(tmp_path, monkeypatch):
    config = tmp_path / 'config.py'
    config.write_text('')

    def start(name: str, count: int, *, refused: bool = False) -> bool:
        monkeypatch.setenv('TORCHELASTIC_RUN_ID', name)
        monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', str(count))
        again = is_started_again(tmp_path, 'pytorch')
        forget_launch(tmp_path, 'pytorch')
        if not refused:
            with hold_work_dir(tmp_path, config, launcher='pytorch'):
                pass
        return again

    assert [start('one', count) for count in (0, 1)] == [False, True]
    os.link(tmp_path / '.launched_by', tmp_path / 'open')  # as a process that reads it meanwhile
    assert start('one', 2)
    (tmp_path / 'open').write_text('')
    assert start('one', 2)  # replaced, and never empty on the way
    assert [start('two', count, refused=True) for count in (0, 1)] == [False, False]
    assert start('one', 3)  # what was refused beside it changes nothing
    assert [start('one', count, refused=True) for count in (0, 1)] == [False, False]


def test_a_run_that_is_started_again_goes_on_from_its_own_last_checkpoint(tmp_path):
    options = dict(length=3, checkpoint=dict(max_keep_ckpts=3))
    build_runner(tmp_path, **options).train()
    first, last = (str(tmp_path / f'epoch_{epoch}.pth') for epoch in (1, 3))
    assert checkpoint_to_resume(str(tmp_path / 'new'), None, again=True) is None
    assert checkpoint_to_resume(str(tmp_path), None) is None  # never by surprise
    assert checkpoint_to_resume(str(tmp_path), None, again=True) == last
    # Killed before it has one, a run that began at an older checkpoint begins there again.
    recorder = LossRecorder(stop_before=5)
    with pytest.raises(InterruptedError):
        build_runner(tmp_path, **options, recorder=recorder, resume=True, load_from=first).train()
    assert checkpoint_to_resume(str(tmp_path), first, again=True) == first


@pytest.mark.parametrize('save_best', ['score', ['score']])
def test_the_best_checkpoint_outlives_the_writing_of_the_next(tmp_path, monkeypatch, save_best):
    seen, save = [], torch.save

    def watched_save(checkpoint, file):
        seen.append({path.name for path in tmp_path.glob('best*.pth')})
        save(checkpoint, file)

    monkeypatch.setattr(torch, 'save', watched_save)
    build_runner(
        tmp_path,
        length=4,
        checkpoint=dict(save_best=save_best, rule='greater', max_keep_ckpts=1),
        **evaluation([0.1, 0.5, 0.4, 0.6]),
    ).train()
    first, second, last = (f'best_score_epoch_{i}.pth' for i in (1, 2, 4))
    # Epochs 1, 2 and 4 are the best so far: checkpoint, best, checkpoint again to record it.
    assert seen == [
        *(set(), set(), {first}),
        *({first}, {first}, {first, second}),
        {second},
        *({second}, {second}, {second, last}),
    ]
    assert names(tmp_path) == {'epoch_4.pth', last}
    hub = read_checkpoint(tmp_path / 'epoch_4.pth')['message_hub']['runtime_info']
    assert hub['best_ckpt'] == str(tmp_path / last)


def test_several_best_checkpoints(tmp_path):
    class TwoScores:
        def __init__(self) -> None:
            self.values = [dict(a=0.1, b=0.9), dict(a=0.2, b=0.8), dict(a=0.3, b=0.7)]

        def evaluate(self, size):
            return self.values.pop(0)

    options = evaluation([])
    options['val_evaluator'].evaluate = TwoScores().evaluate
    build_runner(
        tmp_path,
        length=3,
        checkpoint=dict(save_best=['a', 'b'], rule='greater', max_keep_ckpts=1),
        **options,
    ).train()
    assert names(tmp_path) == {'epoch_3.pth', 'best_a_epoch_3.pth', 'best_b_epoch_1.pth'}


def test_a_resumed_run_removes_what_the_killed_one_had_to(tmp_path):
    """The new checkpoint is whole, the old one not yet deleted: the resume deletes it."""
    options = dict(checkpoint=dict(max_keep_ckpts=1))
    build_runner(tmp_path, length=1, **options).train()
    first = (tmp_path / 'epoch_1.pth').read_bytes()
    build_runner(tmp_path, length=2, resume=True, **options).train()
    (tmp_path / 'epoch_1.pth').write_bytes(first)
    build_runner(tmp_path, length=3, resume=True, **options).train()
    assert names(tmp_path) == {'epoch_3.pth'}


def test_published_checkpoints_hold_the_published_keys(tmp_path):
    build_runner(tmp_path, length=1, checkpoint=dict(published_keys=['state_dict'])).train()
    published = [path for path in tmp_path.glob('*.pth') if path.name != 'epoch_1.pth']
    assert len(published) == 1
    assert published[0].name.startswith('epoch_1-')
    assert set(read_checkpoint(published[0])) == {'state_dict'}
