"""Check COCO annotation files and the folders of every data set before training.

MMDetection notices a missing image when it comes to it, perhaps hours later, and some mistakes
never: annotations of an unknown category are dropped, labels are numbered in the order of the
annotation file and not of the config, NaN boxes become NaN losses. Here a file is read once before
training, its images are looked up in one listing of their folder, and what cannot be used is a
`DatasetError`. What MMDetection handles itself (crowds, tiny boxes, boxes a little out of the
image) is no error; it is counted in the summary.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from .check_batches import find_batch_problems
from .check_coco_content import CocoSummary, check_categories, check_images, check_instances
from .check_image_files import check_image_files
from .check_segmentation import check_pairs, is_segmentation, list_split
from .decoding import ValueRange
from .errors import DatasetError
from .loading import value_range_of

QUICK_START = 'Or try the quick start, which generates its own data: make train'


def check_coco_annotations(
    ann_file: str | os.PathLike,
    image_dir: str | os.PathLike,
    classes: Sequence[str],
    *,
    subset: bool = False,
    masks: bool = False,
    evaluated: bool = False,
    look_into_images: bool = False,
    value_range: ValueRange | None = None,
) -> CocoSummary:
    """Check one split.

    Args:
        ann_file: COCO annotation file.
        image_dir: folder that its `file_name`s start from.
        classes: the config's class names, in its order.
        subset: the file may have annotations of categories that `classes` leaves out on purpose.
        masks: every annotation needs a segmentation.
        evaluated: the file is for evaluation: `iscrowd` is needed; a file without any `annotations`
            (COCO's test-dev) is enough.
        look_into_images: read headers of the images, and decode some.
        value_range: that of the pipeline's image loader.

    Returns:
        counts, and what was odd but can be used.

    Raises:
        DatasetError: naming the file, the value and the mend.
    """
    ann_file, image_dir = Path(ann_file), Path(image_dir)
    content = _read(ann_file, annotations_needed=not evaluated)
    summary = CocoSummary(ann_file=str(ann_file))
    check_categories(content, classes, summary=summary, subset=subset)
    check_images(content, image_dir, summary=summary)
    if look_into_images:
        check_image_files(
            [str(image_dir / image['file_name']) for image in content['images']],
            sizes=[(image['width'], image['height']) for image in content['images']],
            value_range=value_range,
        )
    check_instances(content, summary=summary, masks=masks, evaluated=evaluated)
    return summary


def _read(ann_file: Path, *, annotations_needed: bool) -> dict[str, Any]:
    if not ann_file.is_file():
        raise DatasetError(f'annotation file {ann_file} does not exist. {QUICK_START}')
    try:
        with ann_file.open(encoding='utf-8') as stream:
            content = json.load(stream)
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors are ValueErrors
        raise DatasetError(
            f'annotation file {ann_file} is not JSON ({error}): it may be cut off or compressed; '
            'fetch or unpack it again.'
        ) from error
    except OSError as error:
        raise DatasetError(f'annotation file {ann_file} cannot be read: {error}') from error
    keys = (
        ('images', 'annotations', 'categories') if annotations_needed else ('images', 'categories')
    )
    found = sorted(content) if isinstance(content, dict) else f'a {type(content).__name__}'
    for key in keys:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DatasetError(
                f'annotation file {ann_file} has no list {key!r} (found: {found}): a COCO '
                f'instances file has {", ".join(keys)}; is it a captions, keypoints or results '
                'file?'
            )
    return content


def check_config_datasets(
    cfg: Mapping[str, Any], *, loaders: Sequence[str] = ('train', 'val', 'test')
) -> list[CocoSummary]:
    """Check the data sets of a config's `{train,val,test}_dataloader`, the same split once.

    And that what is evaluated as one batch can be.

    Raises:
        DatasetError: for the first that cannot be used.
    """
    seen: dict[str, list[CocoSummary]] = {}
    for name in loaders:
        loader = cfg.get(f'{name}_dataloader')
        for leaf in _leaves(loader['dataset']) if loader else ():
            relevant = ('type', 'data_root', 'ann_file', 'data_prefix', 'metainfo', 'test_mode')
            relevant += ('img_suffix', 'seg_map_suffix', 'reduce_zero_label')
            how = [_wants_masks(leaf), value_range_of(leaf.get('pipeline'))]
            key = repr([leaf.get(k) for k in relevant] + how)
            if key not in seen:
                seen[key] = check_dataset_config(leaf)
    evaluated = {
        name: _leaves(cfg[f'{name}_dataloader']['dataset'])
        for name in loaders
        if name != 'train' and cfg.get(f'{name}_dataloader')
    }
    problems = find_batch_problems(cfg, evaluated)
    if problems:
        raise DatasetError(' '.join(problems))
    return [summary for summaries in seen.values() for summary in summaries]


def check_dataset_config(
    dataset_cfg: Mapping[str, Any], *, look_into_images: bool = True
) -> list[CocoSummary]:
    """Check what a data set config of MMEngine, wrapped or not, refers to.

    Of a `CocoDataset` the annotation file and the images are checked as `check_coco_annotations`
    does, of images with label maps that the pairs are there and some maps can be used; of any other
    type that its local folders are there and not empty. What is not on a local disk is left alone.
    Of all, headers of images are read and some decoded, unless `look_into_images` is off. A config
    that leaves out categories of its annotation file on purpose says so:
    `metainfo=dict(classes=..., subset=True)`.

    Returns:
        one summary for each `CocoDataset`; its oddities are logged.

    Raises:
        DatasetError: naming the file, the value and the mend.
    """
    summaries = []
    for leaf in _leaves(dataset_cfg):
        if _is_remote(leaf):
            continue
        root = leaf.get('data_root') or ''
        folders = {key: _join(root, prefix) for key, prefix in _prefixes(leaf).items()}
        ann_file = _join(root, leaf['ann_file']) if leaf.get('ann_file') else None
        _check_layout(root, folders, ann_file)
        if is_segmentation(leaf):
            check_pairs(list_split(leaf), value_range_of(leaf.get('pipeline')))
        is_coco = str(leaf.get('type')).split('.')[-1] == 'CocoDataset'
        if not is_coco or ann_file is None:
            continue
        metainfo = leaf.get('metainfo') or {}
        summary = check_coco_annotations(
            *locate_coco(leaf),
            subset=bool(metainfo.get('subset', False)),
            masks=_wants_masks(leaf),
            evaluated=bool(leaf.get('test_mode', False)),
            look_into_images=look_into_images,
            value_range=value_range_of(leaf.get('pipeline')),
        )
        print_log(str(summary), logger='current')
        summaries.append(summary)
    return summaries


def locate_coco(dataset_cfg: Mapping[str, Any]) -> tuple[str, str, Sequence[str]]:
    """Annotation file, folder of images and class names of a `CocoDataset`'s config."""
    root = dataset_cfg.get('data_root') or ''
    images = _prefixes(dataset_cfg).get('img')
    return (
        _join(root, dataset_cfg['ann_file']),
        _join(root, images) if images else root,
        _classes(dataset_cfg.get('metainfo') or {}),
    )


def _leaves(dataset_cfg: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The data sets inside `RepeatDataset`, `ClassBalancedDataset`, `ConcatDataset`, ..."""
    if 'datasets' in dataset_cfg:
        return [leaf for item in dataset_cfg['datasets'] for leaf in _leaves(item)]
    if 'dataset' in dataset_cfg:
        return _leaves(dataset_cfg['dataset'])
    ann_file = dataset_cfg.get('ann_file')
    if isinstance(ann_file, (list, tuple)):  # MMDetection's ConcatDataset splits such a list
        return [{**dataset_cfg, 'ann_file': item} for item in ann_file]
    return [dataset_cfg]


def _is_remote(leaf: Mapping[str, Any]) -> bool:
    backend = (leaf.get('backend_args') or {}).get('backend', 'local')
    root = str(leaf.get('data_root') or '')
    return '://' in root or '://' in str(leaf.get('ann_file')) or backend not in ('local', 'disk')


def _join(root: str, path: str) -> str:
    return os.path.join(root, path) if root else path


def _prefixes(leaf: Mapping[str, Any]) -> dict[str, str]:
    return {key: value for key, value in (leaf.get('data_prefix') or {}).items() if value}


def _wants_masks(leaf: Mapping[str, Any]) -> bool:
    return any(
        str(step.get('type')).split('.')[-1] == 'LoadAnnotations' and step.get('with_mask', False)
        for step in leaf.get('pipeline') or ()
    )


def _classes(metainfo: Mapping[str, Any]) -> Sequence[str]:
    classes = metainfo.get('classes')
    if classes is None:
        from mmdet.datasets import CocoDataset

        return CocoDataset.METAINFO['classes']
    if not isinstance(classes, str):
        return classes
    if Path(classes).is_file():  # as MMEngine reads it
        return Path(classes).read_text(encoding='utf-8').splitlines()
    raise DatasetError(
        f'metainfo has classes={classes!r}: a string is the name of a file with one class a line, '
        f"and there is no such file. For a single class write classes=('{classes}',)."
    )


def _check_layout(root: str, folders: Mapping[str, str], ann_file: str | None) -> None:
    """Raise, showing what was expected, if a folder or the annotation file is missing or empty."""
    problem = None
    if root and not Path(root).is_dir():
        problem = f'data folder {root} does not exist'
    elif root and not _has_entries(root):
        problem = f'data folder {root} is empty'
    elif ann_file is not None and not Path(ann_file).is_file():
        problem = f'annotation file {ann_file} does not exist'
    else:
        for folder in folders.values():
            if not Path(folder).is_dir():
                problem = f'folder {folder} does not exist'
            elif not _has_entries(folder):
                problem = f'folder {folder} is empty'
            if problem:
                break
    if problem is None:
        return
    expected = [*([ann_file] if ann_file else []), *(f'{f.rstrip("/")}/' for f in folders.values())]
    layout = '\n'.join(f'    {path}' for path in expected)
    raise DatasetError(
        f'{problem}. Expected are\n{layout}\nPut the data there, or name the folder that holds it: '
        f'--data-root FOLDER (data_root in the config). {QUICK_START}'
    )


def _has_entries(folder: str) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is not None
