"""Outlines and surface patterns of the generated shapes: what tells one class from another.

An outline is a polygon around the origin, a pattern a scalar field that is positive on half of the
plane. Neither knows a colour: every class paints its pattern with two tones of one shared
distribution (`shapes_scene.py`), and every pattern covers half of the surface, so that the mean
colour of an object says nothing about its class.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Field = Callable[[np.ndarray, np.ndarray], np.ndarray]
Outline = Callable[[np.random.Generator], np.ndarray]


def _ellipse(rng: np.random.Generator) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return np.stack([np.cos(angles), rng.uniform(0.75, 1) * np.sin(angles)], axis=1)


def _rectangle(rng: np.random.Generator) -> np.ndarray:
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=float)
    corners[:, 1] *= rng.uniform(0.7, 1)
    return corners + rng.uniform(-0.06, 0.06, corners.shape)


def _triangle(rng: np.random.Generator) -> np.ndarray:
    angles = np.pi / 2 + np.arange(3) * 2 * np.pi / 3 + rng.uniform(-0.2, 0.2, 3)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _star(rng: np.random.Generator) -> np.ndarray:
    radii = np.ones(10)
    radii[1::2] = rng.uniform(0.38, 0.52)
    radii *= rng.uniform(0.94, 1.06, 10)
    angles = np.arange(10) * np.pi / 5
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _cross(rng: np.random.Generator) -> np.ndarray:
    a, b = rng.uniform(0.28, 0.42, 2)
    length = rng.uniform(0.8, 1)
    return np.array(
        [
            [-a, -1], [a, -1], [a, -b], [length, -b], [length, b], [a, b],
            [a, 1], [-a, 1], [-a, b], [-length, b], [-length, -b], [-a, -b],
        ]
    )  # fmt: skip


def blob(rng: np.random.Generator) -> np.ndarray:
    """The outline of a distractor: a smooth, irregular closed curve (40, 2) of no class."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    orders = np.arange(2, 6)
    amplitudes = rng.uniform(0.05, 0.32, 4) / np.sqrt(orders)
    phases = rng.uniform(0, 2 * np.pi, 4)
    radii = 1 + (amplitudes * np.cos(angles[:, None] * orders + phases)).sum(axis=1)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _wave(t: np.ndarray) -> np.ndarray:
    """A triangle wave of period 1: the signed distance, in periods, to the edge of a stripe."""
    return 0.25 - np.abs(t - np.floor(t) - 0.5)


def _rings(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _wave(np.sqrt(u * u + v * v))


def _checker(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    a, b = _wave(u), _wave(v)
    return np.sign(a * b) * np.minimum(np.abs(a), np.abs(b))


def _stripes(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _wave(u)


def _dots(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    # A hexagonal lattice of spacing 1 is two rectangular ones; discs of radius 0.371 cover half.
    height = np.sqrt(3.0).astype(u.dtype)
    v = v / height
    even = (u - np.round(u)) ** 2 + ((v - np.round(v)) * height) ** 2
    u, v = u + 0.5, v + 0.5
    odd = (u - np.round(u)) ** 2 + ((v - np.round(v)) * height) ** 2
    return 0.371 - np.sqrt(np.minimum(even, odd))


def _zigzag(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _wave(v + 2.2 * np.abs(_wave(u / 2.4) + 0.25))


#: class name -> (outline, pattern)
SHAPES: dict[str, tuple[Outline, Field]] = {
    'circle': (_ellipse, _rings),
    'square': (_rectangle, _checker),
    'triangle': (_triangle, _stripes),
    'star': (_star, _dots),
    'cross': (_cross, _zigzag),
}
