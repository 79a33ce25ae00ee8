"""The generated data set behind the quick start: instances and semantic maps of patterned shapes.

Layout of a set (`out_dir`)::

    annotations/instances_{train,val}.json    COCO; segmentations are compressed RLE, iscrowd is 0
    {train,val}/000000.jpg                    pictures
    semantic/{train,val}/000000.png           a byte a pixel: 0 background, 1..K the classes
    annotations/panoptic_{train,val}.json     COCO's panoptic format: objects, and the background
    panoptic/{train,val}/000000.png           as stuff
    samples.png                               a page to look at
    shapes.json                               the parameters; `complete` when all is written

Every picture is drawn from its own random state, seeded with (seed, split, index): the same picture
whatever the number of pictures or workers. Pictures are written in chunks, and a chunk's
annotations only once its pictures are there, so that a killed run is completed by the same call.
"""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
import multiprocessing.connection
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from .errors import DatasetError
from .shapes_panoptic import complete_panoptic, holds
from .shapes_patterns import SHAPES
from .shapes_scene import Scene, render_scene

SHAPES_CLASSES: tuple[str, ...] = tuple(SHAPES)
#: one RGB colour a class, for drawing
SHAPES_PALETTE: list[tuple[int, int, int]] = [
    (230, 60, 60),
    (60, 130, 240),
    (60, 200, 90),
    (245, 190, 40),
    (190, 80, 220),
]
SHAPES_METAINFO = dict(classes=SHAPES_CLASSES, palette=SHAPES_PALETTE)

SPLITS = ('train', 'val')
#: raised whenever the same parameters would give other pictures
GENERATOR_VERSION = 1
_META = 'shapes.json'
_PARTS = '.parts'
_CHUNK = 100
_NUMBER = '[0-9]' * 6
#: the files of a set; others in its folders are the user's
_OWNED = (
    *(f'{split}/{_NUMBER}.jpg' for split in SPLITS),
    *(f'semantic/{split}/{_NUMBER}.png' for split in SPLITS),
    *(f'panoptic/{split}/{_NUMBER}.png' for split in SPLITS),
    *(f'annotations/{kind}_{split}.json' for split in SPLITS for kind in ('instances', 'panoptic')),
    f'{_PARTS}/*.json',
    'samples.png',
    _META,
)


