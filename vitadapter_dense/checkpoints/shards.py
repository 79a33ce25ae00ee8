"""Checkpoints of sharded runs: a small file, and beside it a folder of which each process writes.

The file is the ordinary checkpoint with a placeholder for every sharded tensor; the folder is of
``torch.distributed.checkpoint``. The folder is written first, under a name of its own, then the
file that names it: whoever looks finds the old checkpoint or the new one. Read by
``read_checkpoint``, by any number of processes.
"""

from __future__ import annotations

import pickle
import shutil
import uuid
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any, BinaryIO

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard, empty

from vitadapter_dense.checkpoints.errors import WeightsError
from vitadapter_dense.checkpoints.files import SHARDS_ENDING
from vitadapter_dense.checkpoints.sharded_tensors import SHARDS

_PLACEHOLDER = '__sharded__'
#: what the folder's table of contents is made of
_OF_CONTENTS = {
    *(
        ('torch.distributed.checkpoint.metadata', name)
        for name in (
            *('Metadata', 'MetadataIndex', 'StorageMeta', 'TensorStorageMetadata'),
            *('ChunkStorageMetadata', 'TensorProperties', '_MEM_FORMAT_ENCODING'),
        )
    ),
    ('torch.distributed.checkpoint.filesystem', '_StorageInfo'),
    ('torch.serialization', '_get_layout'),
    ('torch', 'Size'),
    ('pathlib', 'PosixPath'),
}


