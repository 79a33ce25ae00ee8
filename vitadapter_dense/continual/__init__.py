"""One task after another: schedules, what a task may see and change, and what was forgotten."""

from __future__ import annotations

from vitadapter_dense.continual.schedule import ClassSchedule, make_schedule
from vitadapter_dense.continual.settings import ContinualSettings
from vitadapter_dense.continual.task_hook import TaskHook
from vitadapter_dense.continual.task_labels import TaskLabels
from vitadapter_dense.continual.task_set import TaskSet

__all__ = [
    'ClassSchedule',
    'ContinualSettings',
    'TaskHook',
    'TaskLabels',
    'TaskSet',
    'make_schedule',
]
