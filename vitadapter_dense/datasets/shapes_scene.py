"""One generated scene: a textured background, distractors, overlapping objects of many sizes.

Objects are placed from the front to the back: an object that would show too little of itself is
moved before it is painted, and a later (deeper) one never takes anything from an earlier one.
Colours come from one distribution for the background and for every class.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from .shapes_patterns import SHAPES, Field, Outline, blob

SIZE_RANGE = (1 / 20, 1 / 2)
NUM_OBJECTS = (3, 8)
MIN_VISIBLE = 0.4
_TRIES = 10
_MEAN_PERIODS = 4.25  # of a pattern in an object
_SUPERSAMPLING = 4
_PATTERNS = tuple(pattern for _, pattern in SHAPES.values())
_OUTLINES = tuple(outline for outline, _ in SHAPES.values())


@dataclasses.dataclass(frozen=True)
class SceneObject:
    """An object as it is seen.

    Attributes:
        label: index of the class.
        size: longer side of the box of the whole object, hidden parts included, in pixels.
        mask: (h, w) bool, the visible part inside `box`.
        box: x, y, w, h in pixels, the tight box of the visible part.
    """

    label: int
    size: float
    mask: np.ndarray
    box: tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class Scene:
    """A picture (H, W, 3) uint8 in BGR, its objects from front to back, a JPEG quality for it."""

    image: np.ndarray
    objects: tuple[SceneObject, ...]
    jpeg_quality: int

    def semantic_map(self) -> np.ndarray:
        """(H, W) uint8: 0 is background, 1 + label is a class."""
        semantic = np.zeros(self.image.shape[:2], np.uint8)
        for item in self.objects:
            x, y, w, h = item.box
            semantic[y : y + h, x : x + w][item.mask] = item.label + 1
        return semantic


def render_scene(rng: np.random.Generator, *, height: int, width: int) -> Scene:
    """Draw one scene; everything random comes from `rng`."""
    shape = (height, width)
    side = min(shape)
    colour = np.zeros((*shape, 3), np.float32)
    transmittance = np.ones(shape, np.float32)
    occupied = np.zeros(shape, bool)
    objects: list[SceneObject] = []
    for _ in range(rng.integers(NUM_OBJECTS[0], NUM_OBJECTS[1] + 1)):
        label = int(rng.integers(len(SHAPES)))
        size = side * float(np.exp(rng.uniform(*np.log(SIZE_RANGE))))
        outline = _rotated(_OUTLINES[label](rng), rng) * size
        placed = _place(rng, outline, occupied, objects, min_side=side * SIZE_RANGE[0])
        if placed is None:
            continue
        centre, alpha, window, visible, box = placed
        surface = _surface(rng, _PATTERNS[label], window, centre, size)
        colour[window] += _grey(transmittance[window] * alpha) * surface
        transmittance[window] *= 1 - alpha
        occupied[window] |= visible
        x, y, w, h = box
        y0, x0 = window[0].start, window[1].start
        mask = visible[y - y0 : y - y0 + h, x - x0 : x - x0 + w].copy()
        objects.append(SceneObject(label=label, size=size, mask=mask, box=box))
    colour += _background(rng, shape) * _grey(transmittance)
    colour += _grey(rng.uniform(0, 4) * rng.standard_normal(shape, np.float32))
    image = cv2.convertScaleAbs(np.clip(colour, 0, 255, out=colour))
    return Scene(image, tuple(objects), int(rng.integers(82, 96)))


def render_single(
    rng: np.random.Generator, outline: Outline, pattern: Field, *, side: int, variety: float = 1.0
) -> np.ndarray:
    """Draw one whole object before a background; (side, side, 3) uint8 in BGR.

    Args:
        rng: what everything random comes from.
        outline: of the object.
        pattern: on it.
        side: of the picture.
        variety: share of what makes pictures of a class differ beside place, size and contrast:
            turns, colours, periods, noise and the background's contrast.
    """
    shape, size = (side, side), side * rng.uniform(0.6, 0.9)
    colour = _background(rng, shape)
    if variety != 1:
        mean = colour.mean(axis=(0, 1), keepdims=True)
        colour = mean + np.float32(variety) * (colour - mean)
    points = _rotated(outline(rng), rng, variety) * size
    centre = side / 2 + rng.uniform(-1, 1, 2) * (side - np.ptp(points, axis=0)) / 2
    alpha, window, _ = _coverage(points + centre, shape)
    surface = _surface(rng, pattern, window, centre, size, variety)
    colour[window] += _grey(alpha) * (surface - colour[window])
    colour += _grey(rng.uniform(0, 4) * rng.standard_normal(shape, np.float32))
    return cv2.convertScaleAbs(np.clip(colour, 0, 255, out=colour))


def _rotated(points: np.ndarray, rng: np.random.Generator, variety: float = 1.0) -> np.ndarray:
    """Turn an outline by a random angle; centre its box and make the box's longer side 1."""
    cos, sin = _direction(rng, variety)
    points = points @ np.array([[cos, -sin], [sin, cos]])
    low, high = points.min(axis=0), points.max(axis=0)
    return (points - (low + high) / 2) / (high - low).max()


