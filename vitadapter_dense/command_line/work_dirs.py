"""Work directories: where a configuration's lies, and that one run alone writes to it.

A directory says in `run.json` which configuration file it was made from. Two runs in one directory
would write over each other's checkpoints, and a resume of the one would go on from the other.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config

from vitadapter_cli import config_path as file_of_config
from vitadapter_cli import released_checkpoint
from vitadapter_cli.config_files import RECORD, default_work_dir
from vitadapter_dense.checkpoints.files import atomic_write
from vitadapter_dense.command_line.config import leave_out_idle_loops, set_work_dir
from vitadapter_dense.command_line.run_files import (
    best_checkpoint,
    find_checkpoint,
    last_checkpoint,
)
from vitadapter_dense.reports.run_logs import scalar_files
from vitadapter_dense.training.distributed import launch_of, times_started_again

_LOCK = '.in_use'
_LAUNCH = '.launched_by'


def check_work_dir(
    work_dir: str | Path, config_path: str | Path, *, start: str | Path | None = None
) -> None:
    """Raises unless a run may write to a directory: an empty one, or its own that it goes on with.

    Args:
        work_dir: the directory; it may be missing.
        config_path: configuration file of the run.
        start: the checkpoint that the run is resumed from.

    Raises:
        ValueError: another configuration's run is there, or one that would not be gone on with.
    """
    work_dir = Path(work_dir)
    found = last_checkpoint(work_dir) or best_checkpoint(work_dir)
    if found is not None or scalar_files(work_dir):
        check_same_run(work_dir, config_path)
    else:
        _read_record(work_dir)  # is going to be replaced
    if found is None:
        return
    own = {os.path.realpath(folder) for folder in (work_dir, found.parent)}
    if start is None or os.path.realpath(Path(start).parent) not in own:
        begun = 'a new run' if start is None else f'a run that goes on from {start}'
        raise ValueError(
            f'{work_dir} holds a run already, whose checkpoints ({found.name}) {begun} would write '
            'over. Go on with it (--resume), give another --work-dir, or remove that one.'
        )


def check_same_run(work_dir: str | Path, config_path: str | Path) -> None:
    """Raises where a directory holds a run of another configuration file.

    Raises:
        ValueError: it would be mixed with this one.
    """
    made_from = _other_config(Path(work_dir), config_path)
    if made_from is not None:
        raise ValueError(
            f'{work_dir} holds a run of another configuration file, {made_from}, and would be '
            f'mixed with {config_path}. Give another --work-dir, or remove that one.'
        )


def set_tested(
    cfg: Config, config_path: str | Path, checkpoint: str | Path, *, work_dir: str | Path | None
) -> None:
    """Writes into a configuration which checkpoint is tested, and where the log goes.

    Loops that it has no data for are left out.

    Args:
        cfg: is changed.
        config_path: its file.
        checkpoint: as `find_checkpoint` takes it.
        work_dir: default: the checkpoint, where that is a work directory, or the configuration's.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: the directory that is asked for holds another configuration's run.
    """
    source = Path(checkpoint)
    if work_dir:
        check_same_run(work_dir, config_path)
    set_work_dir(cfg, config_path, work_dir=work_dir or (source if source.is_dir() else None))
    cfg.load_from = str(find_checkpoint(source))
    cfg.resume = False
    leave_out_idle_loops(cfg)


def is_started_again(work_dir: str | Path, launcher: str) -> bool:
    """Whether the launcher has begun this run before, in this directory.

    A start that was refused began nothing: what is there is another run's.
    """
    return times_started_again(launcher) > 0 and _has_begun(work_dir, launcher)


def forget_launch(work_dir: str | Path, launcher: str) -> None:
    """Before the checks of a first start: what an earlier launcher of the same name has begun."""
    if not times_started_again(launcher) and _has_begun(work_dir, launcher):
        Path(work_dir, _LAUNCH).unlink(missing_ok=True)


def _has_begun(work_dir: str | Path, launcher: str) -> bool:
    file, launch = Path(work_dir, _LAUNCH), launch_of(launcher)
    return launch is not None and file.is_file() and file.read_text() == launch


@contextmanager
def hold_work_dir(
    work_dir: str | Path, config_path: str | Path, *, launcher: str = 'none'
) -> Iterator[None]:
    """Keeps a work directory to this process within the block, and records the configuration.

    The process's end, however it comes, frees the directory.

    Args:
        work_dir: the directory.
        config_path: of the configuration.
        launcher: what it starts again goes on here.

    Raises:
        ValueError: another process trains in it.
    """
    work_dir = Path(work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    with (work_dir / _LOCK).open('a+') as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            raise ValueError(
                f'{work_dir} is in use: {file.read() or "another process"} trains there. Wait for '
                'it, or give another --work-dir.'
            ) from error
        except OSError:  # a file system without locks
            pass
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}')
        file.flush()
        _write_record(work_dir, config_path)
        if (launch := launch_of(launcher)) is not None:
            with atomic_write(work_dir / _LAUNCH) as marker:  # the other processes may read it now
                marker.write(launch.encode())
        yield
        file.truncate(0)


def _write_record(work_dir: Path, config_path: str | Path) -> None:
    if _is_own_copy(work_dir, config_path, _read_record(work_dir)):
        return
    record = dict(config=os.path.realpath(config_path), sha256=_content(config_path))
    with atomic_write(work_dir / RECORD) as file:
        file.write((json.dumps(record, indent=2) + '\n').encode())


def _read_record(work_dir: Path) -> dict[str, str]:
    try:
        record = json.loads((work_dir / RECORD).read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f'{work_dir / RECORD} cannot be read: {error}') from error
    if not (isinstance(record, dict) and {'config', 'sha256'} <= record.keys()):
        raise ValueError(
            f'{work_dir / RECORD} is no record of a training, and would be replaced by one. Give '
            'another --work-dir, or move the file away.'
        )
    return record


def _other_config(work_dir: Path, config_path: str | Path) -> str | None:
    """The file that a directory was made from, if that is another one."""
    record = _read_record(work_dir)
    if not record or _is_own_copy(work_dir, config_path, record):
        return None
    recorded = record['config']
    if recorded == os.path.realpath(config_path) or record['sha256'] == _content(config_path):
        return None
    # A checkout that was moved, and the file edited since.
    moved = not os.path.exists(recorded)
    if moved and default_work_dir(recorded) == default_work_dir(config_path):
        return None
    return recorded


def config_of(model: str | Path) -> Path:
    """The configuration that a training left in its work directory, or of a released model's name.

    Raises:
        FileNotFoundError: there is none, or which it is cannot be told.
    """
    work_dir = Path(model)
    if work_dir.is_file():
        raise FileNotFoundError(
            f'{work_dir} is a file, which does not tell its configuration. Mend: give its work '
            'directory, or the configuration file and then this one'
        )
    if not work_dir.is_dir():
        return file_of_config(released_checkpoint(str(model)).config)
    recorded = _read_record(work_dir).get('config')
    found = [work_dir / Path(recorded).name] if recorded else sorted(work_dir.glob('*.py'))
    found = [path for path in found if path.is_file()]
    if len(found) != 1:
        raise FileNotFoundError(
            f'{work_dir} holds {len(found) or "no"} configurations of a training; name the '
            'configuration file and the checkpoint'
        )
    return found[0]


def _is_own_copy(work_dir: Path, config_path: str | Path, record: dict[str, str]) -> bool:
    """Whether a file is the configuration as its run has written it to the work directory."""
    path = Path(os.path.realpath(config_path))
    recorded = Path(record.get('config', ''))
    return path.parent == Path(os.path.realpath(work_dir)) and path.name == recorded.name


def _content(config_path: str | Path) -> str:
    """A hash of what a configuration file says, with all that it inherits."""
    text = repr(Config.fromfile(config_path).to_dict())
    return hashlib.sha256(text.encode()).hexdigest()
