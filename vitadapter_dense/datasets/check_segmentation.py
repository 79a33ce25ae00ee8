"""Check the images and label maps of a segmentation data set before training.

MMSegmentation notices a missing map when it comes to it, a map of another size where the image is
cropped, and labels beyond the classes only in the loss. Here the pairs are looked up before the
first step (`check_pairs`, seconds), and `inspect_split` reads every pixel.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from mmengine.registry import DATASETS

from .check_image_files import check_image_files
from .decoding import ValueRange, decode_image
from .errors import DatasetError
from .image_headers import header_of
from .load_seg_map import IGNORED, decode_labels, other_map_size

_SAMPLED_MAPS = 8
_SUSPECTED_MAPS = 64  # before a data set is refused for what they do not hold
_SHOWN = 5
_FILES = ('img_path', 'seg_map_path')
_IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


@dataclasses.dataclass(frozen=True)
class Split:
    """What a data set config of MMSegmentation lists: nothing has been read yet.

    Attributes:
        name: the folder of images, for messages.
        pairs: image file and map file; the map is None where the config names no folder of maps.
        classes: names, in the order of their numbers.
        reduce_zero_label: the files number the classes from 1, and 0 is ignored.
        values: of the classes in the files; not in a row when the config uses some classes only.
        known: how many classes the files have, used or not.
        left_out: what lies in the folders, but is not in `pairs`: in words, one for each folder.
    """

    name: str
    pairs: tuple[tuple[str, str | None], ...]
    classes: tuple[str, ...]
    reduce_zero_label: bool
    values: tuple[int, ...]
    known: int
    left_out: tuple[str, ...] = ()

    @property
    def allowed(self) -> np.ndarray:
        """(256,) bool: which values a file may have, ignored ones included."""
        allowed = np.zeros(256, bool)
        allowed[self.first : self.first + self.known] = True
        allowed[[0, IGNORED] if self.reduce_zero_label else [IGNORED]] = True
        return allowed

    @property
    def first(self) -> int:
        """The value of the first class that the files have."""
        return 1 if self.reduce_zero_label else 0


def list_split(dataset_cfg: Mapping[str, Any]) -> Split:
    """What a plain data set config lists.

    Raises:
        DatasetError: when it lists nothing, or names no classes.
    """
    with DATASETS.switch_scope_and_registry('mmseg') as registry:
        dataset = registry.build(dict(dataset_cfg, pipeline=[], test_mode=False, lazy_init=True))
    prefix = dataset.data_prefix
    try:
        items = dataset.load_data_list()
    except (OSError, AssertionError) as error:
        raise DatasetError(
            f'the images of {prefix["img_path"]} cannot be listed: {error}. Mend: name the folder '
            'that holds the data, --data-root FOLDER, or correct data_prefix.'
        ) from error
    left_out = _left_out(dataset, items)
    if not items:
        raise DatasetError(
            f'the split is empty: {dataset.ann_file or prefix["img_path"]} lists no image that '
            f'ends with {dataset.img_suffix!r}. {" ".join(left_out)} Mend: set img_suffix to the '
            'ending of your images (and seg_map_suffix to that of the maps), or correct '
            'data_prefix.'
        )
    meta = dataset.metainfo
    if not meta.get('classes'):
        raise DatasetError(
            f'the data set of {prefix["img_path"]} has no class names. Mend: give '
            "metainfo=dict(classes=('background', ...), palette=[(0, 0, 0), ...])."
        )
    if isinstance(meta['classes'], str):
        raise DatasetError(
            f'metainfo has classes={meta["classes"]!r}, a string: it would be the name of a file '
            'with one class a line, and there is no such file. Mend: for a single class write '
            f"classes=('{meta['classes']}',)."
        )
    classes = tuple(meta['classes'])
    # number in the files, less the ignored 0, -> number in the config
    numbers = meta.get('label_map') or {number: number for number in range(len(classes))}
    reduced = bool(meta.get('reduce_zero_label'))
    originals = {new: old for old, new in numbers.items()}
    return Split(
        name=str(prefix['img_path']),
        pairs=tuple((item['img_path'], item.get('seg_map_path')) for item in items),
        classes=classes,
        reduce_zero_label=reduced,
        values=tuple(originals[number] + reduced for number in range(len(classes))),
        known=len(numbers),
        left_out=left_out,
    )


def _left_out(dataset: Any, items: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Images with another ending than `img_suffix`, and maps without an image, in words.

    Only where the folders decide what belongs to the split, not a list of names.
    """
    if dataset.ann_file and not os.path.isdir(dataset.ann_file):
        return ()
    known = {os.path.normpath(item[key]) for item in items for key in _FILES if item.get(key)}
    images = [
        file
        for file in _files(dataset.data_prefix['img_path'])
        if file.lower().endswith(_IMAGE_SUFFIXES) and file not in known
    ]
    known.update(images)
    maps = [
        file
        for file in _files(dataset.data_prefix.get('seg_map_path'))
        if file.endswith(dataset.seg_map_suffix) and file not in known
    ]
    found = []
    if images:
        found.append(
            f'images left out, since they do not end with {dataset.img_suffix!r} ({len(images)}): '
            f'first {images[0]}.'
        )
    if maps:
        found.append(f'label maps without an image ({len(maps)}): first {maps[0]}.')
    return tuple(found)


def _files(folder: str | None) -> list[str]:
    """Every file below a folder, sorted."""
    tree = os.walk(folder) if folder else ()
    return sorted(
        os.path.normpath(os.path.join(at, name)) for at, _, names in tree for name in names
    )


