"""Panoptic ground truth of a generated set: its objects as things, the background as stuff."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .panoptic_from_instances import make_panoptic

BACKGROUND = 'background'


def complete_panoptic(root: Path, meta: Mapping[str, Any]) -> bool:
    """Write the panoptic files that are missing, of the instances; False if none is.

    The masks of a set's instances do not overlap: nothing is guessed.
    """
    written = False
    for split, number in meta['num_images'].items():
        file, folder = root / 'annotations' / f'panoptic_{split}.json', root / 'panoptic' / split
        if not file.is_file() or not holds(folder, '.png', number):
            instances = root / 'annotations' / f'instances_{split}.json'
            make_panoptic(instances, file, folder, stuff=[BACKGROUND], rest=BACKGROUND)
            written = True
    return written


def holds(folder: Path, suffix: str, number: int) -> bool:
    """Whether the files 000000, 000001, ... of a folder are all there."""
    names = set(os.listdir(folder)) if folder.is_dir() else set()
    return all(f'{index:06d}{suffix}' in names for index in range(number))
