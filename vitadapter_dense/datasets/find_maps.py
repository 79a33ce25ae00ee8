"""Find images with label maps in a folder: which map is whose, and which split a pair is of.

A map's name is its image's name with something appended (`a.jpg`, `a_mask.png`), in a folder whose
path differs by one part (`images/train`, `masks/train`; `train/images`, `train/labels`;
`JPEGImages`, `SegmentationClass`), or in the same one.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .errors import DatasetError
from .labelled_images import is_image, split_in, walk_files

_MAP_FOLDERS = frozenset(
    (
        *('maps', 'masks', 'mask', 'mask_png', 'annotations', 'annotation', 'anns', 'ann_dir'),
        *('labels', 'label', 'gt', 'gtfine', 'groundtruth', 'ground_truth', 'targets'),
        *('segmentationclass', 'segmentationclassraw', 'segmentation', 'seg'),
    )
)
_IMAGE_FOLDERS = frozenset(
    ('images', 'image', 'imgs', 'img', 'img_dir', 'jpegimages', 'leftimg8bit')
)
_MAP_ENDINGS = (
    *('_mask', '-mask', '_label', '_labels', '_gt', '_seg', '_l'),
    *('_gtfine_labeltrainids', '_labeltrainids', '_labelids'),
)
_MAP_SUFFIXES = ('.png', '.tif', '.tiff', '.bmp')
_IMAGE_ENDINGS = ('_leftimg8bit', '_image', '_img', '_rgb')


@dataclasses.dataclass(frozen=True)
class Pair:
    """An image, its map, and what the pair is for: train, val, test or all."""

    image: Path
    label_map: Path
    split: str


@dataclasses.dataclass
class FoundMaps:
    """Pairs, and what lies there without a partner."""

    pairs: list[Pair]
    lonely_images: list[Path]
    lonely_maps: list[Path]


def has_maps(root: Path) -> bool:
    """Whether a folder has label maps."""
    files = [path for path in walk_files(root) if is_image(path)]
    return bool(_label_maps(files, root))


def find_maps(root: Path) -> FoundMaps:
    """Pair the images and the maps of a folder.

    Raises:
        DatasetError: there are no pairs.
    """
    files = [path for path in walk_files(root) if is_image(path)]
    maps = _label_maps(files, root)
    known = set(maps)
    images = [p for p in files if p not in known and 'SegmentationObject' not in p.parts]
    by_place: dict[tuple[str, str], list[Path]] = {}
    for image in images:
        for name in _names(image, _IMAGE_ENDINGS):
            by_place.setdefault((_place(image, root), name), []).append(image)
    lists = _listed_splits(root)
    pairs, lonely_maps, taken = [], [], set()
    for label_map in maps:
        place, names = _place(label_map, root), _names(label_map, _MAP_ENDINGS)
        near = next(filter(None, (by_place.get((place, name)) for name in names)), [])
        if len(near) != 1:
            lonely_maps.append(label_map)
            continue
        inside = label_map.relative_to(root).parent / '_'
        split = lists.get(near[0].stem) if lists else split_in(inside)
        if lists and split is None:
            lonely_maps.append(label_map)
            continue
        taken.add(near[0])
        pairs.append(Pair(near[0], label_map, split or 'all'))
    if not pairs:
        raise DatasetError(
            f'{root}: none of {len(images)} images and {len(maps)} label maps belong together. A '
            'map is a PNG with the name of its image, in a folder beside it: images/a.jpg and '
            'maps/a.png, or images/train/a.jpg and maps/train/a.png.'
        )
    return FoundMaps(pairs, [image for image in images if image not in taken], lonely_maps)


def _label_maps(files: Sequence[Path], root: Path) -> list[Path]:
    """By their folder, by their ending, or as the PNG beside a JPEG of the same name."""
    photos = {path.with_suffix('') for path in files if path.suffix.lower() in ('.jpg', '.jpeg')}
    return [
        path
        for path in files
        if _is_map(path, root) or (path.suffix.lower() == '.png' and path.with_suffix('') in photos)
    ]


def _is_map(path: Path, root: Path) -> bool:
    if path.suffix.lower() not in _MAP_SUFFIXES:
        return False
    folders = {part.lower() for part in path.relative_to(root).parts[:-1]}
    return bool(folders & _MAP_FOLDERS) or path.stem.lower().endswith(_MAP_ENDINGS)


def _place(path: Path, root: Path) -> str:
    """The folder without the part that tells images from maps."""
    parts = [part.lower() for part in path.relative_to(root).parts[:-1]]
    ours = _MAP_FOLDERS | _IMAGE_FOLDERS
    return '/'.join(part for part in parts if part not in ours)


def _names(path: Path, endings: Sequence[str]) -> list[str]:
    """The name, and the name without what tells a map from an image."""
    for ending in endings:
        if path.stem.lower().endswith(ending):
            return [path.stem, path.stem[: -len(ending)]]
    return [path.stem]


def _listed_splits(root: Path) -> dict[str, str]:
    """Name -> split, of VOC's lists for segmentation."""
    found = {}
    for split in ('train', 'val', 'test'):
        for file in sorted(root.rglob(f'ImageSets/Segmentation/{split}.txt')):
            for line in file.read_text(encoding='utf-8-sig').splitlines():
                found[line.strip()] = split
    found.pop('', None)
    return found


def common_suffixes(pairs: Sequence[Pair], roots: tuple[Path, Path]) -> tuple[str, str] | None:
    """What follows the shared name of image and map, where it is the same for all.

    Args:
        roots: the folders of images and of maps, from which the shared names start.
    """
    found: Counter[tuple[str, str]] = Counter()
    for pair in pairs:
        image = os.path.relpath(pair.image, roots[0])
        label_map = os.path.relpath(pair.label_map, roots[1])
        shared = os.path.commonprefix([image, label_map])
        stem = min(len(shared), len(image) - len(pair.image.suffix))
        found[image[stem:], label_map[stem:]] += 1
    return next(iter(found)) if len(found) == 1 else None