def generate_shapes(
    out_dir: str | os.PathLike,
    *,
    num_train: int = 3000,
    num_val: int = 300,
    size: int | tuple[int, int] = 192,
    seed: int = 0,
    workers: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Write the set, or what is missing of it.

    Args:
        out_dir: folder of the set; made when it is not there.
        num_train: number of pictures for training, at least 1.
        num_val: for validation, as well.
        size: side of the square pictures or (height, width), in pixels; at least 64.
        seed: other seeds give other pictures.
        workers: processes that draw; the result does not depend on it.
        overwrite: replace a set made with other parameters.
        progress: called with (pictures done, pictures in all) from time to time.

    Returns:
        False if the set was complete already, and nothing was done.

    Raises:
        DatasetError: for a set with other parameters (without `overwrite`), a folder that holds
            something else, or arguments out of range.
    """
    root = Path(out_dir)
    meta = _parameters(num_train=num_train, num_val=num_val, size=size, seed=seed)
    if workers < 1:
        raise DatasetError(f'workers={workers} must be at least 1')
    drawn = _claim(root, meta, overwrite=overwrite) and _is_whole(root, meta)
    if drawn:  # by an earlier version perhaps, which wrote no panoptic maps
        shutil.rmtree(root / _PARTS, ignore_errors=True)
        return complete_panoptic(root, meta)
    _write_json(root / _META, {**meta, 'complete': False})
    for split in SPLITS:
        (root / split).mkdir(parents=True, exist_ok=True)
        (root / 'semantic' / split).mkdir(parents=True, exist_ok=True)
    (root / 'annotations').mkdir(exist_ok=True)
    (root / _PARTS).mkdir(exist_ok=True)

    jobs = [(root, meta, *chunk) for chunk in _chunks(meta)]
    total = sum(meta['num_images'].values())
    done = 0
    for count in _run(jobs, workers=workers):
        done += count
        if progress is not None:
            progress(done, total)
    for split in SPLITS:
        _merge(root, meta, split)
    complete_panoptic(root, meta)
    _write_json(root / _META, {**meta, 'complete': True})
    shutil.rmtree(root / _PARTS)
    return True


def draw_scene(seed: int, split: str, index: int, *, size: int | tuple[int, int] = 192) -> Scene:
    """One scene of a set, without writing anything."""
    height, width = (size, size) if isinstance(size, int) else size
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    return render_scene(rng, height=height, width=width)


def _parameters(*, num_train: int, num_val: int, size: int | tuple[int, int], seed: int) -> dict:
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 64:
        raise DatasetError(f'size={size} is too small: small objects need a side of 64 or more')
    if min(num_train, num_val) < 1:
        raise DatasetError(f'num_train={num_train}, num_val={num_val}: both must be at least 1')
    if seed < 0:
        raise DatasetError(f'seed={seed} must not be negative')
    return dict(
        generator='vitadapter_dense shapes',
        version=GENERATOR_VERSION,
        num_images=dict(train=num_train, val=num_val),
        height=height,
        width=width,
        seed=seed,
        classes=list(SHAPES_CLASSES),
    )


def _claim(root: Path, meta: dict, *, overwrite: bool) -> bool:
    """Make sure that `root` may be written; True if a finished set like this is there."""
    if not root.exists():
        return False
    if not root.is_dir():
        raise DatasetError(f'{root} is a file: give the name of a folder')
    if not any(root.iterdir()):
        return False
    if not (root / _META).is_file():
        raise DatasetError(
            f'{root} is not empty and holds no generated shapes ({_META} is missing): nothing was '
            'written. Give another folder, or empty it yourself.'
        )
    try:
        found = json.loads((root / _META).read_text())
        complete = found.pop('complete')
    except (ValueError, KeyError, AttributeError):
        found, complete = None, False
    if found == meta:
        return complete
    if not overwrite:
        raise DatasetError(
            f'{root} holds shapes made with other parameters ({_difference(found, meta)}): nothing '
            'was written. Give another folder, or --overwrite (overwrite=True) to replace them.'
        )
    for pattern in _OWNED:
        for path in root.glob(pattern):
            path.unlink()
    return False


def _difference(found: dict | None, wanted: dict) -> str:
    if not isinstance(found, dict):
        return f'{_META} cannot be read'
    keys = [key for key in wanted if found.get(key) != wanted[key]]
    return ', '.join(f'{key}: {found.get(key)} there, {wanted[key]} asked for' for key in keys)


def _is_whole(root: Path, meta: dict) -> bool:
    """Whether the pictures and labels of a set that is marked as complete are still there."""
    return all(
        (root / 'annotations' / f'instances_{split}.json').is_file()
        and holds(root / split, '.jpg', number)
        and holds(root / 'semantic' / split, '.png', number)
        for split, number in meta['num_images'].items()
    )


def _chunks(meta: dict) -> Iterator[tuple[str, int, int]]:
    for split, number in meta['num_images'].items():
        for start in range(0, number, _CHUNK):
            yield split, start, min(start + _CHUNK, number)


def _run(jobs: list[tuple], *, workers: int) -> Iterator[int]:
    if workers == 1:
        yield from map(_write_chunk, jobs)
        return
    # Forked workers need not import torch again; they only draw, with NumPy and one OpenCV thread.
    method = 'fork' if 'fork' in multiprocessing.get_all_start_methods() else 'spawn'
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context(method), initializer=_start_worker
    )
    try:
        futures = [pool.submit(_write_chunk, job) for job in jobs]
        for future in concurrent.futures.as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    cv2.setNumThreads(0)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # An idle worker of the pool would outlive a killed parent for ever.
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _write_chunk(job: tuple) -> int:
    """Write the pictures [start, stop) of a split unless they are there; return their number."""
    root, meta, split, start, stop = job
    part = _part(root, split, start, stop)
    if part.is_file():
        return stop - start
    annotations = []
    for index in range(start, stop):
        scene = draw_scene(meta['seed'], split, index, size=(meta['height'], meta['width']))
        name = f'{index:06d}'
        quality = [cv2.IMWRITE_JPEG_QUALITY, scene.jpeg_quality]
        _write_image(root / split / f'{name}.jpg', scene.image, quality)
        _write_image(root / 'semantic' / split / f'{name}.png', scene.semantic_map(), [])
        annotations.append(_annotations(scene))
    _write_json(part, annotations)
    return stop - start


def _part(root: Path, split: str, start: int, stop: int) -> Path:
    return root / _PARTS / f'{split}_{start:06d}_{stop:06d}.json'


def _annotations(scene: Scene) -> list[dict]:
    """COCO annotations of a scene without their ids."""
    from pycocotools import mask as coco_mask

    shape = scene.image.shape[:2]
    result = []
    for item in scene.objects:
        full = np.zeros(shape, np.uint8, order='F')
        x, y, w, h = item.box
        full[y : y + h, x : x + w] = item.mask
        rle = coco_mask.encode(full)
        result.append(
            dict(
                category_id=item.label + 1,
                bbox=list(item.box),
                area=int(item.mask.sum()),
                segmentation=dict(size=list(shape), counts=rle['counts'].decode('ascii')),
                iscrowd=0,
            )
        )
    return result


def _merge(root: Path, meta: dict, split: str) -> None:
    images, annotations = [], []
    for name, start, stop in _chunks(meta):
        if name != split:
            continue
        part = json.loads(_part(root, split, start, stop).read_text())
        for image_id, items in zip(range(start, stop), part, strict=True):
            size = dict(height=meta['height'], width=meta['width'])
            images.append(dict(id=image_id, file_name=f'{image_id:06d}.jpg', **size))
            for item in items:
                annotations.append(dict(id=len(annotations) + 1, image_id=image_id, **item))
    names = enumerate(SHAPES_CLASSES, start=1)
    categories = [dict(id=index, name=name, supercategory='shape') for index, name in names]
    coco = dict(info=meta, images=images, annotations=annotations, categories=categories)
    _write_json(root / 'annotations' / f'instances_{split}.json', coco)


def _write_image(path: Path, image: np.ndarray, options: list[int]) -> None:
    written, data = cv2.imencode(path.suffix, image, options)
    if not written:
        raise DatasetError(f'OpenCV cannot write {path.suffix} files: reinstall opencv-python')
    path.write_bytes(data.tobytes())


def _write_json(path: Path, value: object) -> None:
    """Write a JSON file such that a kill leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'{path.name}.tmp')
    temporary.write_text(json.dumps(value, separators=(',', ':')))
    os.replace(temporary, path)
