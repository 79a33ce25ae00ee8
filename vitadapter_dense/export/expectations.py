"""What a graph takes for granted of a model, said by name where it is otherwise."""

from __future__ import annotations

from typing import Any


def expect(name: str, value: Any, known: tuple[Any, ...]) -> None:
    """Refuses a setting or a kind of part that a graph does not compute.

    Raises:
        ValueError: the value is none of those that are known.
    """
    if value not in known:
        shown = ' or '.join(map(str, known))
        raise ValueError(f'{name}={value!r} cannot be exported: the graph knows {shown}')
