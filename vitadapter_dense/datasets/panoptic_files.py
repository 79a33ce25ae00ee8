"""COCO's panoptic files: a JSON of segments, and a PNG for each image whose colours are their ids.

    annotations: [{image_id, file_name, segments_info: [{id, category_id, area, bbox, iscrowd}]}]

A pixel of the segment 256² b + 256 g + r has the colour (r, g, b); 0 is no segment (void). The
format is at cocodataset.org/#format-data. Here it is read and written with NumPy and OpenCV alone.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .errors import DatasetError

VOID = 0
#: ids have three bytes
MAX_ID = 256**3 - 1
_SHOWN = 5


def to_ids(colours: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 in OpenCV's order (BGR) -> (H, W) int32, the ids of the segments."""
    blue, green, red = (colours[..., channel].astype(np.int32) for channel in range(3))
    return red + 256 * green + 256**2 * blue


def to_colours(ids: np.ndarray) -> np.ndarray:
    """(H, W) ids from 0 to `MAX_ID` -> (H, W, 3) uint8 in OpenCV's order (BGR)."""
    return np.stack([ids >> 16 & 255, ids >> 8 & 255, ids & 255], axis=-1).astype(np.uint8)


def decode_panoptic(data: bytes, *, name: str) -> np.ndarray:
    """Decode a panoptic PNG to (H, W) int32, the ids of the segments.

    Args:
        data: the bytes of the file.
        name: what error messages call it.

    Raises:
        DatasetError: for a file that is broken, or has other than three bytes a pixel.
    """
    flat = np.frombuffer(data, np.uint8)
    picture = cv2.imdecode(flat, cv2.IMREAD_UNCHANGED) if len(data) else None
    if picture is None:
        raise DatasetError(
            f'panoptic map {name} cannot be decoded ({len(data)} bytes). Mend: fetch or write it '
            'again, as PNG.'
        )
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        channels = 1 if picture.ndim == 2 else picture.shape[2]
        raise DatasetError(
            f'panoptic map {name} has {channels} x {picture.dtype} a pixel, not three bytes. Mend: '
            'write each segment id in base 256 as a colour: red + 256 green + 65536 blue; a map of '
            'class numbers is no panoptic map.'
        )
    return to_ids(picture)


def encode_panoptic(ids: np.ndarray) -> bytes:
    """Write a panoptic PNG, from (H, W) ids."""
    written, data = cv2.imencode('.png', to_colours(ids))
    if not written:
        raise DatasetError('OpenCV cannot write .png files: reinstall opencv-python')
    return data.tobytes()


def map_name(image_name: str) -> str:
    """The name of an image's PNG, as MMDetection makes it: of all but .jpg the image's own."""
    return str(image_name).replace('.jpg', '.png')


def compare_ids(ids: np.ndarray, segments: Mapping[int, Any], *, name: str) -> str:
    """Why a map does not hold the segments that its JSON lists, with the mend; empty if it does.

    Args:
        ids: (H, W), of the map.
        segments: by their ids.
        name: of the map.
    """
    held = set(np.unique(ids).tolist()) - {VOID}
    unlisted, absent = sorted(held - segments.keys()), sorted(segments.keys() - held)
    for numbers, what in (
        (unlisted, 'holds segments that its JSON does not list'),
        (absent, 'does not hold segments that its JSON lists'),
    ):
        if numbers:
            shown = ', '.join(map(str, numbers[:_SHOWN])) + (', ...' * (len(numbers) > _SHOWN))
            return (
                f'panoptic map {name} {what} ({len(numbers)}: {shown}). Mend: take map and JSON '
                'from the same release; a map must not be resized with interpolation or saved as '
                'JPEG, which makes colours of no segment.'
            )
    return ''


@dataclasses.dataclass(frozen=True)
class PanopticImage:
    """The segments of an image: by their id, what the JSON says of each."""

    file_name: str
    segments: dict[int, dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class PanopticFile:
    """A panoptic JSON as it was read.

    Attributes:
        categories: in their order: id, name, isthing.
        images: by image id.
    """

    categories: list[dict[str, Any]]
    images: dict[Any, PanopticImage]


def read_panoptic_file(path: str | os.PathLike) -> PanopticFile:
    """Read a panoptic JSON that was checked before.

    Raises:
        DatasetError: when it is none.
    """
    content = load_panoptic_json(path)
    images = {
        item['image_id']: PanopticImage(
            item['file_name'], {segment['id']: segment for segment in item['segments_info']}
        )
        for item in content['annotations']
    }
    return PanopticFile(content['categories'], images)


def load_panoptic_json(path: str | os.PathLike) -> dict[str, Any]:
    """The content of a panoptic JSON, its lists and their entries' keys being there.

    Raises:
        DatasetError: for a file that is not there, no JSON, or of another kind.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise DatasetError(
            f'panoptic file {path} cannot be read: {error}. Mend: name the file that lists the '
            'segments (COCO: annotations/panoptic_val2017.json), or make it from instances: '
            'python tools/dataset/make_panoptic.py'
        ) from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f'panoptic file {path} is not JSON ({error}): it may be cut off or compressed. Mend: '
            'fetch or unpack it again.'
        ) from error
    needed = dict(
        images={'id', 'file_name', 'height', 'width'},
        annotations={'image_id', 'file_name', 'segments_info'},
        categories={'id', 'name', 'isthing'},
    )
    for key, members in needed.items():
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise DatasetError(
                f'panoptic file {path} has no list {key!r}. Mend: name a file of panoptic '
                'segments, with images, annotations and categories.'
            )
        for entry in entries:
            lacking = sorted(members - entry.keys()) if isinstance(entry, dict) else [repr(entry)]
            if lacking:
                kind = 'an instances file' if 'segmentation' in entry else 'incomplete'
                raise DatasetError(
                    f'panoptic file {path}: an entry of {key!r} has no {", ".join(lacking)}: it is '
                    f'{kind}. Mend: name a file of panoptic segments, or make one from instances: '
                    'python tools/dataset/make_panoptic.py'
                )
    return content
