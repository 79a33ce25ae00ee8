"""A work directory belongs to one run of one configuration."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from mmengine.config import Config

from tests.training.toys import build_runner, evaluation
from vitadapter_cli import default_work_dir
from vitadapter_dense.checkpoints.files import latest_checkpoint
from vitadapter_dense.command_line.run_files import last_checkpoint
from vitadapter_dense.command_line.work_dirs import check_work_dir, hold_work_dir, set_tested

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """`configs/one/name.py` of a checkout, that inherits a value."""
    return checkout(tmp_path / 'checkout', value=1)


def checkout(root: Path, *, value: int) -> Path:
    base, config = root / 'configs' / '_base_.py', root / 'configs' / 'one' / 'name.py'
    config.parent.mkdir(parents=True)
    base.write_text(f'value = {value}\n')
    config.write_text("_base_ = '../_base_.py'\n")
    return config


def train(work_dir: Path, config: Path) -> Path:
    """What a run leaves, as far as it matters here; returns its last checkpoint."""
    check_work_dir(work_dir, config)
    with hold_work_dir(work_dir, config):
        (work_dir / 'epoch_1.pth').touch()
        (work_dir / config.name).write_text('value = 7  # with the options of the command line\n')
    return work_dir / 'epoch_1.pth'


def test_every_shipped_configuration_has_its_own_directory():
    configs = sorted((ROOT / 'configs').glob('[!_]*/*.py'))
    count = Counter(map(default_work_dir, configs))
    assert len(configs) > 100
    assert max(count.values()) == 1


def test_the_default_does_not_depend_on_how_the_file_is_named(monkeypatch, tmp_path, config):
    monkeypatch.chdir(config.parent)
    names = ['name.py', '../one/name.py', config]
    assert {default_work_dir(name) for name in names} == {Path('work_dirs/one/name')}
    assert default_work_dir('configs/plain.py') == Path('work_dirs/plain')
    assert default_work_dir('/a/configs/b/configs/c/d/e.py') == Path('work_dirs/c/d/e')
    assert default_work_dir('/data/trial/seg.py') == Path('work_dirs/trial/seg')
    assert default_work_dir('/seg.py') == Path('work_dirs/seg')
    train(tmp_path / 'work', config)
    assert default_work_dir(tmp_path / 'work' / 'name.py') == tmp_path / 'work'


def test_another_configuration_is_named_with_the_first(tmp_path, config):
    work_dir, other = tmp_path / 'work', config.parents[1] / 'two' / 'name.py'
    other.parent.mkdir()
    other.write_text(config.read_text() + 'value = 2\n')
    last = train(work_dir, config)
    for start in (None, last):
        with pytest.raises(ValueError, match=f'{config}.*{other}.*--work-dir'):
            check_work_dir(work_dir, other, start=start)
    check_work_dir(tmp_path / 'empty', other)
    cfg = Config()
    with pytest.raises(ValueError, match=f'{config}.*{other}'):  # a test that is to log there
        set_tested(cfg, other, last, work_dir=work_dir)
    set_tested(cfg, other, work_dir, work_dir=None)  # what it tests is its own matter
    assert (cfg.work_dir, cfg.load_from) == (str(work_dir), str(last))


@pytest.mark.parametrize('text', ['{"mine": 1}', '[1]', 'no JSON'])
def test_a_file_of_the_records_name_is_not_replaced(tmp_path, config, text):
    (tmp_path / 'run.json').write_text(text)
    with pytest.raises(ValueError, match=r'run\.json (is no record|cannot be read)'):
        train(tmp_path, config)
    assert (tmp_path / 'run.json').read_text() == text


def test_the_same_configuration_goes_on(tmp_path, config):
    """Edited, moved, both, or as the copy that the run left: never as another's checkpoint."""
    work_dir = tmp_path / 'work'
    last = train(work_dir, config)
    check_work_dir(work_dir, config, start=last)
    check_work_dir(work_dir, work_dir / 'name.py', start=last)
    with hold_work_dir(work_dir, work_dir / 'name.py'):  # does not take the place of the first
        check_work_dir(work_dir, config, start=last)
    config.parents[1].joinpath('_base_.py').write_text('value = 2\n')
    check_work_dir(work_dir, config, start=last)

    shutil.rmtree(config.parents[1])
    moved = checkout(tmp_path / 'moved', value=3)
    check_work_dir(work_dir, moved, start=last)
    copied = shutil.copytree(work_dir, tmp_path / 'copied')
    check_work_dir(copied, moved, start=copied / 'epoch_1.pth')
    with pytest.raises(ValueError, match=f'copied holds a run already.*goes on from {last}'):
        check_work_dir(copied, moved, start=last)


def test_a_second_run_does_not_write_over_the_first(tmp_path, config):
    train(tmp_path / 'work', config)
    with pytest.raises(ValueError, match=r'epoch_1\.pth.*a new run would write over.*--resume'):
        check_work_dir(tmp_path / 'work', config)


def test_two_processes_do_not_train_in_one_directory(tmp_path, config):
    def tried_by_another_process() -> int:
        child = os.fork()
        if not child:
            try:
                with hold_work_dir(tmp_path, config):
                    os._exit(0)
            except ValueError as error:
                os._exit(3 if f'process {os.getppid()} on' in str(error) else 4)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    with hold_work_dir(tmp_path, config):
        assert tried_by_another_process() == 3
    assert tried_by_another_process() == 0


def test_a_copied_directory_goes_on_from_its_own_checkpoints_alone(tmp_path):
    """The pointer and the best checkpoint of a run are recorded with their folder."""
    options = dict(checkpoint=dict(save_best='score', rule='greater', max_keep_ckpts=1))
    first, copied = tmp_path / 'first', tmp_path / 'copied'
    build_runner(first, length=1, **options, **evaluation([0.1])).train()
    shutil.copytree(first, copied)
    before = {path.name: path.read_bytes() for path in first.glob('*.pth')}
    assert latest_checkpoint(copied) == str(copied / 'epoch_1.pth')
    build_runner(copied, length=2, resume=True, **options, **evaluation([0.2])).train()
    assert {path.name: path.read_bytes() for path in first.glob('*.pth')} == before
    assert sorted(before) == ['best_score_epoch_1.pth', 'epoch_1.pth']
    assert {path.name for path in copied.glob('*.pth')} == {'best_score_epoch_2.pth', 'epoch_2.pth'}

    (copied / 'epoch_2.pth').unlink()
    shutil.copy(first / 'last_checkpoint', copied)
    with pytest.raises(FileNotFoundError, match='is of another work folder'):
        latest_checkpoint(copied)
    for number in (10, 9):  # copied in any order
        (copied / f'epoch_{number}.pth').touch()
    assert last_checkpoint(copied) == copied / 'epoch_10.pth'
