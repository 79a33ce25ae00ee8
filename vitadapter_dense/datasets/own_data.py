"""From a folder of somebody's data to what a config needs to say of it.

`prepare` finds the layout, converts what cannot be used as it is into a folder beside it, and
splits a validation set off where there is none. The data themselves are never changed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .errors import DatasetError
from .find_coco import has_coco
from .find_maps import has_maps
from .own_boxes import prepare_boxes, prepare_coco
from .own_folders import has_folders, prepare_folders
from .own_maps import prepare_maps
from .own_request import Format, OwnData, Request
from .read_voc import has_voc
from .read_yolo import has_yolo


def prepare(request: Request) -> OwnData:
    """Find, convert and split.

    Raises:
        DatasetError: naming every kind of problem, its first file and the mend.
    """
    if not request.root.is_dir():
        raise DatasetError(f'there is no folder {request.root}. Mend: name the folder of the data')
    if not 0 < request.val_share < 1:
        raise DatasetError(f'val_share={request.val_share} must lie between 0 and 1, as 0.2 does')
    twice = [name for n, name in enumerate(request.classes) if name in request.classes[:n]]
    if twice:
        raise DatasetError(
            f'--classes names {twice[0]!r} twice. Mend: give each class its own name'
        )
    layout = request.layout or _find_format(request)
    if (layout == 'folders') != (request.task == 'classification'):
        raise DatasetError(
            f'the layout {layout!r} does not hold what --task {request.task} needs. Mend: images '
            'in a folder a class are for --task classification, and no others are'
        )
    if layout == 'folders':
        return prepare_folders(request)
    if layout == 'maps':
        return prepare_maps(request)
    return prepare_coco(request) if layout == 'coco' else prepare_boxes(request, layout)


def _find_format(request: Request) -> Format:
    root = request.root
    if request.task == 'classification':
        if has_folders(root):
            return 'folders'
        raise DatasetError(
            f'{root} has no folder a class: {root}/cat/1.jpg and {root}/dog/2.jpg, or '
            f'{root}/train/cat/1.jpg and {root}/val/cat/2.jpg'
        )
    if request.annotations:
        return 'coco'
    looks: dict[Format, Callable[[Path], bool]] = dict(coco=has_coco, voc=has_voc, yolo=has_yolo)
    if request.task == 'segmentation':
        if has_maps(root):
            return 'maps'
        other = [name for name, look in looks.items() if look(root)]
        hint = (
            f' It seems to hold objects ({other[0]}): --task detection or instance.'
            if other
            else ''
        )
        raise DatasetError(
            f'{root} has no label maps: images in images/ and, with the same names, PNG files in '
            f'maps/ (or masks/, labels/, annotations/).{hint}'
        )
    found = [name for name, look in looks.items() if look(root)]
    if len(found) > 1:
        raise DatasetError(
            f'{root} has annotations of several formats ({", ".join(found)}). Mend: say which, '
            f'--layout {found[0]}'
        )
    if not found:
        hint = ' It has label maps: --task segmentation.' if has_maps(root) else ''
        raise DatasetError(
            f'{root} has no annotations of COCO (a JSON file with images, annotations, '
            'categories), YOLO (data.yaml, or images/ and labels/) or Pascal VOC (Annotations/, '
            f'JPEGImages/).{hint} Mend: name the folder that holds them all.'
        )
    return found[0]
