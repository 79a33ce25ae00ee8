"""Files from an address: kept by the whole address, and only if they came whole.

torch and MMEngine keep them by the last part of the address alone, so that ``model.safetensors`` of
one model is taken for that of the next, and take what a broken connection has left for the file.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import tempfile
import urllib.request
from pathlib import Path
from urllib.parse import urlparse

import torch
from mmengine.logging import print_log

from vitadapter_dense.checkpoints.errors import WeightsError

_TIMEOUT = 60  # seconds without a byte


def is_address(source: str | Path) -> bool:
    """Whether a source of weights is an http(s) address."""
    return urlparse(str(source)).scheme in ('http', 'https')


def kept_at(address: str) -> Path:
    """Where the file of an address lies once it is here: in torch's cache, by the whole address."""
    name = Path(urlparse(address).path).name or 'weights'
    key = hashlib.sha256(address.encode()).hexdigest()[:16]
    return Path(torch.hub.get_dir()) / 'checkpoints' / f'{key}_{name}'


def fetch(address: str) -> Path:
    """The local copy of a file, downloaded if it is not here yet.

    Raises:
        WeightsError: it cannot be had, or not whole.
    """
    path = kept_at(address)
    if path.is_file():
        print_log(f'{address} lies at {path} since an earlier download', logger='current')
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        download(address, path)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f'cannot download {address!r} ({error}); download it elsewhere and pass the file'
        ) from error
    print_log(f'{address} is downloaded to {path}', logger='current')
    return path


def download(address: str, path: Path) -> Path:
    """Writes beside the target and renames, so that no one sees a part of a file.

    Raises:
        OSError: it cannot be had, or not whole.
        ValueError: it is no address.
    """
    request = urllib.request.Request(address, headers={'User-Agent': 'vitadapter_dense'})
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix='.partial', delete=False) as partial:
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
                shutil.copyfileobj(response, partial, 2**20)
                announced = response.headers.get('Content-Length')
            size = partial.tell()
            if announced is not None and size != int(announced):
                raise OSError(f'only {size} of {announced} bytes came')
            partial.close()
            os.chmod(partial.name, 0o644)  # temporary files are the user's alone
            os.replace(partial.name, path)
            return path
        except BaseException as error:  # Ctrl-C too must leave nothing behind
            Path(partial.name).unlink(missing_ok=True)
            if isinstance(error, http.client.HTTPException):
                raise OSError(f'the server broke off ({error!r})') from error
            raise
