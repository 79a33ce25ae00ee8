"""What ends a training whose settings cannot work, with a message and no traceback."""

from __future__ import annotations


class SettingsError(RuntimeError):
    """The model, the data loader and the method of a run do not go together; the mend is told."""


class NotSavedError(RuntimeError):
    """What a run writes does not fit the disk, or cannot be written; what was there stays."""


class LostProcessError(RuntimeError):
    """Another process is gone, or does not come where all meet; the message names it."""
