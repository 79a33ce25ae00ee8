"""Takes some images of a test set, for an evaluation that would be too long with all of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS

from vitadapter_dense.datasets.dataset_configs import (
    annotation_file,
    is_coco,
    kind,
    leaves,
    list_metrics,
)
from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.reports.output_files import write_output


def take_images(cfg: Config, count: int, *, folder: Path, command: str) -> None:
    """Leaves so many images in the test set, evenly spread over it; all, if it has no more.

    A COCO file is written anew with them, since its metric counts the images that it lists.

    Args:
        cfg: whole configuration; changed in place.
        count: images.
        folder: where the COCO file goes.
        command: who writes it, see :mod:`vitadapter_dense.reports.output_files`.

    Raises:
        DatasetError: several data sets, no such file, or a metric with a list of its own.
    """
    found, metrics = leaves(cfg.test_dataloader.dataset), list_metrics(cfg, 'test')
    if len(found) > 1 or not isinstance(found[0], ConfigDict):
        raise DatasetError('of several data sets no images can be chosen: test one at a time')
    leaf, coco = found[0], [metric for metric in metrics if kind(metric) == 'CocoMetric']
    if is_coco(leaf):
        source = Path(annotation_file(leaf))
        path = folder / f'{source.stem}_{count}_images.json'
        with write_output(path, command=command) as partial:
            partial.write_text(_part_of(source, count))
        for owner in (leaf, *coco):
            owner['ann_file'] = str(path.absolute())
    elif coco:
        raise DatasetError(f'{coco[0]["ann_file"]} lists the images: all of them are evaluated')
    else:
        with DATASETS.switch_scope_and_registry(cfg.get('default_scope')) as known:
            leaf['indices'] = _spread(len(known.build(dict(leaf, pipeline=[]))), count)


def _part_of(source: Path, count: int) -> str:
    try:
        content = json.loads(source.read_text(encoding='utf-8'))
        images = [content['images'][number] for number in _spread(len(content['images']), count)]
        kept = {image['id'] for image in images}
        objects = [one for one in content['annotations'] if one['image_id'] in kept]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f'{source} is no COCO file: {type(error).__name__} {error}') from error
    return json.dumps(dict(content, images=images, annotations=objects))


def _spread(total: int, count: int) -> list[int]:
    return np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int)).tolist()
