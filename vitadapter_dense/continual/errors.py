"""What ends a sequence of tasks whose settings cannot work, before anything is trained."""

from __future__ import annotations


class ScheduleError(ValueError):
    """Groups of classes, a protocol or a checkpoint that do not fit; the message has the mend."""
