"""``PacedLoggerHook``: lines of progress that come early, and as often as a run is long.

Every 50 iterations is seconds on a GPU and minutes on a CPU, and more than a small data set's whole
epoch.
"""

from __future__ import annotations

from typing import Any

from mmengine.hooks import LoggerHook
from mmengine.registry import HOOKS

_EARLY = (2, 5, 10, 20)  # iterations of this process; the first has a line of its own
_OF_THE_RUN = 100
_USUAL = 50


@HOOKS.register_module()
class PacedLoggerHook(LoggerHook):
    """``LoggerHook`` whose interval in training follows from the length of the run.

    Args:
        interval: iterations between two lines, as given; default: a hundredth of the run, at most
            50, at least one line an epoch, and some lines at the beginning.
        **options: arguments of ``LoggerHook``.
    """

    def __init__(self, interval: int | None = None, **options: Any) -> None:
        super().__init__(interval=_USUAL if interval is None else interval, **options)
        self._paced = interval is None
        self._begun = 0

    def before_train(self, runner: Any) -> None:
        """Notes where the run begins, which may be a resume."""
        super().before_train(runner)
        self._begun = runner.iter

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Writes a line where one is due."""
        given = self.interval
        if self._paced:
            early = runner.iter + 1 - self._begun in _EARLY
            usual = min(_USUAL, max(1, runner.max_iters // _OF_THE_RUN))
            self.interval = 1 if early else usual
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        self.interval = given  # of evaluation