def _sharded(value: Any, name: str = '') -> Iterator[tuple[str, DTensor]]:
    if isinstance(value, DTensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _sharded(entry, f'{name}.{key}' if name else str(key))


def _replaced(value: Any, replace: Any) -> Any:
    """Nested data with something else in place of sharded tensors or of their placeholders."""
    if isinstance(value, DTensor) or (isinstance(value, Mapping) and _PLACEHOLDER in value):
        return replace(value)
    if isinstance(value, Mapping):
        kind = OrderedDict if isinstance(value, OrderedDict) else dict
        copied = kind((key, _replaced(entry, replace)) for key, entry in value.items())
        if hasattr(value, '_metadata'):  # the versions of a module's state dict
            copied._metadata = value._metadata
        return copied
    return value


def write_shards(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Writes the sharded tensors; every process must call it, and writes what it holds.

    Args:
        checkpoint: nested mappings with sharded tensors.
        path: of the file that will name them.

    Returns:
        The checkpoint with placeholders: what the first process writes to ``path``.

    Raises:
        OSError: in every process, if one of them cannot write, or does not see what was written.
    """
    tensors = dict(_sharded(checkpoint))
    first = torch.distributed.get_rank() == 0
    told: list[Any] = [None]
    if first:
        folder = path.with_name(f'{path.stem}.{uuid.uuid4().hex[:8]}{SHARDS_ENDING}')
        told = [folder.name]
        try:
            _partial(folder).mkdir(parents=True)
        except OSError as error:
            told = [error]
    torch.distributed.broadcast_object_list(told)
    if isinstance(told[0], OSError):
        raise told[0]
    folder = path.with_name(told[0])
    try:
        dcp.save(tensors, storage_writer=dcp.FileSystemWriter(_partial(folder)))
        checksums: dict[str, int] = {}
        for own in _together(partial(_checksums, _partial(folder))):
            checksums.update(own)
        _together((lambda: _partial(folder).rename(folder)) if first else (lambda: None))
    except BaseException as error:
        if first:
            shutil.rmtree(_partial(folder), ignore_errors=True)
        if not isinstance(error, dcp.CheckpointException):  # which is no Exception
            raise
        rank, (cause, _) = next(iter(error.failures.items()))
        # torch's writer says where it stood, not that it had no room
        cause = cause if isinstance(cause, OSError) else f'the disk takes no more ({cause})'
        raise OSError(f'process {rank} cannot write its part: {cause}') from error
    _check_all_see(folder)
    names = {id(tensor): key for key, tensor in tensors.items()}

    def placeholder(tensor: DTensor) -> dict[str, Any]:
        return {_PLACEHOLDER: names[id(tensor)], 'shape': list(tensor.shape)}

    processes = torch.distributed.get_world_size()
    note = dict(folder=folder.name, processes=processes, checksums=checksums)
    return {**_replaced(checkpoint, placeholder), SHARDS: note}


def _together(work: Callable[[], Any]) -> list[Any]:
    """What the work of every process gives; an OSError of one is raised in all, so none waits."""
    outcomes: list[Any] = [None] * torch.distributed.get_world_size()
    try:
        own = work()
    except OSError as error:
        own = error
    torch.distributed.all_gather_object(outcomes, own)
    for rank, outcome in enumerate(outcomes):
        if isinstance(outcome, OSError):
            raise OSError(f'process {rank} cannot finish its part: {outcome}')
    return outcomes


def _checksums(folder: Path) -> dict[str, int]:
    """Of the files that this process has written, which are in memory yet."""
    rank = torch.distributed.get_rank()
    names = [path.name for path in folder.glob(f'__{rank}_*')] + ['.metadata'] * (rank == 0)
    return {name: _crc(folder / name) for name in names}


def _crc(file: Path) -> int:
    crc = 0
    with file.open('rb') as opened:
        while block := opened.read(1 << 22):
            crc = zlib.crc32(block, crc)
    return crc


def _partial(folder: Path) -> Path:
    return folder.with_name(f'.{folder.name}.partial')


def _check_all_see(folder: Path) -> None:
    """Raises OSError, in every process, where one does not see what the first has renamed."""
    seen: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.barrier()
    torch.distributed.all_gather_object(seen, folder.is_dir())
    blind = [rank for rank, sees in enumerate(seen) if not sees]
    if blind:
        raise OSError(
            f'the processes {blind} do not see {str(folder)!r}, which process 0 has written: '
            'put the work directory on a file system that all machines share'
        )


def with_shards(
    checkpoint: Mapping[str, Any],
    path: Path,
    *,
    mesh: DeviceMesh | None = None,
    entries: tuple[str, ...] | None = None,
) -> dict[str, Any]:
    """Puts the tensors of the folder in the place of the placeholders.

    Args:
        checkpoint: what the file holds.
        path: of the file.
        mesh: the processes among which the tensors are sharded; each reads what it will hold. None
            reads them whole.
        entries: of the checkpoint that are wanted; default: all.

    Raises:
        WeightsError: the folder is not there, not whole, or another checkpoint's.
    """
    folder = _named_folder(checkpoint[SHARDS], path)
    wanted = {k: v for k, v in checkpoint.items() if entries is None or k in entries}
    wanted.pop(SHARDS, None)
    reader = _Reader(folder)
    saved: Mapping[str, Any] = {}
    tensors: dict[str, Tensor] = {}

    def make_room(place: Mapping[str, Any]) -> Tensor:
        name, shape = place[_PLACEHOLDER], tuple(place['shape'])
        there = saved.get(name)
        if not isinstance(there, TensorStorageMetadata) or tuple(there.size) != shape:
            found = 'nothing' if there is None else f'{tuple(getattr(there, "size", ()))}'
            raise WeightsError(
                f'{str(path)!r} says that {name} has the shape {shape}, its folder {folder.name!r} '
                f'has {found}: the folder is of another checkpoint. Copy both from one run'
            )
        dtype = there.properties.dtype
        if mesh is None:
            tensors[name] = torch.empty(shape, dtype=dtype)
        else:
            tensors[name] = empty(*shape, dtype=dtype, device_mesh=mesh, placements=[Shard(0)])
        return tensors[name]

    try:
        saved = _contents(reader, folder, path)
        _check_sums(folder, checkpoint[SHARDS].get('checksums'), mesh)
        filled = _replaced(wanted, make_room)
        with warnings.catch_warnings():  # it suspects that the processes were forgotten
            warnings.filterwarnings('ignore', 'torch.distributed is disabled')
            dcp.load(tensors, storage_reader=reader, no_dist=True)
    except WeightsError:
        raise
    except (dcp.CheckpointException, Exception) as error:  # of bytes that anyone may have changed
        raise WeightsError(
            f'{str(path)!r} and its folder {folder.name!r} cannot be read ({_line_of(error)}). '
            'Copy both again'
        ) from error
    return filled


def _line_of(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def _named_folder(note: Mapping[str, Any], path: Path) -> Path:
    """The folder beside a checkpoint that its note names, and no other place."""
    name = note.get('folder')
    if not isinstance(name, str) or Path(name).name != name or not name.endswith(SHARDS_ENDING):
        raise WeightsError(
            f'{str(path)!r} names {name!r} as the folder of its tensors, which is no name of one. '
            'Copy the checkpoint again'
        )
    return path.with_name(name)


def _contents(reader: _Reader, folder: Path, path: Path) -> Mapping[str, Any]:
    """Which tensors the folder holds; every file that it should have is there."""
    if not (folder / '.metadata').is_file():
        state = 'is not whole' if folder.is_dir() else 'is not beside it'
        raise WeightsError(
            f'{str(path)!r} is of a sharded run, and its folder {folder.name!r} {state}: keep the '
            'two together, on a file system that every process sees'
        )
    metadata = reader.read_metadata()
    sizes: dict[str, int] = {}
    for info in metadata.storage_data.values():
        name = info.relative_path
        sizes[name] = max(sizes.get(name, 0), info.offset + info.length)
    for name, size in sorted(sizes.items()):
        file = folder / name
        if file.parent != folder or not file.is_file() or file.stat().st_size < size:
            raise WeightsError(
                f'{str(folder)!r} is not whole: its file {name!r} is missing or cut. Copy it again'
            )
    return metadata.state_dict_metadata


def _check_sums(folder: Path, checksums: Any, mesh: DeviceMesh | None) -> None:
    """Compares the files with what was written; several processes share them out."""
    if not isinstance(checksums, Mapping) or '.metadata' not in checksums:
        raise WeightsError(f'the checkpoint of {str(folder)!r} has no checksums. Copy both again')
    first, step = (0, 1) if mesh is None else (mesh.get_rank(), mesh.size())
    for name in sorted(checksums)[first::step]:
        if _crc(folder / Path(name).name) != checksums[name]:
            raise WeightsError(
                f'{str(folder)!r} is damaged, or of another checkpoint: its file {name!r} is not '
                'what was written with it. Copy both from one run, or take an earlier one'
            )


class _Reader(dcp.FileSystemReader):
    """Reads a folder without running what its table of contents may hold."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The table of contents."""
        try:
            with (self.folder / '.metadata').open('rb') as file:
                metadata = _Unpickler(file).load()
            if not isinstance(metadata, Metadata):
                raise pickle.UnpicklingError(f'it is a {type(metadata).__name__}')
        except Exception as error:  # bytes of strangers may raise any
            raise WeightsError(
                f'{str(self.folder)!r} is refused: its table of contents cannot be read as one '
                f'({_line_of(error)}). Copy the folder again'
            ) from error
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _Unpickler(pickle._Unpickler):  # the one in C lets nobody look at single steps
    dispatch = pickle._Unpickler.dispatch.copy()

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)

    def load_build(self) -> None:
        """Sets the attributes of what has been made, never those of a class or function."""
        if isinstance(self.stack[-2], (type, FunctionType)):
            raise pickle.UnpicklingError(f'it changes {self.stack[-2].__name__}')
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build

    def find_class(self, module: str, name: str) -> Any:
        """What may be made: entries of a table of contents, and types of numbers."""
        is_dtype = module == 'torch' and isinstance(getattr(torch, name, None), torch.dtype)
        if is_dtype or (module, name) in _OF_CONTENTS:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f'it asks for {module}.{name}')
