"""What cannot be written ends a training with one message, in every process."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.dist import all_gather_object

from vitadapter_dense.training.errors import NotSavedError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # not EIO, which may be of what is read
_ADVICE = 'Checkpoints of before are whole: mend it, e.g. make room, and go on with --resume'


@contextmanager
def said_together(path: str) -> Iterator[None]:
    """Has a checkpoint that one process cannot write end all of them; all must come here.

    Args:
        path: of the checkpoint.

    Raises:
        NotSavedError: in every process.
    """
    own = None
    try:
        yield
    except OSError as error:
        own = error
    for text in all_gather_object(own and _reason(own)):
        if text is not None:
            raise NotSavedError(f'{path} is not written: {text}. {_ADVICE}') from own


@contextmanager
def full_disk_named() -> Iterator[None]:
    """Has a log or another file that finds no room end the run as a checkpoint does.

    Raises:
        NotSavedError: in place of an OSError that says that nothing can be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        name = error.filename or 'a file of the run'
        raise NotSavedError(f'{name} is not written: {_reason(error)}. {_ADVICE}') from error


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)
