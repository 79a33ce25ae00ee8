"""The one error of everything that reads or writes data."""

from __future__ import annotations


class DatasetError(ValueError):
    """Data that cannot be used as it is; the message names the file, the value and the mend."""
