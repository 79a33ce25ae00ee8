"""What ends a training whose settings cannot work, with a message and no traceback."""

from __future__ import annotations


class SettingsError(RuntimeError):
    """The model, the data loader and the method of a run do not go together; the mend is told."""
