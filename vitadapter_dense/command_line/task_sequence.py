"""``TaskSequence``: the runs of `tools/train_continual.py`, of which none is done twice."""

from __future__ import annotations

import dataclasses
import difflib
import gc
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from mmengine.runner import Runner

from vitadapter_dense.checkpoints.checked_loading import read_checkpoint
from vitadapter_dense.checkpoints.files import atomic_write
from vitadapter_dense.command_line.arguments import build_runner, errors_as_message
from vitadapter_dense.command_line.check_names import check_names
from vitadapter_dense.command_line.run_files import last_checkpoint
from vitadapter_dense.command_line.task_delta import task_delta, write_task_delta
from vitadapter_dense.continual.check_tasks import (
    build_set,
    check_models,
    check_scored,
    check_tasks,
)
from vitadapter_dense.continual.errors import ScheduleError
from vitadapter_dense.continual.json_files import json_text, read_json, write_json
from vitadapter_dense.continual.results import results_of, write_results
from vitadapter_dense.continual.scores import NAMES, group_means, scores_by_class, task_row
from vitadapter_dense.continual.settings import read_settings
from vitadapter_dense.continual.task_config import cache_of, task_config
from vitadapter_dense.continual.task_hook import RECORD
from vitadapter_dense.training.resume_settings import changes, changes_of_start, listed
from vitadapter_dense.training.resuming_runner import go_on_from
from vitadapter_dense.training.sharding import asks_to_shard
from vitadapter_dense.training.stopping import Stopped, stops_on_signals

