"""Ctrl-C in a tool is no accident: one line, and the status of the signal.

A tool imports this package before all that is slow, so the hook stands from the first moment on. A
program that imports `vitadapter_dense` keeps its own.
"""

from __future__ import annotations

import sys
from types import TracebackType


def set_hook() -> None:
    """Puts the hook in place where a tool is what runs."""
    if 'vitadapter_dense' not in sys.modules:
        sys.excepthook = _one_line_for_interrupts


def _one_line_for_interrupts(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """No traceback for an interrupt; Python then ends by that signal."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write('\nstopped\n')
    else:
        sys.__excepthook__(kind, error, trace)
