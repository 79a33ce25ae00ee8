"""What a page in the browser keeps of each image: computed once, drawn as often as it is asked for.

A result is found by a name that nobody can guess, and belongs to the page that was given it.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np
from mmengine.structures import BaseDataElement
from PIL import Image, ImageOps

from vitadapter_dense.datasets.decoding import MEND
from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.datasets.image_headers import header_of
from vitadapter_dense.inference.prediction import Prediction
from vitadapter_dense.inference.predictor import Predictor
from vitadapter_dense.reports.enlarging import drawing_factor, enlarge
from vitadapter_dense.reports.label_pictures import full_palette
from vitadapter_dense.reports.panoptic_metric import INSTANCE_OFFSET

SHOWN_SIDE = 1280  # pixels, at most, of the longer side of a picture on the page
THUMBNAIL_SIDE = 192
MOST_BYTES = 2**31  # of all results that are kept


class ImageError(ValueError):
    """A file that is not taken; the message is for the person who gave it."""


@dataclass(frozen=True)
class Choice:
    """What is to be seen of a result.

    Attributes:
        score_thr: objects with a lower score are left out.
        hidden: numbers of the classes that are left out.
        opacity: of the colours over the image, 0 to 1.
    """

    score_thr: float
    hidden: tuple[int, ...]
    opacity: float


@dataclass(frozen=True)
class LegendEntry:
    """A class that is to be seen: its colour, and how often or on how much of the image."""

    name: str
    colour: tuple[int, int, int]
    amount: str


@dataclass(frozen=True)
class Result:
    """The prediction on one image, in its own size and in that of the page.

    Attributes:
        full: in pixels of the image.
        shown: in those of the page.
        name: of the image's file.
        seconds: from the decoded image to the prediction.
    """

    full: Prediction
    shown: Prediction
    name: str
    seconds: float

    @property
    def num_bytes(self) -> int:
        """Memory, nearly all of it images, masks and maps."""
        parts = (self.full, self.shown)
        return sum(part.image.nbytes + _num_bytes(part.sample) for part in parts)

    @property
    def has_scores(self) -> bool:
        """Whether a lowest score changes what is drawn."""
        return self.full.scores is not None and self.full.segments is None

    def draw(self, choice: Choice) -> np.ndarray:
        """The picture for the page, (H, W, 3) uint8, RGB."""
        return _draw(self.shown, choice)

    def png(self, choice: Choice) -> bytes:
        """The picture in the image's own size, as a file."""
        done, data = cv2.imencode('.png', _draw(self.full, choice)[..., ::-1])
        if not done:
            raise OSError(f'the picture of {self.name} cannot be encoded')
        return data.tobytes()

    def entries(self, choice: Choice) -> list[dict[str, Any]]:
        """What is to be seen, as `Prediction.to_json` describes it, in pixels of the image."""
        return _chosen(self.full, choice).to_json()

    def legend(self, choice: Choice) -> list[LegendEntry]:
        """The classes that are to be seen, those with the most of it first."""
        found = _chosen(self.shown, choice)
        if found.label_map is not None or found.segments is not None:
            labels = found.label_map if found.segments is None else found.segments % INSTANCE_OFFSET
            counts, whole = _counts(labels, len(found.names)), labels.size
        else:
            counts, whole = _counts(found.labels, len(found.names)), 0
        palette = full_palette(found.visualizer.dataset_meta)
        order = sorted(np.flatnonzero(counts), key=lambda number: -counts[number])
        return [
            LegendEntry(
                found.names[number],
                tuple(map(int, palette[number])),
                f'{counts[number] / whole:.1%}' if whole else str(counts[number]),
            )
            for number in order
        ]


class ResultStore:
    """The newest results by their names, as many as there is room for, for any number of threads.

    Args:
        most_bytes: what they take in memory together; the newest one is kept whatever it takes.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._results: OrderedDict[str, Result] = OrderedDict()
        self._lock = Lock()

    def add(self, result: Result) -> str:
        """Keeps a result, in place of those that nobody has looked at for the longest time."""
        name = secrets.token_urlsafe(24)
        with self._lock:
            self._results[name] = result
            sizes = [kept.num_bytes for kept in self._results.values()]
            while len(self._results) > 1 and sum(sizes) > self.most_bytes:
                self._results.popitem(last=False)
                sizes.pop(0)
        return name

    def get(self, name: str) -> Result | None:
        """A result; None where it is no longer kept."""
        with self._lock:
            if name in self._results:
                self._results.move_to_end(name)
            return self._results.get(name)


def compute(predictor: Predictor, path: Path, *, max_pixels: int) -> Result:
    """Has a model look at an image file.

    Raises:
        ImageError: for what is no image that the model's pipeline reads, or has too many pixels.
    """
    array = read_image(predictor, path, max_pixels=max_pixels)
    start = time.perf_counter()
    found = predictor(array)
    seconds = time.perf_counter() - start
    full = replace(found, sample=_slim(found.sample))
    factor = min(drawing_factor(array.shape), SHOWN_SIDE / max(array.shape[:2]))
    image, sample = enlarge(np.ascontiguousarray(full.image), full.sample, factor=factor)
    return Result(full, replace(full, image=image, sample=sample), path.name, seconds)


def read_image(predictor: Predictor, path: Path, *, max_pixels: int) -> np.ndarray:
    """Reads an image file as the model's pipeline does: (H, W, 3) uint8, BGR.

    Raises:
        ImageError: as `compute`, in words for the person who gave the file.
    """
    header = header_of(path.read_bytes())
    width, height = (0, 0) if header is None else header.shown
    if width * height > max_pixels:
        raise ImageError(
            f'{path.name} has {width} x {height} pixels, more than this page takes: '
            f'{max_pixels / 1e6:g} million. Make it smaller.'
        )
    try:
        return predictor.read(path)
    except DatasetError as error:  # it names the file by its place on this machine
        text = str(error).replace(str(path), path.name).replace(MEND, '').strip()
        raise ImageError(f'{text[:1].upper()}{text[1:]}') from error


def thumbnail(path: Path) -> Image.Image | None:
    """A small picture of an image file, for people to choose from; None where it is none."""
    try:
        with Image.open(path) as image:
            image.draft('RGB', (2 * THUMBNAIL_SIDE,) * 2)
            small = ImageOps.exif_transpose(image).convert('RGB')
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    small.thumbnail((THUMBNAIL_SIDE,) * 2)
    return small


def _slim(sample: BaseDataElement) -> BaseDataElement:
    """On the CPU, without the scores of all classes at every pixel."""
    slim = sample.cpu()
    if 'seg_logits' in slim:
        del slim.seg_logits
    return slim


def _chosen(found: Prediction, choice: Choice) -> Prediction:
    return found.only(score_thr=choice.score_thr, hidden=choice.hidden)


def _draw(found: Prediction, choice: Choice) -> np.ndarray:
    return _chosen(found, choice).plot(score_thr=choice.score_thr, alpha=choice.opacity)


def _counts(labels: np.ndarray, number: int) -> np.ndarray:
    known: Sequence[int] = labels[(labels >= 0) & (labels < number)]
    return np.bincount(known, minlength=number)


def _num_bytes(sample: BaseDataElement) -> int:
    values = [value for part in sample.values() for value in part.values()]
    return sum(getattr(value, 'nbytes', 0) for value in values)
