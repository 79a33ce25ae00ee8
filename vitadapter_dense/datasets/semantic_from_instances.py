"""Make maps for semantic segmentation from a file of COCO instances: some of its classes, and the
rest."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from .errors import DatasetError
from .load_seg_map import IGNORED
from .panoptic_from_instances import paint, read_instances, write_whole


def frequent_classes(instances_file: str | os.PathLike, count: int) -> list[str]:
    """The classes that most images show, crowds left out; of as many, those with more objects.

    Args:
        instances_file: COCO instances.
        count: how many.

    Raises:
        DatasetError: there are not so many.
    """
    content = read_instances(Path(instances_file))
    images, objects = defaultdict(set), defaultdict(int)
    for annotation in content['annotations']:
        if not annotation.get('iscrowd', 0):
            images[annotation['category_id']].add(annotation['image_id'])
            objects[annotation['category_id']] += 1
    if len(images) < count:
        raise DatasetError(
            f'{instances_file} shows {len(images)} classes, not {count}: ask for fewer'
        )
    order = sorted(images, key=lambda number: (-len(images[number]), -objects[number], number))
    names = {category['id']: category['name'] for category in content['categories']}
    return [names[number] for number in order[:count]]


def make_semantic(
    instances_file: str | os.PathLike, map_dir: str | os.PathLike, classes: Sequence[str]
) -> None:
    """Write a PNG for each image; the smaller object is in front; crowds of a class are ignored.

    Args:
        instances_file: COCO instances.
        map_dir: folder of the PNGs, named after the images.
        classes: names; a pixel is the number of its class here, ``len(classes)`` if it is of none.

    Raises:
        DatasetError: a name that is no category of the file.
    """
    content = read_instances(Path(instances_file))
    numbers = {category['name']: category['id'] for category in content['categories']}
    unknown = [name for name in classes if name not in numbers]
    if unknown:
        raise DatasetError(
            f'{unknown[0]!r} is no category of {instances_file}; it has {sorted(numbers)[:8]} ...'
        )
    label_of = {numbers[name]: label for label, name in enumerate(classes)}
    of_image = defaultdict(list)
    for annotation in content['annotations']:
        of_image[annotation['image_id']].append(annotation)
    for image in content['images']:
        shape = (image['height'], image['width'])
        painted, segments = paint(of_image[image['id']], shape, rest=None)
        labels = np.full(shape, len(classes), np.uint8)
        for segment in segments:
            label = label_of.get(segment['category_id'], len(classes))
            if segment['iscrowd'] and label < len(classes):
                label = IGNORED
            labels[painted == segment['id']] = label
        name = os.path.splitext(image['file_name'])[0] + '.png'
        write_whole(Path(map_dir) / name, cv2.imencode('.png', labels)[1].tobytes())
