"""Files from an address: kept by the whole address, whole, and the same as the first time.

torch and MMEngine keep them by the last part of the address alone, so that ``model.safetensors`` of
one model is taken for that of the next, and take what a broken connection has left for the file.
Few publish a hash of their weights: the first download's is recorded beside the file, and whatever
comes or lies there later is compared with it.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlparse

import torch
from mmengine.logging import print_log

from vitadapter_dense.checkpoints.errors import WeightsError
from vitadapter_dense.checkpoints.transfer import download, part_of


def is_address(source: str | Path) -> bool:
    """Whether a source of weights is an http(s) address."""
    return urlparse(str(source)).scheme in ('http', 'https')


def kept_at(address: str) -> Path:
    """Where the file of an address lies once it is here: in torch's cache, by the whole address."""
    name = Path(urlparse(address).path).name or 'weights'
    key = hashlib.sha256(address.encode()).hexdigest()[:16]
    return Path(torch.hub.get_dir()) / 'checkpoints' / f'{key}_{name}'


def record_of(path: Path) -> Path:
    """Where the hash of a downloaded file is recorded."""
    return path.with_name(f'{path.name}.json')


def recorded(address: str) -> dict[str, str | int]:
    """Address, size and `sha256` of the first download; empty before it."""
    try:
        return dict(json.loads(record_of(kept_at(address)).read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def fetch(address: str, *, sha256: str | None = None) -> Path:
    """The local copy of a file, downloaded if it is not here yet, or not all of it.

    Args:
        address: http(s).
        sha256: of the file, where its authors tell it; else that of the first download counts.

    Raises:
        WeightsError: it cannot be had, not whole, or is another file than before.
    """
    path = kept_at(address)
    if path.is_file():
        try:
            _compare(path, address, sha256)
        except OSError as error:
            raise WeightsError(
                f'{str(path)!r} is not used: {error}. Delete it to fetch it again from {address}'
            ) from error
        print_log(f'{address} lies at {path} since an earlier download', logger='current')
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        download(address, path, check=lambda part: _compare(part, address, sha256))
    except (OSError, ValueError) as error:
        raise WeightsError(_mend(address, path, error)) from error
    print_log(f'{address} is downloaded to {path}', logger='current')
    return path


def _mend(address: str, path: Path, error: Exception) -> str:
    with suppress(OSError):
        if (size := part_of(path).stat().st_size) > 0:
            error = f'{error}; {size / 1e6:.1f} MB are here, and the next try goes on from there'
    return (
        f'cannot download {address!r} ({error}). Try again; or download it elsewhere and put it at '
        f'{str(path)!r} (the environment variable TORCH_HOME moves that folder), or pass the file '
        'itself'
    )


def _compare(file: Path, address: str, sha256: str | None) -> None:
    """Compares a file with what is known of it, and records what is not.

    Raises:
        OSError: it is another one.
    """
    record, known = record_of(kept_at(address)), recorded(address)
    expected = sha256 or known.get('sha256')
    with file.open('rb') as stream:
        found = hashlib.file_digest(stream, 'sha256').hexdigest()
    if expected and found != expected:
        source = 'of its authors' if sha256 else f'recorded at the first download, in {record}'
        trust = '' if sha256 else '; delete that record only where you trust the new file'
        raise OSError(
            f'its SHA-256 {found[:16]}... is not {expected[:16]}..., {source}: it was changed or '
            f'cut{trust}'
        )
    if not known:
        entry = dict(address=address, size=file.stat().st_size, sha256=found)
        with suppress(OSError):  # a cache of others that may only be read
            record.write_text(json.dumps(entry, indent=2) + '\n')
