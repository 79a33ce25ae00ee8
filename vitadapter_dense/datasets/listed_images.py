"""``ListedImages``: classification sets as lists of files, or as a folder a class.

One class reads what MMPretrain has no class for: Stanford Dogs, NABirds, Clothing1M, the 19 tasks
of VTAB-1k (lists); ImageNet-A, -R and -C, which have some of ImageNet's classes under the names of
its folders (a folder a class). Nothing is downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS

from .classification import ClassificationDataset, lines_of, named_classes
from .errors import DatasetError
from .labelled_images import is_image

IMAGENET = 'imagenet'


@DATASETS.register_module()
class ListedImages(ClassificationDataset):
    """Images with one label each.

    With `ann_file`, a list with a line an image: its path, a space, and its label as a number or,
    where names are known, as a name. Without one, the folders in the folder of the images are the
    classes, in the order of their names or that of `folders`; images lie at any depth.

    Names of classes are those of `metainfo`, the numbers below `num_classes`, the lines of a file
    `classes.txt` in `data_root`, or the names of the folders.

    Args:
        ann_file: the list, from `data_root`.
        data_root: folder of the data.
        data_prefix: `img`, the folder of the images, from `data_root`.
        metainfo: `classes`, a tuple or a file with a name a line.
        num_classes: so many classes go by their numbers.
        folders: names of the classes' folders in the order of their labels, as a sequence, a file
            with a name a line, or `'imagenet'` for ImageNet's 1000. Some may be absent, as in
            ImageNet-A: labels are those of the whole list.
        **options: of MMEngine's `BaseDataset` (`pipeline`, `indices`, `test_mode`, ...).

    Raises:
        DatasetError: when it is filled, for a list or folders that cannot be used.
    """

    def __init__(
        self,
        ann_file: str = '',
        *,
        data_root: str = '',
        data_prefix: dict[str, str] | None = None,
        metainfo: dict[str, Any] | None = None,
        num_classes: int | None = None,
        folders: str | Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        root = Path(data_root)
        names = named_classes(metainfo, num_classes, root)
        self.folders = _folder_names(folders)
        if names is None and folders == IMAGENET:
            names = tuple(_imagenet_names())
        if names is None and self.folders:
            names = self.folders
        if names is None and not ann_file:
            names = tuple(_subfolders(root / (data_prefix or {}).get('img', '')))
        if names is None:
            raise DatasetError(
                f'nobody names the classes of {root / ann_file}. Mend: metainfo=dict(classes=...), '
                f'num_classes=N, or a file {root / "classes.txt"} with a name a line'
            )
        if self.folders and len(self.folders) != len(names):
            raise DatasetError(f'{len(self.folders)} folders, but {len(names)} names of classes')
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=dict(data_prefix or dict(img='')),
            metainfo=dict(metainfo or {}, classes=names),
            **options,
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """One entry an image."""
        root, place = self.data_prefix['img'], self.ann_file or self.data_prefix['img']
        listed = self._from_list() if self.ann_file else self._from_folders(Path(root))
        found = [dict(img_path=str(path), gt_label=label) for path, label in listed]
        if not found:
            raise DatasetError(f'{place} holds no image. {_LAYOUT}')
        return found

    def _from_list(self) -> Iterator[tuple[str, int]]:
        numbers = {name: label for label, name in enumerate(self.metainfo['classes'])}
        for number, line in enumerate(lines_of(Path(self.ann_file)), start=1):
            path, _, label = line.rpartition(' ')
            found = int(label) if label.isdecimal() else numbers.get(label)
            if not path or found is None or found >= len(numbers):
                raise DatasetError(
                    f'{self.ann_file}, line {number}: {line!r} is no path with a label from 0 to '
                    f'{len(numbers) - 1} or a name of a class behind it'
                )
            yield os.path.join(self.data_prefix['img'], path.strip()), found

    def _from_folders(self, root: Path) -> Iterator[tuple[Path, int]]:
        labels = {
            name: label for label, name in enumerate(self.folders or self.metainfo['classes'])
        }
        there = _subfolders(root)
        unknown = [name for name in there if name not in labels]
        if unknown or not there:
            what = f'{unknown[0]!r}, which is no class' if unknown else 'no folder a class'
            raise DatasetError(f'{root} has {what}. {_LAYOUT}')
        for name in there:
            for path in sorted((root / name).rglob('*')):
                if is_image(path):
                    yield path, labels[name]


_LAYOUT = (
    'Mend: a folder for each class with its images, or ann_file, a list with a line an image: path '
    'and label'
)


def _subfolders(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise DatasetError(f'there is no folder {folder}. Mend: data_root and data_prefix.img')
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != '.')


def _folder_names(folders: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if not isinstance(folders, str):
        return None if folders is None else tuple(folders)
    if folders == IMAGENET:
        return tuple(_imagenet().label_names())
    if not Path(folders).is_file():
        raise DatasetError(f"folders={folders!r} is no file of names, one a line, nor 'imagenet'")
    return tuple(lines_of(Path(folders)))


def _imagenet_names() -> list[str]:
    """Of ImageNet's 1000 classes, some of which share a name: with their folders then."""
    info = _imagenet()
    names = [name.split(',')[0] for name in info.label_descriptions()]
    twice = {name for name in names if names.count(name) > 1}
    labels = info.label_names()
    return [f'{name} ({labels[n]})' if name in twice else name for n, name in enumerate(names)]


@cache
def _imagenet() -> Any:
    from timm.data import ImageNetInfo  # which has the folders in the order of the labels

    return ImageNetInfo()
