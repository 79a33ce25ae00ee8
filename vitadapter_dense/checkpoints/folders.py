"""Weights in a folder, as Hugging Face's libraries write them: one file, or parts and an index."""

from __future__ import annotations

import json
from pathlib import Path

from mmengine.logging import print_log

from vitadapter_dense.checkpoints.errors import WeightsError

#: in the order in which they are taken, as `transformers` does
_WHOLE = ('model.safetensors', 'pytorch_model.bin')
_SUFFIX = '.index.json'


def is_index(path: Path) -> bool:
    """Whether a file is the index of weights in several parts."""
    return path.name.endswith(_SUFFIX)


def file_in_folder(folder: Path) -> Path:
    """The weights in a folder, or the index of their parts.

    Raises:
        WeightsError: there are none of a known name.
    """
    names = [name + ending for name in _WHOLE for ending in ('', _SUFFIX)]
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise WeightsError(
            f'the folder {str(folder)!r} holds no weights under a known name '
            f'({", ".join(names)}); name the file'
        )
    if len(found) > 1:
        print_log(
            f'{folder}: {found[0].name} is taken, not {", ".join(p.name for p in found[1:])}',
            logger='current',
        )
    return found[0]


def parts_of(index: Path) -> dict[Path, list[str]]:
    """The files that an index names, and the names of the tensors in each.

    Raises:
        WeightsError: it is no index, names files outside of its folder, or a part is not there.
    """
    try:
        placed = json.loads(index.read_text(encoding='utf-8'))['weight_map']
        pairs = [(str(name), str(file)) for name, file in placed.items()]
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise WeightsError(
            f'{str(index)!r} is no index of weights ({type(error).__name__}: {error}); fetch it '
            'again'
        ) from error
    parts: dict[Path, list[str]] = {}
    for name, file in pairs:
        if Path(file).name != file:
            raise WeightsError(
                f'{str(index)!r} is refused: it names {file!r}, which is not in its folder'
            )
        parts.setdefault(index.parent / file, []).append(name)
    lacking = [path.name for path in parts if not path.is_file()]
    if lacking:
        raise WeightsError(
            f'{len(lacking)} of the {len(parts)} parts that {str(index)!r} names are not there: '
            f'{", ".join(lacking[:4])}; fetch them into the same folder'
        )
    return parts
