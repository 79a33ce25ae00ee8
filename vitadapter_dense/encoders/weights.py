"""Where weights come from: safe reading of checkpoint files, the load report, timm's hub.

Only tensors and plain containers are read from a file (``weights_only=True``), with no fall-back to
full unpickling: a checkpoint is data, not a program.
"""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import safetensors.torch
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor, nn


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
    RuntimeError,
    OSError,
    EOFError,
    TypeError,
    ValueError,
)
_WRAPPERS = ('state_dict', 'model', 'teacher', 'module')


class WeightsError(RuntimeError):
    """Weights that cannot be had, cannot be read safely, or do not fit."""


@dataclass(frozen=True)
class LoadReport:
    """What a state dict and a module have in common.

    Attributes:
        matched: names whose tensors fit.
        missing: names of the module that the state dict lacks.
        unexpected: names of the state dict that the module lacks.
        mismatched: ``(name, shape in the state dict, shape in the module)``.
        share: matched share of the module's parameters, counted by element, from 0 to 1.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    share: float

    @property
    def percent(self) -> str:
        """The share in percent; what lacks little is not rounded to the whole."""
        return f'{self.share if self.share == 1 else min(self.share, 0.999):.1%}'

    def __str__(self) -> str:
        shapes = [f'{name} (file {got}, model {want})' for name, got, want in self.mismatched]
        lines = [
            f'matched {len(self.matched)} ({self.percent} of the parameters), '
            f'missing {len(self.missing)}, unexpected {len(self.unexpected)}, '
            f'of another shape {len(self.mismatched)}'
        ]
        for title, names in (
            ('missing', self.missing),
            ('unexpected', self.unexpected),
            ('of another shape', shapes),
        ):
            if names:
                more = f' and {len(names) - 8} more' if len(names) > 8 else ''
                lines.append(f'  {title}: {", ".join(names[:8])}{more}')
        return '\n'.join(lines)


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
        if path.suffix == '.safetensors':
            checkpoint = safetensors.torch.load_file(path, device=str(map_location))
        elif path.suffix == '.npz':
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: torch.from_numpy(archive[name]) for name in archive.files}
            checkpoint = {name: array.to(map_location) for name, array in arrays.items()}
        else:
            with torch.serialization.safe_globals(_PLAIN_TYPES):
                checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f'{str(path)!r} is refused: it holds more than tensors and plain containers, and '
            f'loading that could run code. Load it where you trust it and save its state dict '
            f'alone, e.g. with safetensors.torch.save_file. ({str(error).splitlines()[0]})'
        ) from error
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
    while not any(isinstance(entry, Tensor) for entry in inner.values()):
        wrapper = next((key for key in _WRAPPERS if isinstance(inner.get(key), Mapping)), None)
        if wrapper is None:
            raise WeightsError(
                f'no state dict in the checkpoint; its entries are {sorted(map(str, inner))[:8]}, '
                f'expected one of {list(_WRAPPERS)} or tensors by name'
            )
        inner = inner[wrapper]
    tensors = {name: entry for name, entry in inner.items() if isinstance(entry, Tensor)}
    if all(name.startswith('module.') for name in tensors):
        tensors = {name.removeprefix('module.'): entry for name, entry in tensors.items()}
    return tensors


def hash_of(state_dict: Mapping[str, Tensor], names: Iterable[str]) -> str:
    """SHA-256 over names, types, shapes and values of tensors, in the order of ``names``."""
    digest = hashlib.sha256()
    for name in names:
        tensor = state_dict[name].detach().cpu().contiguous()
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}\n'.encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def converted_for(module: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict after the modules' own load hooks, which rename what they recognise."""
    converted = dict(state_dict)
    for name, child in module.named_modules():
        for hook in child._load_state_dict_pre_hooks.values():
            hook(converted, f'{name}.' if name else '', {}, True, [], [], [])
    return converted


def compare(module: nn.Module, state_dict: Mapping[str, Tensor]) -> LoadReport:
    """Compares a state dict with a module, name by name, after the modules' load hooks."""
    given, wanted = converted_for(module, state_dict), module.state_dict()
    matched, mismatched = [], []
    for name in wanted.keys() & given.keys():
        got, want = tuple(given[name].shape), tuple(wanted[name].shape)
        if got == want:
            matched.append(name)
        else:
            mismatched.append((name, got, want))
    sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
    total = sum(sizes.values())
    covered = sum(sizes.get(name, 0) for name in matched)
    return LoadReport(
        matched=tuple(sorted(matched)),
        missing=tuple(name for name in wanted if name not in given),
        unexpected=tuple(name for name in given if name not in wanted),
        mismatched=tuple(sorted(mismatched)),
        share=covered / total if total else 1.0,
    )


def check_fit(
    module: nn.Module,
    state_dict: Mapping[str, Tensor],
    *,
    min_share: float = 0.5,
    what: str = 'checkpoint',
) -> LoadReport:
    """Raises unless a state dict fits a module; changes nothing.

    Args:
        module: what to load into.
        state_dict: tensors by name; the module's load hooks may rename them.
        min_share: least share of the module's parameters, by element, that must match.
        what: what the weights are, for the message.

    Raises:
        WeightsError: less than ``min_share`` matched, or an encoder of another width or depth (a
            child's ``check_state_dict`` says so).
    """
    converted = converted_for(module, state_dict)
    for name, child in module.named_modules():
        if hasattr(child, 'check_state_dict'):
            child.check_state_dict(converted, f'{name}.' if name else '', what=what)
    report = compare(module, state_dict)
    if report.share < min_share:
        raise WeightsError(
            f'the {what} does not fit the model: {report.percent} of the parameters matched, at '
            f'least {min_share:.0%} must. Choose the checkpoint of this architecture, or the '
            f'config of this checkpoint.\n{report}'
        )
    return report


def load_checked(
    module: nn.Module,
    state_dict: Mapping[str, Tensor],
    *,
    min_share: float = 0.5,
    what: str = 'checkpoint',
) -> LoadReport:
    """Loads what matches, or nothing if too little does; see :func:`check_fit`.

    Raises:
        WeightsError: the state dict does not fit; the module is untouched.
    """
    report = check_fit(module, state_dict, min_share=min_share, what=what)
    converted = converted_for(module, state_dict)
    module.load_state_dict({name: converted[name] for name in report.matched}, strict=False)
    return report
