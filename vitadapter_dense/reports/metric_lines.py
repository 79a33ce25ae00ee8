"""The metrics of a test on the terminal: COCO's as one table, the others a line each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from numbers import Real
from typing import Any

# as MMDetection's `CocoMetric` names them: (what is compared, of which objects or at which IoU)
_OF_COCO = re.compile(r'coco/(bbox|segm)_(mAP(?:_50|_75|_s|_m|_l)?)$')
_ROWS = {'bbox': 'boxes', 'segm': 'masks'}
_COLUMNS = {
    'mAP': 'AP',
    'mAP_50': 'AP50',
    'mAP_75': 'AP75',
    'mAP_s': 'small',
    'mAP_m': 'medium',
    'mAP_l': 'large',
}
_NOTHING = -1  # COCO's value where there is no object of a size


def metric_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Lines for the terminal.

    Args:
        metrics: as a test returns them. Sizes of which there is no object are left out.
    """
    lines, found = [], {}
    for name, value in metrics.items():
        if match := _OF_COCO.match(name):
            found[match.groups()] = value
        else:
            shown = f'{value:.4f}' if isinstance(value, Real) else value
            lines.append(f'{name:<28} {shown}')
    return [*_table(found), *lines]


def _table(found: Mapping[tuple[str, str], float]) -> list[str]:
    there = {pair: value for pair, value in found.items() if value != _NOTHING}
    rows = [row for row in _ROWS if any((row, column) in found for column in _COLUMNS)]
    columns = [column for column in _COLUMNS if any((row, column) in there for row in rows)]
    if not columns:
        return [f'{_ROWS[row]}  no objects' for row in rows]
    texts = [['', *(_COLUMNS[column] for column in columns)]]
    for row in rows:
        values = (there.get((row, column)) for column in columns)
        texts.append([_ROWS[row], *('-' if v is None else f'{v:.3f}' for v in values)])
    return ['  '.join([f'{first:<5}', *(f'{t:>6}' for t in rest)]) for first, *rest in texts]
