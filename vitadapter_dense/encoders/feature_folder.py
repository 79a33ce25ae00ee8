"""``FeatureFolder``: features of images on the disk, one file an image, of one encoder alone."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitadapter_dense.checkpoints.errors import WeightsError

_OWNER = 'encoder.json'


class FeatureError(WeightsError, ValueError):
    """Kept features that are not there, cannot be read, or are of another encoder."""


def image_key(image: Tensor) -> str:
    """The name of an image ``(3, H, W)``: its size and a hash of its float32 values."""
    array = image.detach().to('cpu', torch.float32).contiguous().numpy()
    digest = hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest()
    return f'{array.shape[1]}x{array.shape[2]}_{digest}'


class FeatureFolder:
    """Reads and writes features by the content of the image; whole files or none.

    A file beside them says which encoder they are of; those of another one are never mixed in.

    Args:
        path: of the folder; made with the first features.
        owner: what tells one encoder from another, plain values only.
    """

    def __init__(self, path: Path, owner: Mapping[str, Any]) -> None:
        self.path = path
        self.owner = json.loads(json.dumps(owner))
        self.is_empty = not self._check_owner()

    def _check_owner(self) -> bool:
        file = self.path / _OWNER
        if not file.is_file():
            there = os.listdir(self.path) if self.path.is_dir() else ()
            if any(not name.endswith('.partial') for name in there):
                raise FeatureError(
                    f'{str(self.path)!r} is not empty, and {_OWNER}, which says of which encoder '
                    'the features are, is not there: choose another folder'
                )
            return False
        try:
            found = json.loads(file.read_text())
        except ValueError as error:
            raise FeatureError(
                f'{str(file)!r} cannot be read ({error}); choose another folder'
            ) from error
        if not isinstance(found, dict):
            raise FeatureError(f'{str(file)!r} describes no encoder; choose another folder')
        differing = {
            name: (found.get(name), self.owner.get(name))
            for name in sorted({*found, *self.owner})
            if found.get(name) != self.owner.get(name)
        }
        if differing:
            listed = ', '.join(f'{name} {a} (here {b})' for name, (a, b) in differing.items())
            raise FeatureError(
                f'the features in {str(self.path)!r} are of another encoder: {listed}. Choose '
                f'another folder, or make them again with tools/dataset/cache_features.py'
            )
        return True

    def file_of(self, image: Tensor) -> Path:
        """The file of an image ``(3, H, W)``."""
        return self.path / f'{image_key(image)}.safetensors'

    def read(self, file: Path) -> dict[str, Tensor] | None:
        """What a file holds; ``None`` if there is none.

        Raises:
            FeatureError: the file is broken.
        """
        if self.is_empty or not file.is_file():
            return None
        try:
            return load_file(file)
        except (safetensors.SafetensorError, OSError) as error:
            raise FeatureError(f'{str(file)!r} cannot be read ({error}); delete it') from error

    def write(self, file: Path, features: Mapping[str, Tensor]) -> None:
        """Writes a file, and the one that names the encoder before the first."""
        if self.is_empty:
            self.path.mkdir(parents=True, exist_ok=True)
            partial = self.path / f'{_OWNER}.{os.getpid()}.partial'
            partial.write_text(json.dumps(self.owner, indent=1))
            partial.replace(self.path / _OWNER)
            self.is_empty = False
        partial = file.with_suffix(f'.{os.getpid()}.partial')
        save_file({name: tensor.contiguous() for name, tensor in features.items()}, partial)
        partial.replace(file)
