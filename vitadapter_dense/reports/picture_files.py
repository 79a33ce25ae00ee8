"""Where pictures of images go: a name of its own for each, and no place where images are read."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vitadapter_dense.reports.output_files import OutputError


def picture_names(images: Sequence[str | Path]) -> list[Path]:
    """A relative PNG name for each image, the same whoever asks.

    Folders below the one that all share are kept. Where two images of a folder have one stem, or
    one that differs in case alone, the old suffix stays in the names: `1.jpg.png`, `1.tif.png`.

    Args:
        images: paths, each once.
    """
    files = [Path(os.path.abspath(image)) for image in images]
    root = os.path.commonpath([file.parent for file in files]) if files else ''
    inner = [file.relative_to(root) for file in files]
    short = [file.with_name(f'{file.stem}.png') for file in inner]
    uses = Counter(map(folded, short))
    names: list[Path] = []
    taken: set[str] = set()
    for file, name in zip(inner, short, strict=True):
        unique = name if uses[folded(name)] == 1 else file.with_name(f'{file.name}.png')
        names.append(free_name(unique, taken))
        taken.add(folded(names[-1]))
    return names


def free_name(name: Path, taken: set[str]) -> Path:
    """The name, with a number where it is taken (by names as `picture_names` compares them)."""
    numbered, number = name, 1
    while folded(numbered) in taken:
        numbered = name.with_name(f'{name.stem}_{number}{name.suffix}')
        number += 1
    return numbered


def folded(name: Path) -> str:
    """Equal for names that are one file where case or composed letters do not count."""
    return unicodedata.normalize('NFC', str(name)).casefold()


def image_files(dataset: Any) -> list[str]:
    """The image of every entry of a built data set; none where it does not tell."""
    try:
        return [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
    except (AttributeError, KeyError, TypeError):
        return []


def check_picture_folder(folder: str | Path, dataset: Any) -> None:
    """Makes sure that no data set takes the pictures of a folder for its images the next time.

    Raises:
        OutputError: when the folder lies in one whose files a data set without an annotation file
            lists.
    """
    place = Path(folder).resolve()
    for read in _listed_folders(dataset):
        if place == read or read in place.parents:
            raise OutputError(
                f'{folder} lies in {read}, where the data set reads every image: the pictures '
                'would be among them the next time. Give another folder.'
            )


def _listed_folders(dataset: Any) -> Iterator[Path]:
    inner = getattr(dataset, 'datasets', None) or getattr(dataset, 'dataset', None)
    if inner is not None:
        for part in inner if isinstance(inner, (list, tuple)) else [inner]:
            yield from _listed_folders(part)
        return
    prefixes = getattr(dataset, 'data_prefix', None)
    if not isinstance(prefixes, Mapping) or os.path.isfile(getattr(dataset, 'ann_file', '') or ''):
        return
    yield from (Path(path).resolve() for path in prefixes.values() if path and os.path.isdir(path))
