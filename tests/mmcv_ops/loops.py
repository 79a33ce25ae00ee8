"""The operators as plain loops over NumPy numbers in float64, from their papers."""

from __future__ import annotations

import math

import numpy as np


def overlap(one, other, offset=0):
    """Intersection over union of two boxes."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]) + offset)
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]) + offset)
    areas = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def nms(boxes, scores, threshold, offset=0):
    kept = []
    for index in np.argsort(-scores, kind='stable'):
        if all(overlap(boxes[index], boxes[other], offset) <= threshold for other in kept):
            kept.append(int(index))
    return kept


def soft_nms(boxes, scores, threshold, sigma, least, method, offset=0):
    left = {index: float(score) for index, score in enumerate(scores)}
    chosen = []
    while left:
        best = max(left, key=left.get)
        chosen.append((best, left.pop(best)))
        for index in list(left):
            found = overlap(boxes[best], boxes[index], offset)
            if method == 'gaussian':
                left[index] *= math.exp(-found * found / sigma)
            elif found >= threshold:
                left[index] *= 1 - found if method == 'linear' else 0
            if left[index] < least:
                del left[index]
    return chosen


def bilinear(plane, y, x):
    """One sample; up to one pixel beyond the edge the edge counts, further out 0."""
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, along = y - top, x - left
    upper = plane[top, left] * (1 - along) + plane[top, right] * along
    lower = plane[bottom, left] * (1 - along) + plane[bottom, right] * along
    return upper * (1 - down) + lower * down


def roi_align(maps, rois, bins, scale, ratio, mode, aligned):
    out = np.zeros((len(rois), maps.shape[1], *bins))
    for number, (image, *box) in enumerate(rois):
        x1, y1, x2, y2 = (edge * scale - 0.5 * aligned for edge in box)
        height, width = y2 - y1, x2 - x1
        if not aligned:
            height, width = max(height, 1), max(width, 1)
        rows = ratio or math.ceil(height / bins[0])
        columns = ratio or math.ceil(width / bins[1])
        for channel, i, j in np.ndindex(*out.shape[1:]):
            samples = [
                bilinear(
                    maps[int(image), channel],
                    y1 + (i + (row + 0.5) / rows) * height / bins[0],
                    x1 + (j + (column + 0.5) / columns) * width / bins[1],
                )
                for row in range(rows)
                for column in range(columns)
            ]
            if samples:
                out[number, channel, i, j] = max(samples) if mode == 'max' else np.mean(samples)
    return out


def roi_pool(maps, rois, bins, scale):
    out = np.zeros((len(rois), maps.shape[1], *bins))
    height, width = maps.shape[2:]
    for number, (image, x1, y1, x2, y2) in enumerate(rois):
        left, top, right, bottom = x1 * scale, y1 * scale, (x2 + 1) * scale, (y2 + 1) * scale
        if right <= left or bottom <= top:
            continue
        for i, j in np.ndindex(*bins):
            rows = _bin(top, bottom, i, bins[0], height)
            columns = _bin(left, right, j, bins[1], width)
            part = maps[int(image)][:, slice(*rows), slice(*columns)]
            if part.size:
                out[number, :, i, j] = part.max(axis=(1, 2))
    return out


def _bin(low, high, index, bins, size):
    step = (high - low) / bins
    edges = math.floor(low + index * step), math.ceil(low + (index + 1) * step)
    return [min(max(edge, 0), size) for edge in edges]


def deform_conv(maps, offsets, weight, mask, *, padding, stride, groups, deform_groups):
    """Zeros beyond the map; offsets in pairs (y, x)."""
    batch, channels, height, width = maps.shape
    out_channels, _, rows, columns = weight.shape
    out = np.zeros((batch, out_channels, *offsets.shape[2:]))
    padded = np.pad(maps, ((0, 0), (0, 0), (1, 1), (1, 1)))  # so that samples fade to zero
    for b, o, y, x in np.ndindex(*out.shape):
        group = o // (out_channels // groups)
        for c, i, j in np.ndindex(*weight.shape[1:]):
            channel = group * (channels // groups) + c
            part = channel // (channels // deform_groups)
            tap = (part * rows + i) * columns + j
            at_y = y * stride - padding + i + offsets[b, 2 * tap, y, x]
            at_x = x * stride - padding + j + offsets[b, 2 * tap + 1, y, x]
            if -1 < at_y < height and -1 < at_x < width:
                sample = bilinear(padded[b, channel], at_y + 1, at_x + 1)
                out[b, o, y, x] += weight[o, c, i, j] * sample * mask[b, tap, y, x]
    return out


def psa_mask(masks, size, kind):
    batch, _, height, width = masks.shape
    out = np.zeros((batch, height * width, height, width))
    for h, w, i, j in np.ndindex(height, width, *size):
        y, x = h + i - (size[0] - 1) // 2, w + j - (size[1] - 1) // 2
        if 0 <= y < height and 0 <= x < width:
            value = masks[:, i * size[1] + j, h, w]
            if kind == 'collect':
                out[:, y * width + x, h, w] = value
            else:
                out[:, h * width + w, y, x] = value
    return out


def carafe(maps, masks, size, groups, scale):
    batch, channels, height, width = maps.shape
    out = np.zeros((batch, channels, height * scale, width * scale))
    half = size // 2
    padded = np.pad(maps, ((0, 0), (0, 0), (half, half), (half, half)))
    for b, c, y, x in np.ndindex(*out.shape):
        group = c // (channels // groups)
        for i, j in np.ndindex(size, size):
            kernel = masks[b, (group * size + i) * size + j, y, x]
            out[b, c, y, x] += kernel * padded[b, c, y // scale + i, x // scale + j]
    return out
