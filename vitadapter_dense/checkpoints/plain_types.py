"""What a checkpoint file may name besides tensors and Python's own containers.

``weights_only=True`` reads a pickle with a list of what it may call; this is ours. A name is on it
when real training checkpoints hold it, and when nothing that a file could choose makes it run code:
data with a constructor that stores its arguments, or a stand-in of ours for such data.
"""

from __future__ import annotations

import argparse
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer


def _history_statistic(owner: type, name: str) -> Callable[..., Any]:
    """Stands in for ``getattr``, by which a pickled ``HistoryBuffer`` refers to its statistics."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current', 'statistics'):
        raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r}) is not allowed')
    return getattr(owner, name)


_multiarray = np._core.multiarray

#: Classes, or ``(what is used, the name in the file)``.
PLAIN_TYPES: list[Any] = [
    # The message hub's scalars in MMEngine's checkpoints.
    HistoryBuffer,
    (_history_statistic, 'builtins.getattr'),
    # Arrays and numbers of NumPy, under the module's name of NumPy 2 and of NumPy 1: the scalars'
    # history, best scores, random states. Types that hold Python objects are not among them.
    np.ndarray,
    np.dtype,
    *(
        (getattr(_multiarray, name), f'numpy.{module}.multiarray.{name}')
        for name in ('_reconstruct', 'scalar')
        for module in ('_core', 'core')
    ),
    *{
        type(np.dtype(kind))
        for kind in ('bool', 'i1', 'u1', 'i2', 'u2', 'i4', 'u4', 'i8', 'u8', 'f2', 'f4', 'f8', 'U')
    },
    # The command line in files of DeiT, MAE, DINO and timm (`args`): a bag of attributes.
    argparse.Namespace,
    # Folders among such arguments; these classes join strings and touch no disk. Python 3.13 has
    # another name for the module.
    *((PurePosixPath, f'{module}.PosixPath') for module in ('pathlib', 'pathlib._local')),
    *((PureWindowsPath, f'{module}.WindowsPath') for module in ('pathlib', 'pathlib._local')),
    # Dictionaries with attributes: Lightning's `hyper_parameters`, Swin's `config`.
    *(
        (OrderedDict, name)
        for name in (
            'lightning_fabric.utilities.data.AttributeDict',
            'lightning.fabric.utilities.data.AttributeDict',
            'pytorch_lightning.utilities.parsing.AttributeDict',
            'yacs.config.CfgNode',
        )
    ),
]
