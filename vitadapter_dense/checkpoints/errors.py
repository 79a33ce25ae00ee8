"""The one error of everything that reads weights."""

from __future__ import annotations


class WeightsError(RuntimeError):
    """Weights that cannot be had, cannot be read safely, or do not fit."""