def check_pairs(split: Split, value_range: ValueRange | None = None) -> list[str]:
    """Look every file of a split up, into headers and some of the maps, spread over the split.

    Args:
        split: what is listed.
        value_range: of the pipeline's image loader.

    Returns:
        warnings: what lies in the folders, but is not in the split; images that are turned.

    Raises:
        DatasetError: naming the first files that are not there, or what is wrong with the maps.
    """
    images = [image for image, _ in split.pairs if not os.path.isfile(image)]
    if images:
        raise DatasetError(_missing('images', images, len(split.pairs)))
    without = [label_map or image for image, label_map in split.pairs if not _is_file(label_map)]
    if without:
        raise DatasetError(_missing('label maps', without, len(split.pairs)))
    files, maps = zip(*split.pairs, strict=True)
    turned = check_image_files(files, maps=maps, value_range=value_range)
    problem = None
    for number in (_SAMPLED_MAPS, _SUSPECTED_MAPS):
        pixels = _sample_pixels(split, number, value_range)
        problem = explain_unlabelled(split, pixels)
        if problem is None:
            break
    if problem:
        raise DatasetError(
            f'the label maps of {split.name} cannot be trained on (first {split.pairs[0][1]}): '
            f'{problem}'
        )
    return [*split.left_out, *turned]


def _sample_pixels(split: Split, number: int, value_range: ValueRange | None) -> np.ndarray:
    """(256,) how often each value is in some of the maps; raises for one that cannot be used."""
    pixels = np.zeros(256, np.int64)
    for pair in islice(split.pairs, 0, None, max(1, len(split.pairs) // number)):
        findings = inspect_pair(pair, value_range)
        if findings.problem:
            raise DatasetError(findings.problem)
        beyond = np.flatnonzero(findings.pixels * ~split.allowed)
        if beyond.size:
            raise DatasetError(
                f'label map {pair[1]} has the values {beyond[:_SHOWN].tolist()}, which are no '
                f'class: {explain_range(split)} Mend: python tools/dataset/check_dataset.py '
                'CONFIG reads the whole data set and says what it suggests.'
            )
        pixels += findings.pixels
    return pixels


def explain_unlabelled(split: Split, pixels: np.ndarray) -> str | None:
    """Why maps with these values teach nothing; None when they do.

    Args:
        pixels: (256,) how often each value of the files occurs.
    """
    seen = np.flatnonzero(pixels).tolist()
    if seen == [0, IGNORED] and split.first == 0 and len(split.classes) > 1:
        return 'the maps hold 0 and 255 alone, and 255 is ignored: if 255 is the object, write 1'
    if not seen or pixels[list(split.values)].any():
        return None
    mend = 'write the numbers of the classes, or correct metainfo.classes'
    if 0 in seen and split.reduce_zero_label:
        mend = 'reduce_zero_label=False, if 0 is a class; 255 is ignored, write 1 for an object'
    return (
        f'every pixel is ignored, the maps hold {seen[:_SHOWN]} alone: {explain_range(split)} '
        f'Mend: {mend}.'
    )


def explain_range(split: Split) -> str:
    """Which values the files may have, in words."""
    number = split.known
    if split.reduce_zero_label:
        return (
            f'with {number} classes and reduce_zero_label they are 1 to {number}, 0 and 255 are '
            'ignored.'
        )
    return f'with {number} classes they are 0 to {number - 1}, 255 is ignored.'


def _is_file(path: str | None) -> bool:
    return path is not None and os.path.isfile(path)


def _missing(what: str, files: Sequence[str], total: int) -> str:
    shown = ', '.join(files[:_SHOWN]) + (', ...' if len(files) > _SHOWN else '')
    return (
        f'{len(files)} of {total} {what} are not there: {shown}. Mend: add them, take their '
        'images out, or correct data_prefix, img_suffix and seg_map_suffix in the config.'
    )


@dataclasses.dataclass
class Findings:
    """What one image and its map hold.

    Attributes:
        pixels: (256,) int64, how often each value is in the file; zeros when it cannot be used.
        problem: why the pair cannot be used.
        kind: a word for the problem: missing, broken, size.
        turned: the image has an EXIF orientation.
    """

    pixels: np.ndarray
    problem: str = ''
    kind: str = ''
    turned: bool = False


def inspect_pair(pair: tuple[str, str | None], value_range: ValueRange | None = None) -> Findings:
    """Read an image and its map whole; `value_range` is the image loader's."""
    image_file, map_file = pair
    nothing = np.zeros(256, np.int64)
    contents = []
    for what, path in (('image', image_file), ('label map', map_file)):
        try:
            with open(path or '', 'rb') as stream:
                contents.append(stream.read())
        except OSError as error:
            problem = (
                f'{what} of {image_file} is not there: {error}. Mend: add it, take the pair out, '
                'or correct data_prefix, img_suffix and seg_map_suffix'
            )
            return Findings(nothing, problem, 'missing')
    try:
        image = decode_image(contents[0], name=image_file, value_range=value_range)
        labels = decode_labels(contents[1], name=map_file)
    except DatasetError as error:
        return Findings(nothing, str(error), 'broken')
    header = header_of(contents[0])
    if labels.shape != image.shape[:2]:
        sizes = labels.shape[::-1], image.shape[1::-1]
        problem = other_map_size(map_file, sizes[0], image_file, sizes[1], header)
        return Findings(nothing, problem, 'size')
    # by rows: bincount copies what it counts into 8 bytes a pixel
    pixels = sum((np.bincount(row, minlength=256) for row in labels), np.zeros(256, np.int64))
    return Findings(pixels, turned=header is not None and header.orientation != 1)
