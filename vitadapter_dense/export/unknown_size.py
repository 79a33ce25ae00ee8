"""A size that travels through data samples while a model is traced."""

from __future__ import annotations

from typing import Any


class UnknownSize(tuple):
    """A size that is not known yet: data samples copy what they are given, which it cannot be."""

    def __deepcopy__(self, memo: dict[int, Any]) -> UnknownSize:
        return self
