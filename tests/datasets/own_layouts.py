"""The same few images with the same objects, in every layout that people have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

CLASSES = ('cat', 'big dog')
SIZE = (80, 64)
#: image -> label and corners of its objects, in pixels
TRUTH = {
    f'Bild {n} ü.JPG': [(n % 2, (4 + n, 8, 40 + n, 48)), (1, (20, 16, 60, 60))] for n in range(6)
}
NEGATIVE = 'empty.png'


def write_image(path: Path, *, size: tuple[int, int] = SIZE, exif: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 255, (*size[::-1], 3), np.uint8)
    options = {}
    if exif:
        data = Image.Exif()
        data[274] = exif
        options = dict(exif=data)
    Image.fromarray(pixels).save(path, **options)


def corners_of(box: Sequence[float]) -> list[float]:
    x1, y1, x2, y2 = box
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')


def yolo_line(label: int, box: Sequence[float], *, polygon: bool = False) -> str:
    width, height = SIZE
    x1, y1, x2, y2 = box
    numbers = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
    if polygon:
        sides = zip(corners_of(box), (width, height) * 4, strict=True)
        numbers = [value / side for value, side in sides]
    return ' '.join([str(label), *(f'{value:.8f}' for value in numbers)])


def write_yolo(
    root: Path, *, splits: bool = True, inside: bool = True, polygon: bool = False
) -> None:
    """`inside`: train/images, else images/train; without splits images/ alone, and no yaml."""
    for number, (name, objects) in enumerate([*TRUTH.items(), (NEGATIVE, [])]):
        split = ('valid' if number in (4, 5) else 'train') if splits else ''
        places = [
            Path(split, kind) if inside else Path(kind, split) for kind in ('images', 'labels')
        ]
        write_image(root / places[0] / name)
        lines = [yolo_line(label, box, polygon=polygon) for label, box in objects]
        write_text(root / places[1] / f'{Path(name).stem}.txt', '\n'.join(lines) + '\n')
    if splits:
        kind = '{}/images' if inside else 'images/{}'
        text = f'train: ../{kind.format("train")}\nval: ../{kind.format("valid")}\n'
        write_text(root / 'data.yaml', f'{text}names:\n  0: cat\n  1: big dog\n')
    else:
        write_text(root / 'classes.txt', '\n'.join(CLASSES))


def voc_text(objects: Sequence, *, size: tuple[int, int] = SIZE, extra: str = '') -> str:
    items = ''.join(
        f'<object><name>{escape(CLASSES[label])}</name>{extra}<bndbox><xmin>{x1 + 1}</xmin>'
        f'<ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>'
        for label, (x1, y1, x2, y2) in objects
    )
    sizes = f'<size><width>{size[0]}</width><height>{size[1]}</height></size>'
    return f'<annotation>{sizes}{items}</annotation>'


def write_voc(root: Path, *, lists: bool = True) -> None:
    for name, objects in [*TRUTH.items(), (NEGATIVE, [])]:
        write_image(root / 'JPEGImages' / name)
        write_text(root / 'Annotations' / f'{Path(name).stem}.xml', voc_text(objects))
    stems = [Path(name).stem for name in [*TRUTH, NEGATIVE]]
    for split, part in (('train', [*stems[:4], stems[6]]), ('val', stems[4:6])):
        if lists:
            write_text(root / 'ImageSets' / 'Main' / f'{split}.txt', '\n'.join(part))


def coco_content(names: Sequence[str]) -> dict:
    """With category ids that leave gaps, as COCO's own do."""
    images = [
        dict(id=10 * n, file_name=name, width=SIZE[0], height=SIZE[1])
        for n, name in enumerate(names, start=1)
    ]
    annotations = [
        dict(
            id=1000 * image['id'] + n + 1,
            image_id=image['id'],
            category_id=(3, 90)[label],
            bbox=[x1, y1, x2 - x1, y2 - y1],
            area=(x2 - x1) * (y2 - y1),
            iscrowd=0,
            segmentation=[corners_of((x1, y1, x2, y2))],
        )
        for image in images
        for n, (label, (x1, y1, x2, y2)) in enumerate(TRUTH.get(image['file_name'], ()))
    ]
    categories = [dict(id=3, name=CLASSES[0]), dict(id=90, name=CLASSES[1])]
    return dict(images=images, annotations=annotations, categories=categories)


def write_coco(root: Path, *, where: str) -> None:
    """`where`: annotations/, images/split, roboflow (in the folders), or one (no splits)."""
    parts = {'train': [*list(TRUTH)[:4], NEGATIVE], 'val': list(TRUTH)[4:]}
    if where == 'one':
        parts = {'': [*TRUTH, NEGATIVE]}
    for split, names in parts.items():
        folder, file = {
            'annotations': (f'{split}2017', f'annotations/instances_{split}2017.json'),
            'images': (f'images/{split}', f'{split}.json'),
            'roboflow': (split, f'{split}/_annotations.coco.json'),
            'one': ('images', 'result.json'),
        }[where]
        for name in names:
            write_image(root / folder / name)
        write_text(root / file, json.dumps(coco_content(names)))


def label_map(number: int) -> np.ndarray:
    """(64, 80) uint8: background 0, classes 1 and 2."""
    labels = np.zeros(SIZE[::-1], np.uint8)
    labels[8:32, 8 + number : 40] = 1
    labels[40:60, 30:70] = 2
    return labels


def write_map(path: Path, values: np.ndarray, *, mode: str = 'L') -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(values)
    if mode == 'P':
        picture = Image.fromarray(values, 'L').convert('P')
        picture.putdata(values.flatten().tolist())
        picture.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    picture.save(path)


def write_maps(root: Path, *, maps: str, mode: str = 'L', splits: bool = True) -> None:
    """`maps`: name of the folder of maps, beside `images`."""
    for number, name in enumerate(TRUTH):
        split = ('val' if number > 3 else 'train') if splits else ''
        write_image(root / 'images' / split / name)
        write_map(root / maps / split / f'{Path(name).stem}.png', label_map(number), mode=mode)