def _direction(rng: np.random.Generator, variety: float = 1.0) -> tuple[float, float]:
    angle = variety * rng.uniform(0, 2 * np.pi)
    return float(np.cos(angle)), float(np.sin(angle))


def _place(
    rng: np.random.Generator,
    outline: np.ndarray,
    occupied: np.ndarray,
    objects: list[SceneObject],
    *,
    min_side: float,
):
    """Find a place where enough of an outline (in pixels, around the origin) can be seen.

    Returns:
        (centre, alpha over the window, window, visible part over the window, box of the visible
        part), or None.
    """
    height, width = occupied.shape
    extent = np.ptp(outline, axis=0)
    for _ in range(_TRIES):
        if objects and rng.random() < 0.4:  # beside or behind another object
            x, y, w, h = objects[rng.integers(len(objects))].box
            reach = 0.5 * (np.array([w, h]) + extent)
            centre = np.array([x + w / 2, y + h / 2]) + rng.uniform(-1, 1, 2) * reach
        else:
            centre = rng.uniform(0, 1, 2) * (width, height)
        margin = 0.3 * extent
        centre = np.clip(centre, margin, (width, height) - margin)
        alpha, window, total = _coverage(outline + centre, occupied.shape)
        visible = (alpha >= 0.5) & ~occupied[window]
        if visible.sum() < MIN_VISIBLE * total:
            continue
        columns, rows = np.flatnonzero(visible.any(axis=0)), np.flatnonzero(visible.any(axis=1))
        w, h = int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1
        if min(w, h) < 3 or max(w, h) < round(min_side):
            continue
        box = (int(columns[0]) + window[1].start, int(rows[0]) + window[0].start, w, h)
        return centre, alpha, window, visible, box
    return None


def _coverage(
    polygon: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, tuple[slice, slice], float]:
    """Anti-aliased coverage of a polygon (N, 2).

    Returns:
        the coverage (h, w) in [0, 1] over the window of the image that the polygon touches, that
        window, and the polygon's whole area in pixels, what lies outside of the image included.
    """
    height, width = shape
    left, top = np.floor(polygon.min(axis=0)).astype(int)
    right, bottom = np.ceil(polygon.max(axis=0)).astype(int) + 1
    fine = np.zeros(((bottom - top) * _SUPERSAMPLING, (right - left) * _SUPERSAMPLING), np.uint8)
    points = np.round((polygon - (left, top)) * _SUPERSAMPLING * 16 - 8).astype(np.int32)
    cv2.fillPoly(fine, [points], 255, shift=4)
    alpha = cv2.resize(fine, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    alpha = alpha.astype(np.float32) / 255
    total = float(alpha.sum())
    x0, x1, y0, y1 = max(left, 0), min(right, width), max(top, 0), min(bottom, height)
    window = (slice(int(y0), int(y1)), slice(int(x0), int(x1)))
    return alpha[y0 - top : y1 - top, x0 - left : x1 - left], window, total


def _grey(values: np.ndarray) -> np.ndarray:
    """(H, W) -> (H, W, 3); much faster to calculate with than broadcasting over three channels."""
    return cv2.cvtColor(values, cv2.COLOR_GRAY2BGR)


def _smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], cells: int, channels: int = 1
) -> np.ndarray:
    """(H, W) or (H, W, channels) float32 of unit normal noise on a coarse grid, interpolated."""
    grid = rng.standard_normal((cells + 1, cells + 1, channels), np.float32)
    return cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC)


def _two_tones(rng: np.random.Generator, variety: float = 1.0) -> np.ndarray:
    """Two colours (2, 3) of opposite brightness around a common level, in random order."""
    level, half_contrast = rng.uniform(70, 185), rng.uniform(25, 60)
    noise = np.float32(variety) * rng.standard_normal((3, 3), np.float32)
    order = 1 if rng.random() < 0.5 else -1
    offsets = np.array([[order], [-order]], np.float32) * np.float32(half_contrast)
    return np.float32(level) + 26 * noise[0] + 12 * noise[1:] + offsets


