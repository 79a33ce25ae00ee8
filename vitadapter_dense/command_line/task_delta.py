"""What a task of a sequence has changed, as a delta to the last task's checkpoint."""

from __future__ import annotations

from pathlib import Path

from vitadapter_dense.checkpoints.checked_loading import hash_of, read_checkpoint
from vitadapter_dense.checkpoints.files import write_checkpoint
from vitadapter_dense.tuning.delta import make_delta


def task_delta(checkpoint: Path) -> Path:
    """Where the delta of a task's checkpoint is, if there is one."""
    return checkpoint.with_name(f'tuned_{checkpoint.name}')


def write_task_delta(checkpoint: Path, previous: Path) -> None:
    """Writes what differs, unless a tuning method's delta is there.

    Args:
        checkpoint: after the task.
        previous: after the last one, which the delta completes.
    """
    if task_delta(checkpoint).is_file():
        return
    whole = read_checkpoint(checkpoint, entries=('meta', 'state_dict'))
    before = read_checkpoint(previous, entries=('state_dict',))['state_dict']
    state = whole['state_dict']
    # a task may have parts that the last one had not (`continual.later`)
    same = [name for name, own in state.items() if name in before and own.equal(before[name])]
    delta = make_delta(
        whole,
        same,
        base=dict(checkpoint=str(previous)),
        base_hash=hash_of(before, same),
        backbones={},
    )
    write_checkpoint(delta, task_delta(checkpoint))
