"""Corrupted images, as robustness is measured with: the same ones in every run and every worker.

The corruptions are those of ImageNet-C (Hendrycks and Dietterich 2019, arXiv:1903.12261), by the
package `imagecorruptions` that the toolboxes bring; on detection data as Michaelis et al. do it
(arXiv:1907.07484). Each draws from numpy's global random state: here it is seeded from the image's
name, the corruption and the severity, and put back afterwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import TRANSFORMS

from .dataset_configs import kind
from .errors import DatasetError

CORRUPTIONS = (
    *('gaussian_noise', 'shot_noise', 'impulse_noise', 'defocus_blur', 'glass_blur'),
    *('motion_blur', 'zoom_blur', 'snow', 'frost', 'fog', 'brightness', 'contrast'),
    *('elastic_transform', 'pixelate', 'jpeg_compression'),
)
#: Four more, to choose settings with: the fifteen are for the test alone.
VALIDATION_CORRUPTIONS = ('speckle_noise', 'gaussian_blur', 'spatter', 'saturate')
SEVERITIES = (1, 2, 3, 4, 5)
_LEAST_SIDE = 32  # of what the package takes


def check_corruption(name: str, severity: int) -> None:
    """Makes sure that there is such a corruption.

    Raises:
        ValueError: with the nearest names, or the severities that there are.
    """
    known = (*CORRUPTIONS, *VALIDATION_CORRUPTIONS)
    if name not in known:
        near = ', '.join(get_close_matches(name, known, n=3) or known)
        raise ValueError(f'there is no corruption {name!r}. Is one of these meant: {near}?')
    if severity not in SEVERITIES:
        raise ValueError(f'severity={severity!r}; expected one of 1, 2, 3, 4 and 5.')


def corrupt(image: np.ndarray, name: str, severity: int, *, seed: int) -> np.ndarray:
    """Corrupts an image. numpy's global random state stays as it was.

    Args:
        image: ``(H, W, 3)`` or ``(H, W)`` uint8, RGB or gray. One with a side below 32 pixels is
            continued to that by its border, and cut again.
        name: one of `CORRUPTIONS` or `VALIDATION_CORRUPTIONS`.
        severity: 1 to 5.
        seed: of what is random; below 2^32.

    Returns:
        an array like `image`.

    Raises:
        ValueError: as `check_corruption`, and for an image of another type or shape.
    """
    check_corruption(name, severity)
    channels = image.shape[2:]
    if image.dtype != np.uint8 or image.ndim < 2 or channels not in ((), (1,), (3,)):
        raise ValueError(
            f'an image of {image.dtype} and shape {image.shape} cannot be corrupted; expected '
            'uint8 and (H, W) or (H, W, 3)'
        )
    from imagecorruptions import corrupt as corrupted_by

    height, width = image.shape[:2]
    rest = [(0, 0)] * (image.ndim - 2)
    missing = [(0, max(0, _LEAST_SIDE - side)) for side in (height, width)]
    whole = np.pad(image, [*missing, *rest], mode='edge')
    # these two have a random state of their own
    options = dict(seed=seed) if name in ('impulse_noise', 'glass_blur') else {}
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        result = corrupted_by(whole, severity=severity, corruption_name=name, **options)
    finally:
        np.random.set_state(state)
    result = result[:height, :width]
    if channels == (3,):
        return result
    return result.mean(2).astype(np.uint8).reshape(image.shape)


def seed_of(image_path: str, name: str, severity: int) -> int:
    """From an image's file name, the corruption and the severity alone."""
    text = f'{Path(image_path).name}\n{name}\n{severity}'
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], 'little')


@TRANSFORMS.register_module()
class SeededCorruption:
    """Corrupts ``results['img']``, (H, W, 3) uint8 BGR as the toolboxes load it.

    Args:
        name: one of `CORRUPTIONS` or `VALIDATION_CORRUPTIONS`; None leaves images as they are.
        severity: 1 to 5.

    Raises:
        ValueError: for another name or severity.
        DatasetError: when called, for an image that is not of bytes.
    """

    def __init__(self, *, name: str | None = None, severity: int = 1) -> None:
        self.set(name, severity)

    def set(self, name: str | None, severity: int = 1) -> None:
        """Changes what comes next; workers that run have their own copy."""
        if name is not None:
            check_corruption(name, severity)
        self.name, self.severity = name, severity

    def __call__(self, results: dict) -> dict:
        if self.name is None:
            return results
        path, image = results['img_path'], results['img']
        seed = seed_of(path, self.name, self.severity)
        try:
            rgb = corrupt(image[..., ::-1], self.name, self.severity, seed=seed)
        except ValueError as error:
            raise DatasetError(f'{path}: {error}.') from error
        results['img'] = np.ascontiguousarray(rgb[..., ::-1])
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(name={self.name!r}, severity={self.severity})'


def add_corruption(dataset: Any) -> int:
    """Puts a `SeededCorruption` behind whatever loads images in the configs of a data set.

    Args:
        dataset: its config, with the wrappers around it; changed in place.

    Returns:
        how many were put in.
    """
    if isinstance(dataset, list | tuple):
        return sum(add_corruption(part) for part in dataset)
    if not isinstance(dataset, Mapping):
        return 0
    pipeline = dataset.get('pipeline') or []
    places = [i for i, step in enumerate(pipeline) if kind(step).startswith('LoadImage')]
    if places:
        pipeline.insert(places[0] + 1, dict(type=SeededCorruption.__name__))
    return len(places[:1]) + sum(add_corruption(dataset.get(k)) for k in ('dataset', 'datasets'))


def corruptions_of(dataset: Any) -> Iterator[SeededCorruption]:
    """Those in the pipelines of a data set that was built, with the wrappers around it."""
    pipeline = getattr(dataset, 'pipeline', None)
    for step in getattr(pipeline, 'transforms', ()):
        if isinstance(step, SeededCorruption):
            yield step
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    for part in inner:
        if part is not None:
            yield from corruptions_of(part)
