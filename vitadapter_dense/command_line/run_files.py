"""What a run leaves in its work directory, and how to find it again."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from mmengine.config import Config

from vitadapter_cli import released_checkpoint
from vitadapter_dense.checkpoints.downloads import fetch
from vitadapter_dense.checkpoints.files import latest_checkpoint
from vitadapter_dense.reports.output_files import OutputError, write_output


def find_checkpoint(source: str | Path) -> Path:
    """Finds a checkpoint: the file, a work directory's best one or else its last, a released one.

    Args:
        source: a checkpoint file, a work directory, or the name of a released model.

    Raises:
        FileNotFoundError: when there is none.
    """
    path = Path(source)
    if path.is_file():
        return path
    if not path.is_dir():
        model = released_checkpoint(str(source))
        return fetch(model.address, sha256=model.sha256)
    found = best_checkpoint(path) or last_checkpoint(path)
    if found is None:
        raise FileNotFoundError(f'{path} holds no checkpoint (*.pth): train first, or name a file.')
    return found


def best_checkpoint(work_dir: str | Path) -> Path | None:
    """The newest of the checkpoints that `save_best` left, or `None`."""
    return _newest(Path(work_dir), 'best_*.pth')


def last_checkpoint(work_dir: str | Path) -> Path | None:
    """The last whole checkpoint of a work directory, or `None`."""
    with suppress(FileNotFoundError):
        pointed = latest_checkpoint(work_dir)
        if pointed and Path(pointed).is_file():
            return Path(pointed)
    return max(_numbered(Path(work_dir)), default=(0, None))[1]


def write_config(
    cfg: Config, work_dir: str | Path, log_dir: str | Path, *, evaluation: bool
) -> Path:
    """Writes a run's configuration: a training's to the work directory, others beside their log.

    Where the work directory has a file of that name that no training wrote, that one stays.

    Returns:
        The file.
    """
    name = Path(cfg.filename).name if cfg.filename else 'config.py'
    beside_log = Path(log_dir) / name
    if not evaluation:
        try:
            with write_output(Path(work_dir) / name, command='train') as partial:
                cfg.dump(partial)
            return Path(work_dir) / name
        except OutputError:
            pass
    cfg.dump(beside_log)
    return beside_log


def written_files(work_dir: str | Path) -> dict[str, Path]:
    """What to tell the user about after a run: label and path of everything that is there."""
    work_dir = Path(work_dir)
    logs = sorted(work_dir.glob('*/*.log'))
    configs = sorted(
        [*work_dir.glob('*.py'), *work_dir.glob('*/*.py')], key=lambda file: file.stat().st_mtime
    )
    files = {
        'work directory': work_dir,
        'last checkpoint': last_checkpoint(work_dir),
        'best checkpoint': best_checkpoint(work_dir),
        'log': logs[-1] if logs else None,
        'configuration': configs[-1] if configs else None,
    }
    return {label: path for label, path in files.items() if path is not None}


def _numbered(work_dir: Path) -> list[tuple[int, Path]]:
    """Checkpoints with their epoch or iteration; the times of a copied folder tell nothing."""
    files = [*work_dir.glob('epoch_*.pth'), *work_dir.glob('iter_*.pth')]
    numbers = ((file.stem.rpartition('_')[2], file) for file in files)
    return [(int(number), file) for number, file in numbers if number.isdigit()]


def _newest(folder: Path, *patterns: str) -> Path | None:
    files = [file for pattern in patterns for file in folder.glob(pattern)]
    return max(files, key=lambda file: file.stat().st_mtime, default=None)


def checkpoint_to_resume(work_dir: str, resume: str | None, *, again: bool = False) -> str | None:
    """The checkpoint that a run goes on from; None starts from the beginning.

    It stays out of the configuration, which is written to the work directory: a new run of that
    file must be a new run.

    Args:
        work_dir: of the run.
        resume: what the command line wants.
        again: the launcher has started this run before. It goes on from its last checkpoint then,
            once it has one, whatever the command line wanted at first.

    Raises:
        FileNotFoundError: when the checkpoint is not there.
    """
    if again and (last := last_checkpoint(work_dir)):
        return str(last)
    if not resume:
        return None
    source = last_checkpoint(work_dir) if resume == 'auto' else Path(resume)
    if source is not None and source.is_dir():
        source = last_checkpoint(source) or source
    if source is None:
        return None
    if not source.is_file():
        raise FileNotFoundError(f'There is no checkpoint to resume from at {source}.')
    return str(source)
