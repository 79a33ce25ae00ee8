"""Reads checkpoint files without running them.

Only tensors and plain containers are read from a file (``weights_only=True``), with no fall-back to
full unpickling: a checkpoint is data, not a program. What a file is is told by its content, not by
its name.
"""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

import numpy as np
import safetensors.torch
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor


def _history_statistic(owner: type, name: str) -> Callable[..., Any]:
    """Stands in for ``getattr``, by which a pickled ``HistoryBuffer`` refers to its statistics."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current', 'statistics'):
        raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r}) is not allowed')
    return getattr(owner, name)


# What MMEngine's checkpoints hold besides tensors: the message hub's scalars. None of these runs
# code that a file could choose.
_PLAIN_TYPES = [
    HistoryBuffer,
    (_history_statistic, 'builtins.getattr'),
    np.ndarray,
    np.dtype,
    np._core.multiarray._reconstruct,
    np._core.multiarray.scalar,
    *{
        type(np.dtype(kind))
        for kind in ('bool', 'i1', 'u1', 'i4', 'u4', 'i8', 'u8', 'f2', 'f4', 'f8')
    },
]
_UNREADABLE = (
    safetensors.SafetensorError,
    zipfile.BadZipFile,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    OSError,
    EOFError,
    TypeError,
    ValueError,
)
_WRAPPERS = ('state_dict', 'model', 'teacher', 'module')


class WeightsError(RuntimeError):
    """Weights that cannot be had, cannot be read safely, or do not fit."""


def _local_file(source: str | Path) -> Path:
    """The file itself, downloaded to torch's cache first if ``source`` is a URL."""
    address = urlparse(str(source))
    if address.scheme not in ('http', 'https'):
        path = Path(source).expanduser()
        if not path.is_file():
            raise WeightsError(f'no checkpoint file at {str(source)!r}; check the path')
        return path
    path = Path(torch.hub.get_dir()) / 'checkpoints' / Path(address.path).name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(str(source), str(path), progress=False)
        except OSError as error:
            raise WeightsError(
                f'cannot download {source!r} ({error}); download it elsewhere and pass the file'
            ) from error
    return path


def _format_of_file(path: Path) -> Literal['safetensors', 'npz', 'torch']:
    """What a file begins with tells; an empty one and the remains of one are the caller's to read.

    Raises:
        WeightsError: none of the formats, or a program.
    """
    with path.open('rb') as file:
        start = file.read(16)
    if start[8:9] == b'{' or (path.suffix == '.safetensors' and len(start) < 9):
        return 'safetensors'
    if start[:2] == b'PK':
        if path.suffix == '.npz':
            with zipfile.ZipFile(path) as archive:  # what is cut has no directory
                names = archive.namelist()
        else:
            names = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
        if any(name.endswith('/constants.pkl') for name in names):  # as OpenAI released CLIP
            raise _refused(path, 'it is a TorchScript program: torch.jit.load')
        return 'npz' if names and all(name.endswith('.npy') for name in names) else 'torch'
    if start and start[:1] != b'\x80':
        raise WeightsError(
            f'{str(path)!r} is no checkpoint: it begins with {start!r}. Expected a .pth, '
            f'.safetensors or .npz file; fetch it again'
        )
    return 'torch'


def _refused(path: Path, reason: str) -> WeightsError:
    return WeightsError(
        f'{str(path)!r} is refused: it holds more than tensors and plain containers, and '
        f'loading that could run code. Load it where you trust it and save its state dict '
        f'alone, e.g. with safetensors.torch.save_file. ({reason})'
    )


def _read_npz(path: Path) -> dict[str, Tensor]:
    with np.load(path, allow_pickle=False) as archive:
        try:
            return {name: torch.from_numpy(archive[name]) for name in archive.files}
        except ValueError as error:
            if 'allow_pickle' in str(error):
                raise _refused(path, 'it holds arrays of objects') from error
            raise


def read_checkpoint(source: str | Path, map_location: str | torch.device = 'cpu') -> dict[str, Any]:
    """Reads a checkpoint without running any code that it may contain.

    Args:
        source: a file (``.pth``, ``.pt``, ``.bin``, ``.safetensors``, ``.npz``) or an http(s) URL.
        map_location: device of the tensors.

    Raises:
        WeightsError: no such file, not reachable, truncated, not a mapping, or more than tensors
            and plain containers in it.
    """
    path = _local_file(source)
    try:
        kind = _format_of_file(path)
        if kind == 'safetensors':
            checkpoint = safetensors.torch.load_file(path, device=str(map_location))
        elif kind == 'npz':
            arrays = _read_npz(path)
            checkpoint = {name: array.to(map_location) for name, array in arrays.items()}
        else:
            with torch.serialization.safe_globals(_PLAIN_TYPES):
                checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        asked = re.search(r'GLOBAL (\S+)', str(error))
        reason = f'it asks for {asked[1]}' if asked else 'an operation that is not allowed'
        raise _refused(path, reason) from error  # torch's text proposes weights_only=False
    except _UNREADABLE as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f'{str(path)!r} cannot be read as a checkpoint; it is truncated or of another format '
            f'({first_line}). Fetch or save it again.'
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise WeightsError(
            f'{str(path)!r} holds a {type(checkpoint).__name__}; expected a mapping of names to '
            f'tensors'
        )
    return dict(checkpoint)


def state_dict_of(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, without the wrappings people put around them.

    Raises:
        WeightsError: there is no tensor.
    """
    inner: Mapping[str, Any] = checkpoint
    while not (tensors := _tensors_of(inner)):
        wrapper = next((key for key in _WRAPPERS if isinstance(inner.get(key), Mapping)), None)
        if wrapper is None:
            raise WeightsError(
                f'no state dict in the checkpoint; its entries are {sorted(map(str, inner))[:8]}, '
                f'expected one of {list(_WRAPPERS)} or tensors by name'
            )
        inner = inner[wrapper]
    if all(name.startswith('module.') for name in tensors):
        tensors = {name.removeprefix('module.'): entry for name, entry in tensors.items()}
    return tensors


def _tensors_of(entries: Mapping[Any, Any]) -> dict[str, Tensor]:
    tensors = {
        name: entry
        for name, entry in entries.items()
        if isinstance(entry, Tensor) and isinstance(name, str)
    }
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise WeightsError(
                f'{name} in the checkpoint is sparse or quantized ({tensor.dtype}, '
                f'{tensor.layout}); save it dense, in floating point'
            )
    return tensors
