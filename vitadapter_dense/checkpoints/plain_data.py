"""Checkpoints of tensors and plain containers only, so that ``weights_only=True`` reads them.

MMEngine's message hub holds history buffers and NumPy numbers, dataset meta information may hold
arrays: they are written as what they mean. Whoever reads such a checkpoint needs neither our code
nor trust in the file.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log

_DROPPED = object()


def to_plain(value: Any, name: str = 'checkpoint') -> Any:
    """Copies nested data into plain Python containers, numbers, strings and CPU tensors.

    Args:
        value: nested mappings, sequences, tensors, arrays, history buffers.
        name: where the value stands, for the message.

    Returns:
        The same data; arrays as lists, history buffers as dicts of tensors. An entry that has no
        plain form (an object of a class) is left out, with a warning.
    """
    plain = _to_plain(value, name)
    return None if plain is _DROPPED else plain


def _to_plain(value: Any, name: str) -> Any:
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, torch.dtype)):
        # A subclass (an enum, a NumPy double) would be pickled by its class.
        return value if type(value).__module__ in ('builtins', 'torch') else _builtin(value, name)
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, HistoryBuffer):
        log, count = value.data
        return dict(
            log_history=torch.as_tensor(log),
            count_history=torch.as_tensor(count),
            max_length=value.max_length,
        )
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return _plain_mapping(value, name)
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        entries = [_to_plain(entry, f'{name}[{i}]') for i, entry in enumerate(value)]
        kept = [entry for entry in entries if entry is not _DROPPED]
        return (
            tuple(kept)
            if isinstance(value, tuple)
            else set(kept)
            if isinstance(value, (set, frozenset))
            else kept
        )
    return _dropped(value, name)


def _builtin(value: Any, name: str) -> Any:
    for kind in (bool, int, float, complex, str, bytes):
        if isinstance(value, kind):
            return kind(value)
    return _dropped(value, name)


def _plain_mapping(value: Mapping, name: str) -> dict:
    kind = OrderedDict if isinstance(value, OrderedDict) else dict
    plain = kind()
    for key, entry in value.items():
        copied = _to_plain(entry, f'{name}.{key}')
        if copied is not _DROPPED:
            plain[_to_plain(key, f'key of {name}')] = copied
    if hasattr(value, '_metadata'):  # the versions of a module's state dict
        plain._metadata = _to_plain(value._metadata, f'{name}._metadata')
    return plain


def _dropped(value: Any, name: str) -> object:
    print_log(
        f'{name} is a {type(value).__name__}, which has no plain form: it is left out of the '
        'checkpoint',
        logger='current',
        level=logging.WARNING,
    )
    return _DROPPED


def hub_from_plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """Turns the message hub's plain state back into what ``MessageHub.load_state_dict`` takes.

    A state with history buffers in it, as MMEngine itself writes, is passed on as it is.
    """
    scalars = {
        name: HistoryBuffer(
            entry['log_history'].numpy(),
            entry['count_history'].numpy(),
            max_length=entry['max_length'],
        )
        if isinstance(entry, Mapping)
        else entry
        for name, entry in state['log_scalars'].items()
    }
    return dict(
        log_scalars=scalars,
        runtime_info=dict(state['runtime_info']),
        resumed_keys=dict(state['resumed_keys']),
    )
