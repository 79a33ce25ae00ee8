"""Reads checkpoint files without running them.

Only tensors and plain containers are read from a file (``weights_only=True``), with no fall-back to
full unpickling: a checkpoint is data, not a program. What a file is is told by its content, not by
its name.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import safetensors.torch
import torch
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from vitadapter_dense.checkpoints.downloads import fetch, is_address, record_of
from vitadapter_dense.checkpoints.errors import WeightsError
from vitadapter_dense.checkpoints.folders import file_in_folder, is_index, parts_of
from vitadapter_dense.checkpoints.packages import file_of_package, is_packaged
from vitadapter_dense.checkpoints.plain_types import PLAIN_TYPES
from vitadapter_dense.checkpoints.sharded_tensors import SHARDS

_UNREADABLE = (
    safetensors.SafetensorError,
    zipfile.BadZipFile,
    zlib.error,
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
#: Where files keep a state dict, in the order in which it is taken. The moving average goes first,
#: as in timm's own loader; MMEngine has it under ``state_dict``, and the raw weights beside it.
_WRAPPERS = ('state_dict_ema', 'model_ema', 'state_dict', 'model', 'teacher', 'module')
_OTHER_SETS = ('ema_state_dict', 'student')
#: the endings of checkpoints in an archive, `.pth.tar` among them
_PACKED = ('.pth', '.tar', '.pt')
#: the magic number that torch's files began with before they were archives
_LEGACY_START = b'\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'


def _local_file(source: str | Path) -> Path:
    """The file itself: downloaded from an address, found in a folder or in a package."""
    if is_address(source):
        return fetch(str(source))
    if is_packaged(source):
        return file_of_package(source)
    path = Path(source).expanduser()
    if path.is_dir():
        return file_in_folder(path)
    if not path.is_file():
        raise WeightsError(f'no checkpoint file at {str(source)!r}; check the path')
    return path


def _format_of_file(path: Path) -> Literal['safetensors', 'npz', 'torch', 'packed']:
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
        if names and all(name.endswith('.npy') for name in names):
            return 'npz'
        whole = not names or any(name.endswith('data.pkl') for name in names)
        return 'torch' if whole else 'packed'
    if (
        start[:1] == b'\x80'
        and start[2 : 2 + len(_LEGACY_START)] != _LEGACY_START[: len(start) - 2]
    ):
        raise WeightsError(
            f'{str(path)!r} is refused: it is a plain pickle, as Detectron2 writes its weights '
            f'(.pkl), and reading one can run code. Where you trust it, convert it: '
            f"python -c \"import pickle, torch; p = pickle.load(open('{path}', 'rb'), "
            f"encoding='latin1'); torch.save({{k: torch.as_tensor(v) for k, v in p.get('model', "
            f"p).items()}}, 'converted.pth')\""
        )
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


def _unpacked(path: Path) -> io.BytesIO:
    """The one checkpoint in an archive, as the original released those of more than 2 GB."""
    with zipfile.ZipFile(path) as archive:
        files = [name for name in archive.namelist() if not name.startswith('__MACOSX')]
        names = [name for name in files if Path(name).suffix in _PACKED]
        if len(names) != 1:
            found = ', '.join(files[:4])
            raise WeightsError(
                f'{str(path)!r} is an archive with {len(names) or "no"} checkpoints in it '
                f'({found}, ...): unpack it and name the file'
            )
        return io.BytesIO(archive.read(names[0]))


def read_checkpoint(
    source: str | Path,
    map_location: str | torch.device = 'cpu',
    *,
    mesh: DeviceMesh | None = None,
    entries: tuple[str, ...] | None = None,
) -> dict[str, Any]:
    """Reads a checkpoint without running any code that it may contain.

    Args:
        source: a file (``.pth``, ``.pt``, ``.bin``, ``.safetensors``, ``.npz``), a ``.zip`` with
            one in it, a folder of Hugging Face's libraries, the index of its parts, an http(s)
            URL, or ``package:name/path`` for a file of an installed package.
        map_location: device of the tensors.
        mesh: of the checkpoint of a sharded run each process reads what it will hold among these
            processes; default: all of it.
        entries: of the checkpoint of a sharded run that are wanted; default: all.

    Raises:
        WeightsError: no such file, not reachable, truncated, not a mapping, or more than tensors
            and plain containers in it.
    """
    path = _local_file(source)
    if is_index(path):
        checkpoint = {}
        for part, names in parts_of(path).items():
            tensors = _read_file(part, map_location)
            lacking = [name for name in names if name not in tensors]
            if lacking:
                raise WeightsError(
                    f'{str(part)!r} lacks {len(lacking)} tensors that {path.name} places in it '
                    f'({lacking[0]}, ...): they are of different downloads. Fetch all again.'
                )
            checkpoint.update({name: tensors[name] for name in names})
        return checkpoint
    try:
        checkpoint = _read_file(path, map_location)
    except WeightsError as error:
        if not is_address(source):
            raise
        raise WeightsError(
            f'{error} (downloaded from {source}; to fetch it again, delete the file and '
            f'{record_of(path).name!r})'
        ) from error
    if isinstance(checkpoint.get(SHARDS), Mapping):
        from vitadapter_dense.checkpoints.shards import with_shards  # slow to import

        checkpoint = with_shards(checkpoint, path, mesh=mesh, entries=entries)
    return checkpoint


def _check_sums(file: BinaryIO, path: Path) -> None:
    """Compares the records of torch's archive with their checksums, which torch 2.14 does not.

    Where all differ, the file was written without (``torch.serialization.set_crc32_options``).

    Raises:
        WeightsError: some differ.
    """
    if not zipfile.is_zipfile(file):  # as files were before they were archives, or cut
        file.seek(0)
        return
    damaged = []
    with zipfile.ZipFile(file) as archive:
        records = [record for record in archive.infolist() if record.file_size]
        for record in records:
            try:
                with archive.open(record) as opened:
                    while opened.read(1 << 22):
                        pass
            except zipfile.BadZipFile:
                damaged.append(record.filename)
    if 0 < len(damaged) < len(records):
        raise WeightsError(
            f'{str(path)!r} is damaged: {damaged[0]!r} in it is not what was written. Copy or '
            'fetch it again, or take an earlier one'
        )
    file.seek(0)


def _read_file(path: Path, map_location: str | torch.device) -> dict[str, Any]:
    try:
        kind = _format_of_file(path)
        if kind == 'safetensors':
            checkpoint = safetensors.torch.load_file(path, device=str(map_location))
        elif kind == 'npz':
            arrays = _read_npz(path)
            checkpoint = {name: array.to(map_location) for name, array in arrays.items()}
        else:
            # of a path, torch 2.14 believes the ending .safetensors; of an open file, nothing
            opened = _unpacked(path) if kind == 'packed' else path.open('rb')
            with torch.serialization.safe_globals(PLAIN_TYPES), opened as file:
                _check_sums(file, path)
                checkpoint = torch.load(file, map_location=map_location, weights_only=True)
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


@CheckpointLoader.register_scheme(prefixes=('http://', 'https://'), force=True)
def _load_address(
    filename: str, map_location: str | torch.device | None = None, **_: Any
) -> dict[str, Any]:
    """In place of MMEngine's loader of addresses, for ``init_cfg=dict(type='Pretrained')``."""
    return read_checkpoint(filename, map_location or 'cpu')


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
        others = [
            key
            for key in (*_WRAPPERS, *_OTHER_SETS)
            if key != wrapper and isinstance(inner.get(key), Mapping)
        ]
        if others:
            print_log(
                f'the checkpoint holds several sets of weights: {wrapper!r} is taken, not '
                f'{", ".join(map(repr, others))}',
                logger='current',
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
