"""Evaluates a model on clean and on corrupted test images, and goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.runner import Runner

from vitadapter_dense.datasets.corruption import add_corruption, corruptions_of
from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.reports.output_files import OutputError, write_output
from vitadapter_dense.reports.robustness import CLEAN, Condition, Metrics

COMMAND = 'robustness'


def prepare_corruption(cfg: Config) -> None:
    """Puts the corruption into the test pipeline; workers are started anew for each condition.

    Raises:
        DatasetError: where no image is loaded.
    """
    loader = cfg.test_dataloader
    if not add_corruption(loader.dataset):
        raise DatasetError(
            'the test pipeline loads no image (no LoadImage...), so there is nothing to corrupt: '
            'cached features, for example, are of clean images.'
        )
    if loader.get('num_workers'):
        loader.persistent_workers = False


class Record:
    """The results so far, in a JSON that is written after each condition.

    Args:
        path: the file.
        cfg: the configuration that is evaluated, with `load_from`.

    Raises:
        OutputError: when the file holds results of another model or other data.
    """

    def __init__(self, path: Path, cfg: Config) -> None:
        self.path = path
        self.source = dict(
            checkpoint=hashlib.sha256(Path(cfg.load_from).read_bytes()).hexdigest(),
            test=_hash_of([cfg.model, cfg.test_dataloader.dataset, cfg.test_evaluator]),
        )
        self.results: dict[Condition, Metrics] = {}
        if path.is_file():
            self._read()

    def _read(self) -> None:
        try:
            content = json.loads(self.path.read_text())
            source, entries = content['source'], content['results']
            results = {(e['corruption'], e['severity']): e['metrics'] for e in entries}
        except (ValueError, KeyError, TypeError) as error:
            raise OutputError(
                f'{self.path} is no record of robustness ({error}): give another --out.'
            ) from error
        if source != self.source:
            raise OutputError(
                f'{self.path} holds the results of another checkpoint, model or test set: give '
                'another --out, or move it away.'
            )
        self.results = results

    def add(self, condition: Condition, metrics: Metrics) -> None:
        """Keeps a condition's metrics; one process writes."""
        numbers = (int, float, np.number)  # MMSegmentation's are of numpy
        self.results[condition] = {
            name: float(value) for name, value in metrics.items() if isinstance(value, numbers)
        }
        if not is_main_process():
            return
        entries = [
            dict(corruption=name, severity=severity, metrics=found)
            for (name, severity), found in self.results.items()
        ]
        text = json.dumps(dict(source=self.source, results=entries), indent=1)
        with write_output(self.path, command=COMMAND) as partial:
            partial.write_text(text + '\n')


def measure(
    runner: Runner,
    record: Record,
    conditions: Sequence[Condition],
    *,
    before_each: Callable[[Condition, int], Any] = lambda condition, number: None,
) -> None:
    """Evaluates what the record lacks, the clean images first.

    Args:
        runner: of a configuration that went through `prepare_corruption`.
        record: gets the metrics.
        conditions: corruptions and severities.
        before_each: is told the condition and its number, from 1.
    """
    done = [set(record.results)]
    broadcast_object_list(done)  # what the first process read: the others may have read later
    steps = list(corruptions_of(runner.test_dataloader.dataset))
    for number, condition in enumerate([CLEAN, *conditions], start=1):
        if condition in done[0]:
            continue
        before_each(condition, number)
        for step in steps:
            step.set(*((None,) if condition == CLEAN else condition))
        record.add(condition, runner.test())


def _hash_of(parts: list[Any]) -> str:
    return hashlib.sha256(Config(dict(content=parts)).dump().encode()).hexdigest()
