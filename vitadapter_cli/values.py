"""Numbers of a configuration that can only be slips, whatever they are given to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmengine.config import Config

Rule = tuple[Callable[[float], bool], str]
FROM_ONE: Rule = (lambda value: value >= 1, 'at least 1')
FROM_ZERO: Rule = (lambda value: value >= 0, 'at least 0')
SHARE: Rule = (lambda value: 0 <= value <= 1, 'between 0 and 1')
# key, wherever it stands -> what holds for its number
RULES: dict[str, Rule] = {
    'lr': FROM_ZERO,
    'weight_decay': FROM_ZERO,
    'batch_size': FROM_ONE,
    'num_workers': FROM_ZERO,
    'max_iters': FROM_ONE,
    'max_epochs': FROM_ONE,
    'val_interval': FROM_ONE,
    'accumulative_counts': FROM_ONE,
    'base_batch_size': FROM_ONE,
    'num_classes': FROM_ONE,
    'score_thr': SHARE,
    'drop_rate': SHARE,
    'drop_path_rate': SHARE,
}


def check_values(cfg: Config) -> None:
    """Raises for numbers that nothing can be done with.

    Raises:
        ValueError: names each, where it stands, and what would do.
    """
    found = [line for key in cfg for line in _wrong(cfg[key], key, key)]
    if found:
        raise ValueError('; '.join(found))


def _wrong(value: Any, place: str, key: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _wrong(item, f'{place}.{name}', name)
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _wrong(item, f'{place}.{number}', '')
    elif isinstance(value, (int, float)) and key in RULES and not RULES[key][0](value):
        yield f'{place}={value}: it must be {RULES[key][1]}'
