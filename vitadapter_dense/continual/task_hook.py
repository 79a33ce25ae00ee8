"""``TaskHook``: what makes a run of the usual runner a task of a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop
from torch import Tensor, nn

from vitadapter_dense.checkpoints.checked_loading import read_checkpoint, state_dict_of
from vitadapter_dense.checkpoints.errors import WeightsError
from vitadapter_dense.continual.class_presence import kind_of
from vitadapter_dense.continual.class_rows import ClassRows, find_classifiers, row_mask
from vitadapter_dense.continual.errors import ScheduleError
from vitadapter_dense.continual.old_detector import OldDetector
from vitadapter_dense.continual.old_model import OldModel, taught_layer
from vitadapter_dense.continual.schedule import ClassSchedule
from vitadapter_dense.continual.settings import ContinualSettings, read_settings
from vitadapter_dense.continual.start_task import (
    check_tasks,
    set_groups,
    start_task,
    stepwise_modules,
)

RECORD = 'continual'  # in a checkpoint's `meta`: its task, and the groups


@HOOKS.register_module()
class TaskHook(Hook):
    """Tells the model that a task begins, masks and holds rows, and lets the old model teach.

    A checkpoint says of which task of which schedule it is; one that does not fit is refused.

    Args:
        task: its number, from 0.
        previous: the last task's checkpoint; the run must start from it.

    Raises:
        ScheduleError: settings that do not fit the model, or a head without a row for a class.
        WeightsError: a checkpoint of another task, or of another order of tasks.
    """

    # before the checkpoints of an iteration, after the optimiser's step
    priority = 'HIGH'

    def __init__(self, task: int, *, previous: str | None = None) -> None:
        self.task, self.previous = task, previous
        self.settings: ContinualSettings
        self.schedule: ClassSchedule
        self._rows: list[ClassRows] = []
        self._frozen: list[nn.Module] = []
        self._old: OldModel | OldDetector | None = None
        self._old_logits: Tensor

    def before_run(self, runner: Any) -> None:
        """Reads the schedule."""
        loader = runner.train_dataloader if _trains(runner) else runner.test_dataloader
        self.settings = read_settings(runner.cfg)
        schedule = self.settings.schedule(loader.dataset.metainfo['classes'])
        self.schedule = schedule.joint() if self.settings.joint else schedule

    def before_train(self, runner: Any) -> None:
        """Prepares the model, which has the weights of the last task or of a resumed checkpoint."""
        model = runner.bare_model
        check_tasks(model, len(self.schedule.groups))
        self._check_smoothing(model)
        self._check_stepwise(model)
        if self.settings.looks_back:
            self._look_back(runner, model)
        self._prepare(model, keep=runner.iter > 0)
        if self._old is not None and self.settings.distill is not None:
            self._taught = next(rows for rows in self._rows if rows.name == self._old.name)
            self._taught.keeps_logits = True
            model.register_forward_hook(self._distill, with_kwargs=True)
        if self.settings.freeze_rest and self.task > 0:
            own = [each for m in stepwise_modules(model) for each in m.task_modules(self.task)]
            self._frozen = freeze_all_but(own or [rows.layer for rows in self._rows], model)

    def before_test(self, runner: Any) -> None:
        """Prepares the model for an evaluation that knows all classes seen so far, and no task."""
        if not self._rows:
            self._prepare(runner.bare_model, keep=True)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Keeps frozen parts as in an evaluation: statistics of batch norm, dropout."""
        for module in self._frozen:
            module.training = False

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Puts back what may not change."""
        for rows in self._rows:
            rows.put_back()

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Notes the task, and how much of the model it trains."""
        checkpoint['meta'][RECORD] = dict(
            task=self.task,
            groups=self.schedule.named_groups,
            trained=trained_parameters(runner.bare_model, self._rows),
        )

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint that this task cannot go on from.

        Raises:
            WeightsError: of another task, or of another order of classes.
        """
        begins = _trains(runner) and not runner._resume
        check_record(checkpoint, self.schedule, self.task - 1 if begins else self.task)

    def _prepare(self, model: nn.Module, *, keep: bool) -> None:
        set_groups(model, self.schedule.groups)
        start_task(model, self.task, keep=keep)
        number, schedule = len(self.schedule.classes), self.schedule
        sets = dict(
            trained=self.settings.trained_logits(schedule, self.task),
            predicted=schedule.seen(self.task),
        )
        changing = self.settings.trained_rows(schedule, self.task)
        for name, layer in find_classifiers(model, number).items():
            rows = layer.weight.shape[0]
            masks = {what: row_mask(labels, rows, number) for what, labels in sets.items()}
            frozen = ~row_mask(changing, rows, number)
            if self.settings.rows == 'task' and self.task > 0:
                frozen[number:] = True  # the row of no object is the background's
            self._rows.append(ClassRows(name, layer, frozen=frozen, **masks))

    def _look_back(self, runner: Any, model: nn.Module) -> None:
        """Has the last task's model teach; in the first task, tells whether it will be able to."""
        number = len(self.schedule.classes)
        detects = kind_of(runner.train_dataloader.dataset) == 'detection'
        if not detects:
            taught_layer(model, number)
        if self.task == 0:
            return
        self._old = (OldDetector if detects else OldModel)(
            model,
            state_dict_of(read_checkpoint(self.previous)),
            task=self.task - 1,
            num_classes=number,
            known=self.schedule.seen(self.task - 1),
        )
        self._log = runner.message_hub
        model.register_forward_pre_hook(self._look, with_kwargs=True)

    def _check_smoothing(self, model: nn.Module) -> None:
        """Raises for a loss that gives every class a share: a hidden row's is beyond all others."""
        number = len(self.schedule.classes)
        if len(self.settings.trained_logits(self.schedule, self.task)) == number:
            return
        for name, module in model.named_modules():
            if getattr(module, 'label_smooth_val', 0):
                raise ScheduleError(
                    f'{name} smooths labels by {module.label_smooth_val} over {number} classes, '
                    f'of which logits={self.settings.logits!r} hides some. Mend: '
                    "loss=dict(type='CrossEntropyLoss'), or continual.logits='all'"
                )

    def _check_stepwise(self, model: nn.Module) -> None:
        """Raises where a head with parts of its own for each task would not be left as it was."""
        if len(self.schedule) == 1 or not stepwise_modules(model):
            return
        first = stepwise_modules(model)[0]
        name = type(first).__name__
        if not self.settings.freeze_rest:
            raise ScheduleError(
                f'{name} has parts of its own for each task, and they fit a model that does not '
                'change any more. Mend: continual.freeze_rest=True'
            )
        if self.settings.pseudo_labels is not None and not first.learns_old_classes:
            raise ScheduleError(
                f'continual.pseudo_labels are of earlier classes, which {name} leaves to their own '
                'queries. Mend: leave them out'
            )
        if self.settings.background is not None:
            raise ScheduleError(
                f'continual.background={self.settings.background!r} labels what later tasks bring '
                f'as this class, which the first queries of {name} would find there for ever. '
                'Mend: leave it out, and name the class in the first of the groups'
            )

    def _look(self, model: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        if kwargs.get('mode') != 'loss':
            return
        images, samples = kwargs['inputs'], kwargs['data_samples']
        labels = self.settings.pseudo_labels
        if isinstance(self._old, OldDetector):
            number = self._old.label_objects(images, samples, threshold=labels['threshold'])
            self._log.update_scalar('train/pseudo_labels', number / len(samples))
            return
        self._old_logits = self._old.look(images)
        if labels is not None:
            self._old.label_pixels(
                self._old_logits,
                samples,
                threshold=labels['threshold'],
                background=self.schedule.background,
            )

    def _distill(
        self, model: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any
    ) -> Mapping[str, Any] | None:
        if kwargs.get('mode') != 'loss':
            return None
        options, logits = self.settings.distill, self._taught.take_logits()
        apart = self._old.distillation(self._old_logits, logits, temperature=options['temperature'])
        # MMEngine logs a single loss of the name 'loss' in the place of the sum
        own = {'loss_own' if name == 'loss' else name: loss for name, loss in output.items()}
        return dict(own, loss_distill=options['weight'] * apart)


def check_record(checkpoint: Mapping[str, Any], schedule: ClassSchedule, task: int) -> None:
    """Raises unless a checkpoint is of a task of a schedule; -1 is before the first task.

    Raises:
        WeightsError: it is of another.
    """
    found = checkpoint.get('meta', {}).get(RECORD)
    if found is None and task == -1:
        return
    mend = 'Mend: the checkpoint of this sequence, or another --work-dir for another order'
    if found is None:
        raise WeightsError(
            f'the checkpoint is of no task, but task {task} is to go on from. {mend}'
        )
    if found['groups'] != schedule.named_groups:
        raise WeightsError(
            f'the checkpoint is of another order of tasks, {_shown(found["groups"])}, than this '
            f'schedule, {_shown(schedule.named_groups)}. {mend}'
        )
    if found['task'] != task:
        wanted = 'weights from before the first task' if task == -1 else f'one of task {task}'
        raise WeightsError(
            f'the checkpoint is of task {found["task"]}, and {wanted} is to go on from. {mend}'
        )


def trained_parameters(model: nn.Module, rows: list[ClassRows]) -> int:
    """How many numbers a task may change."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return trained - sum(one.frozen_parameters() for one in rows)


def freeze_all_but(layers: list[nn.Module], model: nn.Module) -> list[nn.Module]:
    """Freezes all but the layers' parameters; returns the modules that hold none of these."""
    own = {id(parameter) for layer in layers for parameter in layer.parameters()}
    for parameter in model.parameters():
        if id(parameter) not in own:
            parameter.requires_grad_(False)
    inside = {module for layer in layers for module in layer.modules()}
    return [m for m in model.modules() if m not in inside and inside.isdisjoint(m.modules())]


def _trains(runner: Any) -> bool:
    return isinstance(runner._train_loop, BaseLoop)


def _shown(groups: list[list[str]]) -> str:
    text = ' | '.join(', '.join(group) for group in groups)
    return text if len(text) <= 120 else f'{text[:120]}...'
