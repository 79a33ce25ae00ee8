"""What a tool says on the terminal: what one needs to know now. Everything else is in the log file.

MMEngine and the toolboxes write every setting to terminal and file alike, and COCO's evaluation
prints. Each kind of line that is left out of the terminal is named here by its cause; a warning or
an error of any other kind is shown, always.
"""

from __future__ import annotations

import logging
import re
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

from mmengine.logging import MMLogger

PROGRESS_S = 30.0  # between two lines of progress at first; then a third of the time so far
LONGEST_S = 300.0

# how a message begins -> whose it is
FOR_THE_FILE = {
    r'\n-+\nSystem environment:': "MMEngine's report of the environment",
    r'Config:\n': 'the whole configuration, which also lies in the work directory',
    r'Hooks will be executed in the following order': 'the hooks by their stages',
    r'paramwise_options -- ': 'the options of every single parameter',
    r'\S+ is skipped since its requires_grad=False': 'of every frozen parameter',
    r'\S* is duplicate\. It is skipped since bypass_duplicate=True': 'what modules share, as meant',
    r'Distributed training is not used, all SyncBatchNorm': 'of every run with one process',
    r'"FileClient" will be deprecated': "MMEngine's own checkpoint hook asks for its old client",
    r'"HardDiskBackend" is the alias': 'the same',
    r'Checkpoints will be saved to ': 'told in the summary',
    r'Exp name: ': 'the name of the log folder',
    r'Saving checkpoint at ': 'of every checkpoint',
    r'The best checkpoint with .* is saved to ': 'told at the end of a training',
    r'the previous best checkpoint .* is removed': 'a file that nobody asked for',
    r'Evaluating \w+\.\.\.$': "MMDetection's metric",
    r'\w+_mAP_copypaste: ': 'the metric again, for spreadsheets',
    r'(Iter|Epoch)\(test\) \[ *(?P<last>\d+)/ *(?P=last)\]': 'results, before the table of a test',
    r'\S+\.json: \d+ images, \d+ annotations$': 'of data without oddities; the summary has sizes',
    r'per class results:$': 'the title of the table that follows',
    r'The prefix is not set in metric class ': "of MMSegmentation's own metrics",
}
_FOR_THE_FILE = re.compile('|'.join(FOR_THE_FILE))
_PROGRESS = re.compile(r'(Iter|Epoch)\((train|val|test)\) ')
_RESULT = re.compile(r'(Iter|Epoch)\(val\) *(\[\d+\])?\[ *(?P<last>\d+)/ *(?P=last)\]')
_TABLE = re.compile(r'\n\+-+\+')  # of the classes, by MMSegmentation
_LONGEST_TABLE = 30  # lines
# of a line of progress: the rate before its factors, times of the loader, precisions other than
# the means, of which a table comes at the end
_NOT_READ = re.compile(r' (base_lr|data_time|grad_norm|coco/\w+_mAP_\w+): \S+ ?')
# an add-on of the toolboxes, as MMDetection and MMSegmentation miss it
_ONEDL = ('Could not import OneDL. Skipping OneDL datasets.', 'Could not import OneDL')


class TerminalFilter(logging.Filter):
    """Lets through what is for the terminal: the first lines of progress, then one in a while.

    Args:
        progress_s: seconds between two lines of progress, at first.
        clock: seconds that pass.
    """

    def __init__(
        self, *, progress_s: float = PROGRESS_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._progress_s, self._clock = progress_s, clock
        self._begun: float | None = None
        self._last = -float('inf')
        self._trains = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown."""
        message = record.getMessage()
        if getattr(record, 'for_the_file', False) or _FOR_THE_FILE.match(message):
            return False
        self._trains |= '(train)' in message
        if _TABLE.match(message):  # a training has many
            return not self._trains and message.count('\n') <= _LONGEST_TABLE
        if record.levelno > logging.INFO or not _PROGRESS.match(message):
            return True
        now = self._clock()
        self._begun = now if self._begun is None else self._begun
        pause = max(self._progress_s, min((now - self._begun) / 3, LONGEST_S))
        if not _RESULT.match(message) and now - self._last < pause:
            return False
        self._last = now
        return True


class TerminalFormatter(logging.Formatter):
    """Leaves out of lines of progress what nobody reads there.

    Args:
        whole: makes the lines.
    """

    def __init__(self, whole: logging.Formatter) -> None:
        super().__init__()
        self._whole = whole

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line = self._whole.format(record)
        return _NOT_READ.sub('', line) if _PROGRESS.match(record.getMessage()) else line


def quiet(logger: MMLogger) -> None:
    """Leaves out of the terminal what is for the log file, which keeps all of it."""
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(TerminalFilter())
            handler.setFormatter(TerminalFormatter(handler.formatter))

    def to_the_file(*words: Any, **_: Any) -> None:
        logger.info(' '.join(map(str, words)), extra=dict(for_the_file=True))

    _print_by(to_the_file)


def _print_by(function: Callable[..., None]) -> None:
    """COCO's reader and evaluation print; this is what they call instead."""
    for name in ('coco', 'cocoeval'):
        with suppress(ImportError):  # no detectors here
            import_module(f'pycocotools.{name}').print = function


def quiet_imports() -> None:
    """Silences what the toolboxes say when they are imported: add-ons that nobody asked for."""
    module = import_module('mmengine.logging.logger')

    def print_but_that(*words: Any, **options: Any) -> None:
        if len(words) != 1 or words[0] not in _ONEDL:
            print(*words, **options)  # noqa: T201

    module.print = print_but_that
    _print_by(lambda *_, **__: None)  # until there is a log file
    # its metric is registered with every import of mmdet.evaluation; ours is pycocotools'
    warnings.filterwarnings('ignore', message='faster_coco_eval is not installed')
    # of every single letter; `reports/fonts.py` tells once
    warnings.filterwarnings('ignore', message=r'Glyph \d+ .* missing from font')
    # objects of a few pixels at the border, from MMEngine's visualizer
    warnings.filterwarnings('ignore', message=r'Warning: The (bbox|polygon) is out of bounds')
