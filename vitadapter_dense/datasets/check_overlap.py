"""Find images that a model is trained on and evaluated on.

Learning a few images by heart is a legitimate test; else such a result says nothing about other
images. Images are the same by their path, or by their file's name, size and first bytes: a copy in
another folder is still the same image.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .dataset_configs import UsedDataset

_COMPARED_BYTES = 1 << 14


def find_shared_images(datasets: Iterable[tuple[UsedDataset, Sequence[str]]]) -> list[str]:
    """A warning for each validation or test set that has images of the training sets.

    Args:
        datasets: each with its image files.
    """
    datasets = list(datasets)
    found = []
    for used, files in datasets:
        if not used.evaluated or not files:
            continue
        if used.trained:
            shared = len(files)
        else:
            trained = [file for other, more in datasets if other.trained for file in more]
            shared = count_shared(files, trained)
        if shared:
            what = ' and '.join(dict.fromkeys(name for name in used.loaders if name != 'train'))
            whole = f'all {len(files)}' if shared == len(files) else f'{shared} of the {len(files)}'
            found.append(
                f'{whole} images of {what} are images of training, too: the result there says how '
                'well they are learnt by heart, not how well others would be recognised'
            )
    return found


def count_shared(files: Sequence[str], others: Sequence[str]) -> int:
    """How many of the files are among the others; what costs more is looked at last."""
    mine = {os.path.normpath(file): () for file in files}
    theirs: dict[str, tuple] = {os.path.normpath(file): () for file in others}
    by_path = [file for file in mine if file in theirs]
    for file in by_path:
        del mine[file]
    properties: tuple[Callable[[str], Any], ...] = (os.path.basename, _size, _head)
    for look in properties:
        mine = {file: (*key, look(file)) for file, key in mine.items()}
        theirs = {file: (*key, look(file)) for file, key in theirs.items()}
        common = {key for key in mine.values() if key[-1] is not None} & set(theirs.values())
        mine = {file: key for file, key in mine.items() if key in common}
        theirs = {file: key for file, key in theirs.items() if key in common}
    return len(by_path) + len(mine)


def _size(file: str) -> int | None:
    try:
        return os.path.getsize(file)
    except OSError:
        return None


def _head(file: str) -> bytes | None:
    try:
        with open(file, 'rb') as stream:
            return stream.read(_COMPARED_BYTES)
    except OSError:
        return None
