"""One plain file of a sharded run's checkpoint, for inference."""

from __future__ import annotations

from pathlib import Path

from vitadapter_dense.checkpoints.errors import WeightsError
from vitadapter_dense.checkpoints.files import write_checkpoint
from vitadapter_dense.checkpoints.reading import read_checkpoint

_OF_INFERENCE = ('meta', 'state_dict')


def gather_checkpoint(path: str | Path, target: str | Path) -> int:
    """Writes the weights of a sharded checkpoint as one plain file, for inference.

    Args:
        path: of the checkpoint.
        target: of the plain file.

    Returns:
        How many tensors it has.

    Raises:
        WeightsError: the checkpoint cannot be read, or is no whole one.
    """
    checkpoint = read_checkpoint(path, entries=_OF_INFERENCE)
    lacking = [key for key in _OF_INFERENCE if key not in checkpoint]
    if lacking:
        raise WeightsError(f'{str(path)!r} is no checkpoint of a run, it lacks {lacking}')
    write_checkpoint({key: checkpoint[key] for key in _OF_INFERENCE}, target)
    return len(checkpoint['state_dict'])
