"""Predictions with an exported model, by NumPy, Pillow and onnxruntime alone.

This file stands on its own: it imports nothing of the project, and may be copied out of it.

    predictor = ExportedPredictor('upernet.onnx')  # and upernet.onnx.json, which lies beside it
    found = predictor('photo.jpg')
    print(found.label_map, [found.names[label] for label in found.labels or ()])

As a program it writes what it finds as JSON: `python exported.py upernet.onnx photo.jpg`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps

FORMAT = 'vitadapter_dense.export/1'
OBJECTS = ['boxes', 'scores', 'labels']
OUTPUTS = {  # of each task
    'semantic': (['logits'],),
    'instances': (OBJECTS, [*OBJECTS, 'masks'], ['scores', 'labels', 'mask_logits']),
}


class DescriptionError(ValueError):
    """A JSON that does not describe an exported model, or describes another one."""


@dataclass(frozen=True)
class Found:
    """What a model finds on an image, in pixels of the image.

    Args:
        image: (H, W, 3) uint8, RGB.
        names: of the classes.
        label_map: (H, W) int64; of segmentors.
        boxes: (N, 4) float32, x1, y1, x2, y2; of detectors, by falling score.
        scores: (N,) float32.
        labels: (N,) int64, numbers of `names`.
        masks: (N, H, W) bool; of detectors that segment.
    """

    image: np.ndarray
    names: tuple[str, ...]
    label_map: np.ndarray | None = None
    boxes: np.ndarray | None = None
    scores: np.ndarray | None = None
    labels: np.ndarray | None = None
    masks: np.ndarray | None = None


class ExportedPredictor:
    """An exported model with the preprocessing and the last steps that are not in its file.

    Args:
        model: the ONNX file.
        description: its JSON; default: the one beside it, `<model>.json`.
        providers: of onnxruntime, in the order of preference; default: the CPU.

    Raises:
        FileNotFoundError: one of the files is missing.
        DescriptionError: the JSON is not that of the model.
        RuntimeError: this onnxruntime does not take the file.
    """

    def __init__(
        self,
        model: str | Path,
        description: str | Path | None = None,
        *,
        providers: Sequence[str] = ('CPUExecutionProvider',),
    ) -> None:
        import onnxruntime

        path = Path(model)
        about = path.with_name(f'{path.name}.json') if description is None else Path(description)
        for file in (path, about):
            if not file.is_file():
                raise FileNotFoundError(f'there is no file {file}')
        self.description = read_description(about)
        with path.open('rb') as file:
            digest = hashlib.file_digest(file, 'sha256').hexdigest()
        if digest != self.description['model_sha256']:
            raise DescriptionError(
                f'{about} describes another model than {path}: their hashes differ. Mend: take the '
                f'JSON that was written with the model'
            )
        if self.description.get('model_format', 'onnx') != 'onnx':
            raise DescriptionError(
                f'{path} is a package for torch, no ONNX file: `import msda, torchvision`, then '
                f'`torch.export.load` or, of AOTInductor, `torch._inductor.aoti_load_package`'
            )
        try:
            self.session = onnxruntime.InferenceSession(str(path), providers=list(providers))
        except Exception as error:  # each has a type of its own; the reason comes last
            reason = ' '.join(str(error).split())[-300:]
            raise RuntimeError(
                f'onnxruntime {onnxruntime.__version__} does not take {path}: {reason} Mend: the '
                f'version that the JSON names, or a newer one'
            ) from error
        self.names = tuple(self.description['classes'])
        self._check_graph(about)

    def __call__(self, image: str | Path | PIL.Image.Image | np.ndarray) -> Found:
        """Predicts on an image.

        Args:
            image: a file, a PIL image, or an array (H, W, 3) uint8 in BGR, as OpenCV reads it.
        """
        pixels = read_image(image)
        images = normalised(resized(pixels, self.description), self.description)
        if self.description['task'] == 'semantic':
            scores = self._scores(images)
            return Found(pixels, self.names, label_map=self._label_map(scores, pixels.shape[:2]))
        return self._instances(pixels, images)

    def _check_graph(self, path: Path) -> None:
        """Refuses a description of another graph, to which somebody has given this one's hash."""
        about, outputs = self.description, self.session.get_outputs()
        for key, found in (('inputs', self.session.get_inputs()), ('outputs', outputs)):
            names = [each.name for each in found]
            if about[key] != names:
                raise DescriptionError(f'{path}: {key!r} is {about[key]}, and of the model {names}')
        maps = outputs[0].shape[1] if about['task'] == 'semantic' else 0
        if isinstance(maps, int) and len(self.names) < (2 if maps == 1 else maps):
            raise DescriptionError(
                f"{path}: 'classes' has {len(self.names)} names, and the model {maps} scores"
            )
        if maps == 1 and about['threshold'] is None:
            raise DescriptionError(f"{path}: 'threshold' is null, with one score for two classes")

    def _padded(self, images: np.ndarray) -> np.ndarray:
        """Padded at the bottom and right to a size that the file takes."""
        about = self.description['input']
        height, width = images.shape[2:]
        if about['size'] is not None:
            size = about['size']
        else:
            size = [max(_up_to(n, about['divisor']), about['smallest']) for n in (height, width)]
            if max(size) > about['largest']:
                raise ValueError(
                    f'the image comes to {height} x {width} pixels; the model takes up to '
                    f'{about["largest"]} a side'
                )
        bottom, right = size[0] - height, size[1] - width
        if bottom < 0 or right < 0:
            raise ValueError(
                f'the image comes to {height} x {width} pixels, and the model takes '
                f'{size[0]} x {size[1]}'
            )
        value = self.description['pad_value']
        return np.pad(images, ((0, 0), (0, 0), (0, bottom), (0, right)), constant_values=value)

    def _scores(self, images: np.ndarray) -> np.ndarray:
        """(1, 3, H, W) -> scores of the classes (C, H, W), by windows where the model slides."""
        height, width = images.shape[2:]
        window = self.description['window']
        if window is None:
            (scores,) = self.session.run(None, {'images': self._padded(images)})
            return scores[0, :, :height, :width]
        size, stride = window['size'], window['stride']
        if self.description['input']['size'] is not None and (height < size[0] or width < size[1]):
            raise ValueError(
                f'the image comes to {height} x {width} pixels, less than the window of '
                f'{size[0]} x {size[1]}: export with --size dynamic for such ones'
            )
        total, count = None, np.zeros((height, width), np.float32)
        for top in _starts(height, size[0], stride[0]):
            for left in _starts(width, size[1], stride[1]):
                place = np.s_[top : top + size[0], left : left + size[1]]
                part = images[:, :, place[0], place[1]]
                (scores,) = self.session.run(None, {'images': self._padded(part)})
                scores = scores[0, :, : part.shape[2], : part.shape[3]]
                if total is None:
                    total = np.zeros((len(scores), height, width), np.float32)
                total[:, place[0], place[1]] += scores
                count[place] += 1
        return total / count

    def _label_map(self, scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The best class of every pixel of the image; one map of scores at a time is enlarged."""
        aligned = self.description['align_corners']
        best = resize_scores(scores[0], size, align_corners=aligned)
        labels = np.zeros(size, np.int64)
        if len(scores) == 1:  # two classes that one score tells apart
            return (best > _logit(self.description['threshold'])).astype(np.int64)
        for label in range(1, len(scores)):
            other = resize_scores(scores[label], size, align_corners=aligned)
            better = other > best
            labels[better] = label
            np.copyto(best, other, where=better)
        return labels

    def _instances(self, pixels: np.ndarray, images: np.ndarray) -> Found:
        height, width = images.shape[2:]
        inputs = {
            'images': self._padded(images),
            'image_size': np.asarray([height, width], np.float32),
        }
        inputs = {name: inputs[name] for name in self.description['inputs']}
        outputs = dict(
            zip(self.description['outputs'], self.session.run(None, inputs), strict=True)
        )
        kept = outputs['scores'] > 0
        outputs = {name: values[kept] for name, values in outputs.items()}
        scores, labels, masks = outputs['scores'], outputs['labels'], None
        if labels.max(initial=0) >= len(self.names):
            raise DescriptionError(
                f'the model finds class {labels.max()}, of {len(self.names)} that the JSON names'
            )
        if 'mask_logits' in outputs:
            logits = outputs['mask_logits'][:, :height, :width]
            boxes, scores, masks = objects_of_masks(scores, logits, pixels.shape[:2])
            order = np.argsort(-scores, kind='stable')
            boxes, scores, labels, masks = (each[order] for each in (boxes, scores, labels, masks))
            return Found(pixels, self.names, boxes=boxes, scores=scores, labels=labels, masks=masks)
        scale = np.asarray(
            [width / pixels.shape[1], height / pixels.shape[0]] * 2, dtype=np.float32
        )
        boxes = outputs['boxes'] / scale
        if 'masks' in outputs:
            threshold = self.description['mask_threshold']
            masks = np.zeros((len(boxes), *pixels.shape[:2]), bool)
            for mask, small, box in zip(masks, outputs['masks'], boxes, strict=True):
                paste_mask(mask, small, box, threshold=threshold)
        return Found(pixels, self.names, boxes=boxes, scores=scores, labels=labels, masks=masks)


def read_description(path: str | Path) -> dict[str, Any]:
    """The checked content of a description.

    Raises:
        DescriptionError: it is none; the message names what is wrong.
    """
    try:
        about = json.loads(Path(path).read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, a number without end
        raise DescriptionError(f'{path} is no JSON: {error}') from error
    if not isinstance(about, dict) or about.get('format') != FORMAT:
        raise DescriptionError(f'{path} describes no exported model: "format" is not {FORMAT!r}')

    def is_size(value: Any, low: int = 1) -> bool:
        return isinstance(value, list) and len(value) == 2 and all(is_count(n, low) for n in value)

    def is_count(value: Any, low: int = 1) -> bool:
        return type(value) is int and low <= value <= 2**16

    def is_number(value: Any) -> bool:
        return type(value) in (int, float) and abs(value) < 1e9

    def is_triple(value: Any) -> bool:
        return isinstance(value, list) and len(value) == 3 and all(map(is_number, value))

    def is_names(value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(name, str) for name in value)

    def is_input(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and (value.get('size') is None or is_size(value['size']))
            and all(is_count(value.get(key)) for key in ('divisor', 'smallest', 'largest'))
        )

    def is_resize(value: Any) -> bool:
        return value is None or (
            isinstance(value, dict)
            and is_size(value.get('scale'))
            and isinstance(value.get('keep_ratio'), bool)
        )

    def is_window(value: Any) -> bool:
        return value is None or (
            isinstance(value, dict)
            and is_size(value.get('size'))
            and is_size(value.get('stride'))
            and all(step <= side for step, side in zip(value['stride'], value['size'], strict=True))
        )

    rules = {
        'task': lambda value: isinstance(value, str) and value in OUTPUTS,
        'model_sha256': lambda value: isinstance(value, str) and len(value) == 64,
        'input': is_input,
        'mean': is_triple,
        'std': lambda value: is_triple(value) and all(n > 1e-6 for n in value),
        'channel_order': lambda value: value in ('rgb', 'bgr'),
        'pad_value': is_number,
        'resize': is_resize,
        'resize_to_multiple': lambda value: value is None or is_count(value),
        'window': is_window,
        'classes': is_names,
        'inputs': is_names,
        'outputs': lambda value: value in OUTPUTS[about['task']],
        'align_corners': lambda value: isinstance(value, bool),
        'threshold': lambda value: value is None or (is_number(value) and 0 < value < 1),
        'mask_threshold': lambda value: (
            is_number(value) if 'masks' in about['outputs'] else value is None or is_number(value)
        ),
    }
    for key, fits in rules.items():
        if key not in about or not fits(about[key]):
            shown = json.dumps(about[key])[:80] if key in about else 'missing'
            raise DescriptionError(f'{path}: {key!r} is {shown}, which no exported model has')
    return about


def read_image(image: str | Path | PIL.Image.Image | np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, RGB, turned as the EXIF data say.

    Raises:
        OSError: the file is no whole image.
        ValueError: an image of more than 8 bits, or an array of another kind.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f'expected (H, W, 3) uint8, BGR; got {image.shape} {image.dtype}')
        return np.ascontiguousarray(image[..., ::-1])
    opened = image if isinstance(image, PIL.Image.Image) else PIL.Image.open(image)
    if opened.mode in ('F', 'I') or opened.mode.startswith('I;'):
        raise ValueError(f'{image} has more than 8 bits: bring its values to 0 to 255 first')
    return np.asarray(PIL.ImageOps.exif_transpose(opened).convert('RGB'))


def resized(pixels: np.ndarray, about: dict[str, Any]) -> np.ndarray:
    """(H, W, 3) uint8 -> the same image at the size that the model is shown.

    Args:
        pixels: of the image.
        about: what describes the model.
    """
    height, width = pixels.shape[:2]
    fixed, resize = about['input']['size'], about['resize']
    scale = None if resize is None else resize['scale']
    if fixed is not None and about['window'] is None:  # made to fit, the rest is padded
        too_large = height > fixed[0] or width > fixed[1]
        scale = fixed[::-1] if resize is not None or too_large else None
    if scale is not None:
        if resize is None or resize['keep_ratio']:
            inside = fixed is not None and about['window'] is None
            width, height = _inside(width, height, scale, turned=not inside)
        else:
            width, height = scale
    multiple = about['resize_to_multiple']
    if multiple and fixed is None or about['window'] is not None and multiple:
        height, width = _up_to(height, multiple), _up_to(width, multiple)
    return resize_as_opencv(pixels, (height, width))


def normalised(pixels: np.ndarray, about: dict[str, Any]) -> np.ndarray:
    """(H, W, 3) uint8, RGB -> (1, 3, H, W) float32."""
    if about['channel_order'] == 'bgr':
        pixels = pixels[..., ::-1]
    values = pixels.astype(np.float32)
    values -= np.asarray(about['mean'], np.float32)
    values /= np.asarray(about['std'], np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def resize_as_opencv(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, C) uint8 -> `size`, bilinear without antialiasing: OpenCV's within 1 of 255."""
    if pixels.shape[:2] == tuple(size):
        return pixels
    top, bottom, of_top, of_bottom = _shares_of_2048(pixels.shape[0], size[0])
    left, right, of_left, of_right = _shares_of_2048(pixels.shape[1], size[1])
    values = pixels.astype(np.int32)
    lines = values[:, left] * of_left[:, None] + values[:, right] * of_right[:, None]
    lines >>= 4
    above = (lines[top] * of_top[:, None, None]) >> 16
    below = (lines[bottom] * of_bottom[:, None, None]) >> 16
    return ((above + below + 2) >> 2).clip(0, 255).astype(np.uint8)


def _shares_of_2048(old: int, new: int) -> tuple[np.ndarray, ...]:
    """Along an axis: the two pixels that each new one lies between, and 2048ths of either.

    OpenCV computes in integers; with the same ones nearly every pixel is the same.
    """
    places = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    places = places.clip(0, old - 1)
    low = places.astype(np.int64)
    share = places - low.astype(np.float32)
    shares = [np.rint(part * np.float32(2048)).astype(np.int32) for part in (1 - share, share)]
    return low, np.minimum(low + 1, old - 1), *shares


def resize_scores(scores: np.ndarray, size: tuple[int, int], *, align_corners: bool) -> np.ndarray:
    """(H, W) float32 -> `size`, as torch's bilinear interpolation."""
    if scores.shape == tuple(size):
        return scores.copy()
    return _bilinear(scores, size, align_corners=align_corners)


def _bilinear(values: np.ndarray, size: tuple[int, int], *, align_corners: bool) -> np.ndarray:
    for axis in (0, 1):
        old, new = values.shape[axis], size[axis]
        places = np.arange(new)
        if align_corners:
            places = places * ((old - 1) / max(new - 1, 1))
        else:
            places = ((places + 0.5) * (old / new) - 0.5).clip(0, old - 1)
        low = np.minimum(places.astype(np.int64), old - 1)
        high = np.minimum(low + 1, old - 1)
        shape = [1] * values.ndim
        shape[axis] = new
        share = (places - low).astype(np.float32).reshape(shape)
        first = values.take(low, axis)
        values = first + (values.take(high, axis) - first) * share
    return values


def paste_mask(out: np.ndarray, small: np.ndarray, box: np.ndarray, *, threshold: float) -> None:
    """Writes a small mask of probabilities into its box of `out` (H, W), where they suffice."""
    left, top, right, bottom = (float(side) for side in box)
    if not (right > left and bottom > top):
        return
    first_x, first_y = max(int(np.floor(left)) - 1, 0), max(int(np.floor(top)) - 1, 0)
    past_x = min(int(np.ceil(right)) + 1, out.shape[1])
    past_y = min(int(np.ceil(bottom)) + 1, out.shape[0])
    if past_x <= first_x or past_y <= first_y:
        return
    rows, columns = small.shape
    framed = np.pad(small.astype(np.float32), 1)  # zero outside

    def at(places: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        places = (places * count - 0.5).clip(-1, count)
        low = np.minimum(np.floor(places).astype(np.int64), count - 1)
        return low + 1, (places - low).astype(np.float32)

    row, of_row = at((np.arange(first_y, past_y) + 0.5 - top) / (bottom - top), rows)
    column, of_column = at((np.arange(first_x, past_x) + 0.5 - left) / (right - left), columns)
    lines = framed[row] * (1 - of_row)[:, None] + framed[row + 1] * of_row[:, None]
    pasted = lines[:, column] * (1 - of_column) + lines[:, column + 1] * of_column
    out[first_y:past_y, first_x:past_x] = pasted >= threshold


def objects_of_masks(
    scores: np.ndarray, logits: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What masks say of objects: boxes (N, 4), scores (N,), and the masks (N, H, W) themselves.

    Args:
        scores: (N,), of the classes; a mask's mean probability is multiplied to it.
        logits: (N, h, w), of what an image is in.
        size: (H, W), of the image.
    """
    boxes, found = np.zeros((len(scores), 4), np.float32), np.zeros_like(scores)
    masks = np.zeros((len(scores), *size), bool)
    for number, logit in enumerate(logits):
        enlarged = resize_scores(logit, size, align_corners=False)
        masks[number] = enlarged > 0
        inside = enlarged[masks[number]]
        if not len(inside):
            continue
        certain = (1 / (1 + np.exp(-inside))).sum() / (len(inside) + 1e-6)
        found[number] = scores[number] * certain
        rows, columns = (np.flatnonzero(masks[number].any(axis)) for axis in (1, 0))
        boxes[number] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes, found, masks


def _inside(width: int, height: int, scale: Sequence[int], *, turned: bool) -> tuple[int, int]:
    """The largest size of the same ratio within `scale` (w, h), which may be turned."""
    if turned:
        factor = min(max(scale) / max(width, height), min(scale) / min(width, height))
    else:
        factor = min(scale[0] / width, scale[1] / height)
    return max(int(width * factor + 0.5), 1), max(int(height * factor + 0.5), 1)


def _up_to(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin; the last ones are moved back to end with the image."""
    count = max(length - window + stride - 1, 0) // stride + 1
    return [max(min(number * stride + window, length) - window, 0) for number in range(count)]


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def main(arguments: Sequence[str]) -> None:
    """Prints what a model finds on images, a line of JSON an image."""
    if len(arguments) < 2:
        raise SystemExit('usage: python exported.py MODEL.onnx IMAGE ...')
    try:
        predictor = ExportedPredictor(arguments[0])
    except (OSError, ValueError, RuntimeError) as error:
        raise SystemExit(f'error: {error}') from error
    for image in arguments[1:]:
        try:
            found = predictor(image)
        except (OSError, ValueError, PIL.Image.DecompressionBombError) as error:
            raise SystemExit(f'error: {image}: {error}') from error
        line: dict[str, Any] = {'image': image}
        if found.label_map is not None:
            labels, counts = np.unique(found.label_map, return_counts=True)
            names = (found.names[label] for label in labels)
            line['pixels'] = dict(zip(names, counts.tolist(), strict=True))
        else:
            line['classes'] = [found.names[label] for label in found.labels]
            line['scores'] = found.scores.tolist()
            line['boxes'] = found.boxes.tolist()
        sys.stdout.write(json.dumps(line) + '\n')


if __name__ == '__main__':
    main(sys.argv[1:])
