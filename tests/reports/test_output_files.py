"""A command writes over nothing but its own files, by whatever path they are named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vitadapter_dense.reports.output_files import (
    RECORD,
    OutputError,
    check_outputs,
    claim_folder,
    is_made_by,
    write_output,
)


def write(path: Path, text: str = 'ours', command: str = 'demo') -> None:
    with write_output(path, command=command) as partial:
        partial.write_text(text)


def test_own_file_is_replaced_by_the_command_that_made_it_alone(tmp_path: Path) -> None:
    path = tmp_path / 'new' / 'a.png'
    write(path, 'first')
    write(path, 'second')
    assert path.read_text() == 'second'
    assert is_made_by(path, 'demo')
    assert not is_made_by(path, 'test')
    with pytest.raises(OutputError, match=r'test did not make it.*a\.png.*another name'):
        write(path, command='test')
    path.write_text('edited by hand')
    with pytest.raises(OutputError, match='changed since'):
        write(path)
    assert path.read_text() == 'edited by hand'
    assert sorted(os.listdir(path.parent)) == [RECORD, 'a.png']


def test_folder_that_was_moved_is_still_its_own(tmp_path: Path) -> None:
    write(tmp_path / 'old' / 'a.png')
    (tmp_path / 'old').rename(tmp_path / 'new')
    write(tmp_path / 'new' / 'a.png', 'again')
    assert (tmp_path / 'new' / 'a.png').read_text() == 'again'


def test_a_folder_of_another_hand_is_not_claimed(tmp_path: Path) -> None:
    """What an experiment trains, it trains in folders that it empties and writes over."""
    own, other = tmp_path / 'new' / 'own', tmp_path / 'other'
    claim_folder(own, command='demo')
    (own / 'iter_1.pth').touch()
    assert claim_folder(own, command='demo') == own
    other.mkdir()
    write(other / 'a.png')  # a file of the same command does not make the folder its own
    for folder, command in ((own, 'test'), (other, 'demo'), (other / 'a.png', 'demo')):
        with pytest.raises(OutputError, match='did not make it|is no folder'):
            claim_folder(folder, command=command)


def test_foreign_files_are_named_before_anything_is_written(tmp_path: Path) -> None:
    names = [tmp_path / f'{number}.png' for number in range(6)]
    for name in names[1:]:
        name.write_text('of the user')
    (tmp_path / 'link.png').symlink_to(tmp_path / 'nowhere.png')
    with pytest.raises(OutputError, match=r'1\.png, .*3\.png and 2 more'):
        check_outputs(names, command='demo')
    with pytest.raises(OutputError, match=r'link\.png'):
        write(tmp_path / 'link.png')
    with pytest.raises(OutputError, match='is a folder'):
        write(tmp_path)
    with pytest.raises(OutputError, match=r'1\.png is no folder'):
        write(names[1] / 'below' / 'a.png')
    assert not names[0].exists()
    assert all(name.read_text() == 'of the user' for name in names[1:])


@pytest.mark.parametrize('other', ['link', 'hard link', 'other path'])
def test_input_is_never_an_output(tmp_path: Path, other: str) -> None:
    """Also one that the command made: a picture that is drawn on again."""
    path = tmp_path / 'a.png'
    write(path)
    named = tmp_path / 'b.png'
    if other == 'link':
        named.symlink_to(path)
    elif other == 'hard link':
        os.link(path, named)
    else:
        named = tmp_path / '..' / tmp_path.name / 'a.png'
    with pytest.raises(OutputError, match='is what is read here'):
        check_outputs([path], command='demo', inputs=[named])


def test_what_stopped_halfway_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / 'a.png'
    write(path)

    def stop_halfway() -> None:
        with write_output(path, command='demo') as partial:
            partial.write_text('half')
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_halfway()
    assert path.read_text() == 'ours'
    assert sorted(os.listdir(tmp_path)) == [RECORD, 'a.png']
    write(path, 'again')
