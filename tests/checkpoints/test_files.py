"""Files are written whole or not at all, and found again."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from vitadapter_dense.checkpoints.files import (
    atomic_write,
    latest_checkpoint,
    remove_partial_files,
    write_checkpoint,
    write_pointer,
)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / 'file'
    with atomic_write(path) as file:
        file.write(b'old')

    def interrupted_write():
        with atomic_write(path) as file:
            file.write(b'new')
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_write()
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['file']


def test_a_termination_waits_for_the_end_of_a_write(tmp_path):
    """With that signal a launcher ends the other processes when one has failed."""
    came = []
    before = signal.signal(signal.SIGTERM, lambda *_: came.append((tmp_path / 'file').exists()))
    try:
        with atomic_write(tmp_path / 'file') as file:
            file.write(b'first half')
            os.kill(os.getpid(), signal.SIGTERM)
            file.write(b', second half')
            assert came == []
        assert came == [True]
        assert (tmp_path / 'file').read_bytes() == b'first half, second half'
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / 'file'
    with atomic_write(path) as file:
        file.write(b'old')
    with atomic_write(path) as file:
        file.write(b'new')
        file.flush()
        assert path.read_bytes() == b'old'
    assert path.read_bytes() == b'new'


def test_partial_files_are_removed_and_nothing_else(tmp_path):
    for name in ('.epoch_1.pth.partial', 'epoch_1.pth', '.hidden'):
        (tmp_path / name).touch()
    assert remove_partial_files(tmp_path) == [tmp_path / '.epoch_1.pth.partial']
    assert set(os.listdir(tmp_path)) == {'epoch_1.pth', '.hidden'}


def test_the_latest_checkpoint_is_found_in_a_moved_folder(tmp_path):
    folder = tmp_path / 'run'
    folder.mkdir()
    assert latest_checkpoint(folder) is None
    write_checkpoint(dict(weight=torch.zeros(1)), folder / 'epoch_1.pth')
    write_pointer(folder, str(folder / 'epoch_1.pth'))
    moved = folder.rename(tmp_path / 'moved')
    assert latest_checkpoint(moved) == str(moved / 'epoch_1.pth')
    (moved / 'epoch_1.pth').unlink()
    with pytest.raises(FileNotFoundError, match='which does not exist; pass the checkpoint'):
        latest_checkpoint(moved)
