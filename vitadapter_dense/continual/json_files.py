"""JSON of figures: what is not a number is null there, and NaN again when it is read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitadapter_dense.checkpoints.files import atomic_write


def json_text(content: Any) -> str:
    """The text of a file."""
    return json.dumps(_replaced(content, _to_null), indent=1, allow_nan=False) + '\n'


def write_json(path: Path, content: Any) -> None:
    """Writes a file whole or not at all; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(json_text(content).encode())


def read_json(path: Path) -> Any:
    """Reads what `write_json` wrote."""
    return _replaced(
        json.loads(path.read_text()), lambda value: math.nan if value is None else value
    )


def _to_null(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _replaced(value: Any, leaf: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _replaced(item, leaf) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replaced(item, leaf) for item in value]
    return leaf(value)
