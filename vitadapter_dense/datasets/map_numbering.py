"""How the label maps of somebody's data set number their classes, and how they become ours.

Ours are bytes: 0 the first class, or 1 with `reduce_zero_label`; 255 is ignored. Maps that have
this already stay where they are. Others are rewritten by a table from what they hold (a value of 8
or 16 bits, a colour) to the number: masks of 0 and 255, grey levels, coloured pictures with a
table of colours beside them (`labelmap.txt`, `class_dict.csv`).
"""

from __future__ import annotations

import csv
import dataclasses
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from .decoding import MEND
from .errors import DatasetError
from .image_headers import header_of, open_picture
from .load_seg_map import IGNORED, map_problem

_TABLES = ('labelmap.txt', 'class_dict.csv', 'classes.csv', 'label_colors.txt')
_NAME_FILES = ('classes.txt', 'labels.txt', 'class_names.txt')
_VOID = ('void', 'ignore', 'ignored', 'unlabeled', 'unlabelled')
_SHOWN = 8


@dataclasses.dataclass
class Numbering:
    """What the values of the maps mean.

    Attributes:
        classes: names, in the order of their numbers.
        reduce_zero_label: the files count from 1, and 0 is ignored.
        table: what the files hold -> number; empty where they can stay as they are.
        remarks: what was concluded, in words.
    """

    classes: tuple[str, ...]
    reduce_zero_label: bool = False
    table: dict[int, int] = dataclasses.field(default_factory=dict)
    remarks: list[str] = dataclasses.field(default_factory=list)


def read_codes(path: Path) -> np.ndarray:
    """A label map as it lies in its file: (H, W) int32 values, colours as -1 - 0xRRGGBB.

    Raises:
        DatasetError: the file cannot be read, or cannot be a map.
    """
    try:
        data = path.read_bytes()
        if not data:
            raise DatasetError(f'label map {path} is empty (0 bytes). Mend: write it again.')
        header = header_of(data)
        if header is not None and (problem := map_problem(header)):
            raise DatasetError(f'label map {path} {problem}')
        with path.open('rb') as stream, open_picture(stream) as picture:
            mode, pixels = picture.mode, np.asarray(picture)
            if mode not in ('1', 'L', 'P', 'I', 'I;16', 'I;16B', 'RGB'):
                mode, pixels = 'RGB', np.asarray(picture.convert('RGB'))
    except DatasetError:
        raise
    except (OSError, ValueError, SyntaxError, struct.error) as error:
        raise DatasetError(f'label map {path} cannot be decoded: {error}. {MEND}') from error
    if mode == 'L' and header is not None and header.bits in (2, 4):
        pixels = pixels // (255 // (2**header.bits - 1))  # Pillow spreads them over a byte
    values = pixels.astype(np.int32)
    if mode != 'RGB':
        return values
    grey = (values == values[..., :1]).all()
    if grey:
        return values[..., 0]
    return -1 - (values[..., 0] << 16 | values[..., 1] << 8 | values[..., 2])


def find_numbering(
    root: Path,
    codes: Iterable[int],
    *,
    in_place: bool,
    classes: Sequence[str] | None = None,
    reduce_zero_label: bool = False,
) -> Numbering:
    """Conclude from the values that occur, and the names, what the values mean.

    Args:
        root: the data set's folder, which may have names and colours.
        codes: what occurs in the maps, as `read_codes` gives it.
        in_place: every map is a file of bytes without colours, which can be used as it is.
        classes: names that the user gives.
        reduce_zero_label: the user says that 0 is none.

    Raises:
        DatasetError: what the values mean cannot be told.
    """
    codes = set(codes)
    colours = _read_colours(root)
    if any(code < 0 for code in codes):
        return _by_colour(root, codes, colours, classes)
    names = list(classes or _read_names(root) or (name for name, _ in colours))
    values = sorted(codes - {IGNORED, 65535})
    if not values:
        raise DatasetError(
            f'the label maps of {root} hold {_some(sorted(codes))} alone, which is ignored: '
            'there is nothing to learn. Mend: write the numbers of the classes, from 0.'
        )
    if codes == {0, IGNORED} and len(names) in (0, 2):
        return Numbering(
            tuple(names or ('background', 'object')),
            table={0: 0, IGNORED: 1},
            remarks=['the maps hold 0 and 255 alone: 255 is taken for the object, nothing ignored'],
        )
    highest = values[-1]
    if not names and (highest > IGNORED or 2 * len(values) < highest):
        return Numbering(
            tuple(f'value_{value}' for value in values),
            table={**{value: n for n, value in enumerate(values)}, **_ignored(codes)},
            remarks=[f'the values {_some(values)} leave gaps: they are numbered in their order'],
        )
    if not names:
        first = 1 if values[0] > 0 or reduce_zero_label else 0
        names = [f'class_{value}' for value in range(first, highest + 1)]
        reduce_zero_label = bool(first)
        remark = f'classes have no names; {names[0]} to {names[-1]} are theirs. Give --classes'
        return _kept(names, values, codes, reduced=reduce_zero_label, in_place=in_place, say=remark)
    number = len(names)
    if highest < number and not reduce_zero_label:
        return _kept(names, values, codes, reduced=False, in_place=in_place)
    if highest == number and (reduce_zero_label or 0 not in values):
        remark = 'the maps count the classes from 1; 0 is ignored (reduce_zero_label)'
        return _kept(names, values, codes, reduced=True, in_place=in_place, say=remark)
    if reduce_zero_label and highest < number:
        return _kept(names, values, codes, reduced=True, in_place=in_place)
    if highest == number:
        raise DatasetError(
            f'the values of the maps in {root} run from 0 to {highest}, for {number} names. Mend: '
            '--reduce-zero-label, if 0 is no class and to be ignored; or name it, too.'
        )
    if len(values) == number:
        return Numbering(
            tuple(names),
            table={**{value: n for n, value in enumerate(values)}, **_ignored(codes)},
            remarks=[f'the values {_some(values)} are the {number} names, in their order'],
        )
    raise DatasetError(
        f'the maps in {root} hold the values {_some(values)}, and there are {number} names '
        f'({_some(names)}). Mend: name every class, --classes NAME NAME ..., in the order of the '
        'values.'
    )