PLAN, CONFIG = 'schedule.json', 'config.py'  # of a sequence
TRAINED, SCORES = 'trained.json', 'scores.json'  # of a task
# what `later` cannot change
_OF_THE_SEQUENCE = ('continual', 'experiment_name', 'load_from', 'randomness', 'resume', 'work_dir')


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a sequence is at: a task that begins, or with its scores one that is done."""

    place: str
    what: str
    row: list[float] | None = None
    minutes_left: float | None = None


class TaskSequence:
    """The tasks of a configuration, for one seed or several.

    Args:
        cfg: with `continual`, and a work directory.
        seeds: each has a folder of its own there.
        verbose: show on the terminal all that goes to the log files.

    Raises:
        ScheduleError: a schedule that does not fit the data.
    """

    def __init__(self, cfg: Config, seeds: Sequence[int], *, verbose: bool) -> None:
        self.cfg, self.seeds, self.verbose = cfg, list(dict.fromkeys(seeds)), verbose
        self.folder = Path(cfg.work_dir)
        self.settings = read_settings(cfg)
        _check_later(cfg, self.settings.later)
        if asks_to_shard(cfg.get('model_wrapper_cfg')):
            raise ScheduleError(
                'a sequence of tasks holds rows of classifiers, which no process of FullySharded '
                'has whole. Mend: leave model_wrapper_cfg out; the processes then use DDP'
            )
        dataset = build_set(cfg, 'train')
        self.groups = self.settings.schedule(dataset.metainfo['classes'])
        self.schedule = self.groups.joint() if self.settings.joint else self.groups
        cache = cache_of(self.folder, 'train')
        self.kind, self.sizes = check_tasks(dataset, self.settings, self.schedule, cache=cache)
        loader = 'val' if cfg.get('val_dataloader') and not cfg.get('test_dataloader') else 'test'
        cache = cache_of(self.folder, loader)
        check_scored(build_set(cfg, loader), self.groups, cache=cache)
        later = self._config(self.seeds[0], len(self.schedule) - 1, None)
        check_names(later)
        check_models(cfg, later, whole=self.settings.looks_back)

    @property
    def facts(self) -> dict[str, Any]:
        """What the figures are of."""
        return dict(metric=NAMES[self.kind], groups=self.groups.named_groups, seeds=self.seeds)

    def begin(self, *, goes_on: bool, from_task: int | None) -> None:
        """Makes sure that the work directory is empty, or holds this very sequence.

        Args:
            goes_on: with what is there.
            from_task: the first task to be trained anew.

        Raises:
            ScheduleError: it holds another sequence, or one that would be written over.
        """
        plan = dict(dataclasses.asdict(self.settings), classes=list(self.groups.classes))
        plan = json.loads(json_text(plan))  # as it is read again
        path = self.folder / PLAN
        if path.is_file():
            if not goes_on:
                raise ScheduleError(
                    f'{self.folder} holds a sequence of tasks already. Go on with it (--resume), '
                    'give another --work-dir, or remove that one.'
                )
            self._compare(json.loads(path.read_text()), plan)
            self._compare_config((self.folder / CONFIG).read_text())
        if from_task is not None:
            self._move_aside(from_task)
        if not path.is_file():
            with atomic_write(self.folder / CONFIG) as file:
                file.write(self.cfg.pretty_text.encode())
            write_json(path, plan)

    def run(self) -> Iterator[Stage]:
        """Trains and scores what is not done yet."""
        todo = [(s, t) for s in self.seeds for t in range(len(self.schedule))]
        began, done = time.monotonic(), 0
        for number, (seed, task) in enumerate(todo):
            folder = self._task_folder(seed, task)
            if (folder / SCORES).is_file():
                continue
            names = self.schedule.names(self.schedule.new(task))
            shown = ', '.join(names[:6]) + (', ...' if len(names) > 6 else '')
            place = f'task {task + 1} of {len(self.schedule)}'
            place = f'seed {seed}, {place}' if len(self.seeds) > 1 else place
            yield Stage(place, f'{shown} ({self.sizes[task]} images)')
            self._train(seed, task)
            barrier()
            self._score(seed, task)
            barrier()
            done += 1
            minutes = (time.monotonic() - began) / 60 / done
            left = minutes * sum(
                not (self._task_folder(*pair) / SCORES).is_file() for pair in todo[number + 1 :]
            )
            yield Stage(place, NAMES[self.kind], read_json(folder / SCORES)['row'], left)

    def results(self) -> list[dict[str, Any]]:
        """What every seed gave; those of one seed are written beside its tasks."""
        found = []
        for seed in self.seeds:
            folders = [self._task_folder(seed, task) for task in range(len(self.schedule))]
            tasks = [read_json(folder / SCORES) for folder in folders]
            found.append(results_of(tasks, joint=self.settings.joint))
            if len(self.seeds) > 1:
                write_results(self._seed_folder(seed), found[-1:], dict(self.facts, seeds=[seed]))
        return found

    def _train(self, seed: int, task: int) -> None:
        folder = self._task_folder(seed, task)
        if (folder / TRAINED).is_file():
            return
        previous = self._checkpoint(seed, task - 1) if task else None
        runner = self._runner(self._config(seed, task, previous))
        start = last_checkpoint(folder)
        if start is not None:
            go_on_from(runner, start, accept_changes=False)
        with stops_on_signals(runner) as stop:
            runner.train()
        asked = stop.asked_of_any()
        del runner
        gc.collect()  # with the workers of its loaders
        if is_main_process():
            checkpoint = self._checkpoint(seed, task)
            if previous is not None and self.settings.freeze_rest:
                write_task_delta(checkpoint, previous)
            write_json(folder / TRAINED, dict(checkpoint=checkpoint.name))
        if asked is not None:  # behind the last step, where a training ends anyway
            barrier()
            raise Stopped(asked, str(self._checkpoint(seed, task)))

    def _score(self, seed: int, task: int) -> None:
        folder, checkpoint = self._task_folder(seed, task), self._checkpoint(seed, task)
        cfg = self._config(seed, task, None)
        cfg.load_from = str(checkpoint)
        runner = self._runner(cfg, evaluation=True)
        found = runner.test()
        if not is_main_process():
            return
        metric = runner.test_evaluator.metrics[0]
        scores, weights = scores_by_class(self.kind, metric, found, self.groups.classes)
        last = len(self.groups) - 1 if self.settings.joint else task
        delta = task_delta(checkpoint)
        content = dict(
            task=last,
            row=task_row(self.groups, last, scores, weights),
            groups=group_means(self.groups, last, scores, weights),
            classes=dict(zip(self.groups.classes, scores.tolist(), strict=True)),
            trained_parameters=read_checkpoint(checkpoint)['meta'][RECORD]['trained'],
        )
        if delta.is_file():
            content['delta_bytes'] = delta.stat().st_size
        write_json(folder / SCORES, content)

    def _runner(self, cfg: Config, *, evaluation: bool = False) -> Runner:
        with errors_as_message():  # of what cannot be built; of what trains, fewer are expected
            return build_runner(cfg, evaluation=evaluation, verbose=self.verbose)

    def _config(self, seed: int, task: int, previous: Path | None) -> Config:
        cfg = task_config(
            self.cfg,
            self.settings,
            self.schedule,
            task,
            kind=self.kind,
            folder=self._task_folder(seed, task),
            previous=previous,
        )
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=seed)
        return cfg

    def _checkpoint(self, seed: int, task: int) -> Path:
        folder = self._task_folder(seed, task)
        found = last_checkpoint(folder)
        if found is None:
            raise ScheduleError(
                f'{folder} has no checkpoint to go on from. Mend: --from-task {task} trains it anew'
            )
        return found

    def _seed_folder(self, seed: int) -> Path:
        return self.folder / f'seed_{seed}'

    def _task_folder(self, seed: int, task: int) -> Path:
        return self._seed_folder(seed) / f'task_{task:02d}'

    def _compare(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        other = [key for key in now if before.get(key) != now[key]]
        if other:
            lines = '\n'.join(f'  {key}: {before.get(key)!r}, now {now[key]!r}' for key in other)
            raise ScheduleError(
                f'{self.folder} holds a sequence with other settings:\n{lines}\nMend: those, or '
                'another --work-dir'
            )

    def _compare_config(self, before: str) -> None:
        """Lets pass what a resumed training takes over; says it, since tasks that are done stay."""
        now = self.cfg.pretty_text
        found = changes(before, now)
        stopping = [change for change in found if change.effect == 'stops']
        begun = {path.parent.name for path in self.folder.glob('seed_*/task_00')}
        if begun and any(self._seed_folder(seed).name not in begun for seed in self.seeds):
            stopping += changes_of_start(before, now)  # a new seed would start from others
        if stopping:
            raise ScheduleError(
                f'{self.folder} holds a sequence with other settings:\n{listed(stopping)}\nMend: '
                'those, or another --work-dir'
            )
        if found:
            print_log(f'from here on, tasks have other settings:\n{listed(found)}', 'current')

    def _move_aside(self, first: int) -> None:
        if first >= len(self.schedule):
            raise ScheduleError(
                f'--from-task {first}: the last of {len(self.schedule)} tasks is '
                f'{len(self.schedule) - 1}'
            )
        for seed, task in itertools.product(self.seeds, range(first)):
            if not (self._task_folder(seed, task) / SCORES).is_file():
                raise ScheduleError(
                    f'--from-task {first}: task {task} of seed {seed} is not done yet. Mend: '
                    f'--resume, or --from-task {task}'
                )
        for seed in self.seeds:
            aside = next(
                path
                for number in range(1000)
                if not (path := self._seed_folder(seed) / f'before_{number}').exists()
            )
            for task in range(first, len(self.schedule)):
                folder = self._task_folder(seed, task)
                if folder.is_dir():
                    aside.mkdir(exist_ok=True)
                    folder.rename(aside / folder.name)


def _check_later(cfg: Config, later: Mapping[str, Any]) -> None:
    """Raises for changes of what the sequence sets itself, or the configuration does not have.

    MMEngine would add what is not there.
    """
    own = [key for key in later if str(key).partition('.')[0] in _OF_THE_SEQUENCE]
    if own:
        raise ScheduleError(
            f'continual.later changes {own[0]}, which is the same in all tasks or set by the '
            'sequence for each. Mend: leave it out'
        )
    unknown = [key for key in later if str(key).partition('.')[0] not in cfg]
    if unknown:
        near = difflib.get_close_matches(unknown[0], list(cfg), n=1)
        hint = f'did you mean {near[0]}?' if near else 'set it at the top level first'
        raise ScheduleError(f'continual.later changes {unknown[0]}, which is not there; {hint}')