def _surface(
    rng: np.random.Generator,
    pattern: Field | None,
    window: tuple[slice, slice],
    centre: np.ndarray,
    size: float,
    variety: float = 1.0,
) -> np.ndarray:
    """A patterned, noisy, unevenly lit surface (h, w, 3); None is speckle, as no class has it."""
    rows, columns = window
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    # A period is a share of the object, but never below what can be resolved at all.
    periods = _MEAN_PERIODS + variety * (rng.uniform(2.5, 6) - _MEAN_PERIODS)
    period = max(size / periods, rng.uniform(3, 4.5))
    cos, sin = _direction(rng, variety)
    x = ((np.arange(columns.start, columns.stop) - centre[0]) / period).astype(np.float32)
    y = ((np.arange(rows.start, rows.stop) - centre[1]) / period).astype(np.float32)[:, None]
    phase = rng.uniform(-0.5, 0.5, 2)
    warp = np.float32(variety) * rng.uniform(0.03, 0.14) * _smooth_noise(rng, shape, 4, 2)
    u = x * cos + y * sin + np.float32(phase[0]) + warp[..., 0]
    v = y * cos - x * sin + np.float32(phase[1]) + warp[..., 1]
    if pattern is None:
        field = 0.2 * _smooth_noise(rng, shape, max(2, int(size / period * 1.5)))
    else:
        field = pattern(u, v)
    softness = rng.uniform(1, 2.2)
    share = np.clip(0.5 + field * np.float32(period / softness), 0, 1)
    first, second = _two_tones(rng, variety)
    noise = rng.uniform(3, 12) * rng.standard_normal(shape, np.float32)
    noise += rng.uniform(0, 16) * _smooth_noise(rng, shape, 2)
    noise *= np.float32(variety)
    # second + share * (first - second) + noise, for the three channels at once
    mix = np.stack([first - second, np.ones(3, np.float32), second], axis=1)
    return cv2.transform(cv2.merge([share, noise]), mix)


def _background(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Multi-octave noise over a gradient, with blobs and strokes of no class; (H, W, 3) float32."""
    roughness, amplitude = rng.uniform(0.5, 0.9), rng.uniform(8, 26)
    picture = np.full((4, 4, 3), rng.uniform(70, 185) + rng.normal(0, 26, 3), np.float32)
    picture += np.linspace(-0.5, 0.5, 4)[:, None, None] * rng.normal(0, 30, 3)
    picture += np.linspace(-0.5, 0.5, 4)[None, :, None] * rng.normal(0, 30, 3)
    # Each octave is added on its own coarse grid, and the sum enlarged to the next one.
    for octave, cells in enumerate((4, 8, 16, 32, 64)):
        if octave > 0:
            picture = cv2.resize(picture, (cells, cells), interpolation=cv2.INTER_CUBIC)
        strength = amplitude * roughness**octave
        picture += strength * rng.standard_normal((cells, cells, 1), np.float32)
        picture += 0.4 * strength * rng.standard_normal((cells, cells, 3), np.float32)
    picture = cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.integers(0, 4)):
        _paint_blob(rng, picture)
    for _ in range(rng.integers(3, 11)):
        _paint_stroke(rng, picture)
    return picture


def _paint_blob(rng: np.random.Generator, picture: np.ndarray) -> None:
    """A patch with the surface of an object, at times of a class, but the outline of none."""
    height, width = picture.shape[:2]
    size = min(height, width) * rng.uniform(0.1, 0.4)
    centre = rng.uniform(0, 1, 2) * (width, height)
    alpha, window, _ = _coverage(_rotated(blob(rng), rng) * size + centre, (height, width))
    pattern = _PATTERNS[rng.integers(len(_PATTERNS))] if rng.random() < 0.3 else None
    surface = _surface(rng, pattern, window, centre, size)
    picture[window] += _grey(alpha) * (surface - picture[window])


def _paint_stroke(rng: np.random.Generator, picture: np.ndarray) -> None:
    height, width = picture.shape[:2]
    side = min(height, width)
    colour = tuple(float(c) for c in _two_tones(rng)[0])
    thickness = max(1, round(side / 192 * rng.uniform(0.6, 4)))
    start = rng.uniform(0, 1, 2) * (width, height)
    steps = rng.normal(0, 0.12 * side, (rng.integers(1, 5), 2))
    if rng.random() < 0.4:
        axes = np.abs(steps[0]) + 2
        first = rng.uniform(0, 360)
        cv2.ellipse(
            picture,
            tuple(int(c) for c in start),
            tuple(int(a) for a in axes),
            rng.uniform(0, 180),
            first,
            first + rng.uniform(60, 250),
            colour,
            thickness,
        )
    else:
        points = np.cumsum(np.concatenate([start[None], steps]), axis=0)
        cv2.polylines(picture, [np.round(points).astype(np.int32)], False, colour, thickness)