def _kept(
    names: Sequence[str],
    values: Sequence[int],
    codes: set[int],
    *,
    reduced: bool,
    in_place: bool,
    say: str = '',
) -> Numbering:
    """The values stay; the files too, unless they are not bytes."""
    table = {} if in_place else {**{value: value for value in values}, **_ignored(codes)}
    return Numbering(tuple(names), reduced, table, [say] if say else [])


def _ignored(codes: set[int]) -> dict[int, int]:
    return {code: IGNORED for code in (IGNORED, 65535) if code in codes}


def _by_colour(
    root: Path,
    codes: set[int],
    colours: Sequence[tuple[str, tuple[int, int, int]]],
    classes: Sequence[str] | None,
) -> Numbering:
    """Coloured maps need a table of colours; grey ones among them are colours, too."""
    seen = {_colour_of(code) for code in codes}
    if not colours:
        raise DatasetError(
            f'the label maps of {root} are coloured pictures, and nothing says which colour is '
            f'which class. They have {len(seen)} colours: {_some(sorted(seen))}. Mend: a file '
            f'{root / "labelmap.txt"} with a line `name:red,green,blue` a class (void: ignored).'
        )
    names = [name for name, _ in colours if name.lower() not in _VOID]
    if classes and list(classes) != names:
        raise DatasetError(
            f'--classes {" ".join(classes)} are not the names of the colours in {root}: '
            f'{" ".join(names)}. Mend: leave --classes out.'
        )
    numbers = {rgb: names.index(n) if n in names else IGNORED for n, rgb in colours}
    unknown = sorted(seen - set(numbers))
    if unknown:
        raise DatasetError(
            f'the label maps of {root} have {len(unknown)} colours that the table of colours does '
            f'not name, first {_some(unknown)}. Mend: add them; are the maps JPEG files, or resized'
            '?'
        )
    table = {code: numbers[_colour_of(code)] for code in codes}
    return Numbering(tuple(names), table=table, remarks=[f'{len(names)} classes by their colours'])


def _colour_of(code: int) -> tuple[int, int, int]:
    if code >= 0:
        return code, code, code
    rgb = -1 - code
    return rgb >> 16, rgb >> 8 & 255, rgb & 255


def _read_colours(root: Path) -> list[tuple[str, tuple[int, int, int]]]:
    """Name and colour of each class, from `name:r,g,b:...` (CVAT) or `name,r,g,b` (CamVid)."""
    for file in (root / name for name in _TABLES):
        if not file.is_file():
            continue
        found = []
        text = file.read_text(encoding='utf-8-sig').replace('\t', ' ')
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip() or line.startswith('#'):
                continue
            words = [word.strip() for part in line.split(':') for word in next(csv.reader([part]))]
            if number == 1 and not any(word.isdigit() for word in words):
                continue  # a head
            try:
                red, green, blue = (int(word) for word in words[1:4])
            except ValueError as error:
                raise DatasetError(
                    f'{file}:{number}: {line!r} is no `name:red,green,blue`. Mend it.'
                ) from error
            found.append((words[0], (red, green, blue)))
        return found
    return []


def _read_names(root: Path) -> list[str]:
    for file in (root / name for name in _NAME_FILES):
        if file.is_file():
            lines = file.read_text(encoding='utf-8-sig').splitlines()
            return [line.strip() for line in lines if line.strip()]
    return []


def renumber(codes: np.ndarray, table: dict[int, int], name: Path) -> np.ndarray:
    """(H, W) uint8, the numbers of what a map holds.

    Raises:
        DatasetError: the map has what the table has not.
    """
    present, inverse = np.unique(codes, return_inverse=True)
    unknown = [int(code) for code in present if int(code) not in table]
    if unknown:
        shown = [_colour_of(code) if code < 0 else code for code in unknown]
        raise DatasetError(f'{name} has {_some(shown)}, which no other map has. Mend: correct it')
    numbers = np.array([table[int(code)] for code in present], np.uint8)
    return numbers[inverse].reshape(codes.shape)


def _some(values: Sequence[object]) -> str:
    text = ', '.join(map(str, values[:_SHOWN]))
    return text if len(values) <= _SHOWN else f'{text} and {len(values) - _SHOWN} more'
