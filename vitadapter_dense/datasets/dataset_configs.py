"""What a configuration says of its data sets: which there are, their files, their classes.

Nothing is read here but the files' names.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS

from .errors import DatasetError
from .loading import value_range_of

QUICK_START = 'Or try the quick start, which generates its own data: make train'
#: What makes two data set configs the same files with the same meaning.
_IDENTITY = ('type', 'data_root', 'ann_file', 'data_prefix', 'metainfo')
_IDENTITY += ('img_suffix', 'seg_map_suffix', 'reduce_zero_label')
_IDENTITY += ('folders', 'num_classes', 'split', 'min_size', 'dataset', 'imbalance', 'seed')
#: Wrappers that choose among the samples of a classification set: a set of their own.
_CHOOSING = ('LongTailed',)


@dataclasses.dataclass
class UsedDataset:
    """A plain data set of a configuration's loaders.

    Attributes:
        name: train, val or test; `train 2` is the second one of the loader.
        cfg: of the data set itself, without the wrappers around it.
        loaders: that have it.
        metrics: configs of those that evaluate it.
        masks: every object needs a mask, for the pipeline or for a metric.
    """

    name: str
    cfg: Mapping[str, Any]
    loaders: tuple[str, ...]
    metrics: tuple[Mapping[str, Any], ...] = ()
    masks: bool = False

    @property
    def trained(self) -> bool:
        return 'train' in self.loaders and not self.cfg.get('test_mode')

    @property
    def evaluated(self) -> bool:
        return self.loaders != ('train',) or bool(self.cfg.get('test_mode'))

    @property
    def scored(self) -> bool:
        """Whether some metric needs the annotations."""
        return any(not metric.get('format_only') for metric in self.metrics)


def list_datasets(cfg: Mapping[str, Any], loaders: Sequence[str]) -> list[UsedDataset]:
    """The plain data sets of the loaders; the same files stand there once, under the first name."""
    found: dict[str, UsedDataset] = {}
    for loader in loaders:
        whole = cfg.get(f'{loader}_dataloader')
        for number, leaf in enumerate(leaves(whole['dataset']) if whole else ()):
            metrics = tuple(list_metrics(cfg, loader))
            masks = wants_masks(leaf) or any('segm' in listed(m.get('metric')) for m in metrics)
            name = f'{loader} {number + 1}' if number else loader
            key = repr([leaf.get(k) for k in _IDENTITY] + [value_range_of(leaf.get('pipeline'))])
            if key in found:
                used = found[key]
                used.loaders += (loader,)
                used.metrics += metrics
                used.masks |= masks
            else:
                found[key] = UsedDataset(name, leaf, (loader,), metrics, masks)
    return list(found.values())


def evaluated_leaves(
    cfg: Mapping[str, Any], loaders: Sequence[str]
) -> dict[str, list[Mapping[str, Any]]]:
    """The plain data sets of the loaders of validation and test."""
    wholes = {name: cfg.get(f'{name}_dataloader') for name in loaders if name != 'train'}
    return {name: leaves(whole['dataset']) for name, whole in wholes.items() if whole}


def alone(leaf: Mapping[str, Any]) -> UsedDataset:
    """A data set that nothing is known of but its own config."""
    loader = 'test' if leaf.get('test_mode') else 'train'
    return UsedDataset(loader, leaf, (loader,), masks=wants_masks(leaf))


def list_metrics(cfg: Mapping[str, Any], loader: str) -> list[Mapping[str, Any]]:
    """The configs of the metrics that evaluate a loader."""
    evaluator = cfg.get(f'{loader}_evaluator') or ()
    if isinstance(evaluator, Mapping) and 'metrics' in evaluator:
        evaluator = evaluator['metrics']
    return [metric for metric in listed(evaluator) if isinstance(metric, Mapping)]


def leaves(dataset_cfg: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The data sets inside `RepeatDataset`, `ClassBalancedDataset`, `ConcatDataset`, ..."""
    if kind(dataset_cfg) in _CHOOSING:
        return [dataset_cfg]
    if 'datasets' in dataset_cfg:
        return [leaf for item in dataset_cfg['datasets'] for leaf in leaves(item)]
    if 'dataset' in dataset_cfg:
        return leaves(dataset_cfg['dataset'])
    ann_file = dataset_cfg.get('ann_file')
    if isinstance(ann_file, (list, tuple)):  # MMDetection's ConcatDataset splits such a list
        return [{**dataset_cfg, 'ann_file': item} for item in ann_file]
    return [dataset_cfg]


def kind(cfg: Mapping[str, Any]) -> str:
    """A type's name without its scope, `mmdet.CocoDataset` -> `CocoDataset`."""
    return str(cfg.get('type')).split('.')[-1]


def is_classification(leaf: Mapping[str, Any]) -> bool:
    """Whether a data set has a label an image: ours, and MMPretrain's where that is imported."""
    with DATASETS.switch_scope_and_registry(classification_scope()) as known:
        return hasattr(known.get(str(leaf.get('type'))), 'get_gt_labels')


def classification_scope() -> str | None:
    """Where types of classification sets are looked for."""
    return 'mmpretrain' if 'mmpretrain' in sys.modules else None


def is_coco(leaf: Mapping[str, Any]) -> bool:
    """Whether a data set reads a COCO file of instances: `CocoDataset`, and types made from it."""
    if not leaf.get('ann_file') or is_segmentation(leaf) or is_classification(leaf):
        return False
    if kind(leaf) == 'CocoDataset':
        return True
    base, found = _registered({'type': 'CocoDataset'}), _registered(leaf)
    if base is None or found is None or not issubclass(found, base):
        return False
    reading = ('load_data_list', 'parse_data_info', 'COCOAPI')
    return all(getattr(found, name) is getattr(base, name) for name in reading)


def is_panoptic(leaf: Mapping[str, Any]) -> bool:
    """Whether a data set reads a panoptic file: `CocoPanopticDataset`, and types made from it."""
    if not leaf.get('ann_file') or is_segmentation(leaf):
        return False
    if kind(leaf) == 'CocoPanopticDataset':
        return True
    base, found = _registered({'type': 'CocoPanopticDataset'}), _registered(leaf)
    return base is not None and found is not None and issubclass(found, base)


def is_segmentation(dataset_cfg: Mapping[str, Any]) -> bool:
    """Whether a plain data set config is one of images and label maps."""
    prefixes = dataset_cfg.get('data_prefix')
    return isinstance(prefixes, Mapping) and 'seg_map_path' in prefixes


def is_remote(cfg: Mapping[str, Any]) -> bool:
    """Whether the files of a data set or a metric are somewhere else than on a local disk."""
    backend = (cfg.get('backend_args') or {}).get('backend', 'local')
    root = str(cfg.get('data_root') or '')
    return '://' in root or '://' in str(cfg.get('ann_file')) or backend not in ('local', 'disk')


def annotation_file(leaf: Mapping[str, Any]) -> str | None:
    """With its folder; None where the data set has none."""
    ann_file = leaf.get('ann_file')
    return _join(leaf.get('data_root') or '', ann_file) if ann_file else None


def folders(leaf: Mapping[str, Any]) -> dict[str, str]:
    """The folders that `data_prefix` names, by its keys."""
    root = leaf.get('data_root') or ''
    prefixes = leaf.get('data_prefix') or {}
    if not isinstance(prefixes, Mapping):  # MMPretrain's
        prefixes = dict(img=prefixes)
    return {key: _join(root, value) for key, value in prefixes.items() if value}


def locate_coco(leaf: Mapping[str, Any]) -> tuple[str, str, Sequence[str]]:
    """Annotation file, folder of images and class names of a `CocoDataset`'s config."""
    root = leaf.get('data_root') or ''
    return _join(root, leaf['ann_file']), folders(leaf).get('img', root), class_names(leaf) or ()


def class_names(leaf: Mapping[str, Any]) -> Sequence[str] | None:
    """The names in `metainfo`, else those of the data set's type; None where nobody says.

    Raises:
        DatasetError: for a string that is no file of names.
    """
    classes = meta_of(leaf, 'classes')
    if classes is None:
        return None
    if not isinstance(classes, str):
        return classes
    if Path(classes).is_file():  # as MMEngine reads it
        return Path(classes).read_text(encoding='utf-8').splitlines()
    raise DatasetError(
        f'metainfo has classes={classes!r}: a string is the name of a file with one class a line, '
        f"and there is no such file. Mend: for a single class write classes=('{classes}',)."
    )


def meta_of(leaf: Mapping[str, Any], key: str) -> Any:
    """An entry of `metainfo`, else of the type's own `METAINFO`; None where neither has it."""
    given = (leaf.get('metainfo') or {}).get(key)
    return getattr(_registered(leaf), 'METAINFO', {}).get(key) if given is None else given


def default_of(leaf: Mapping[str, Any], key: str) -> Any:
    """The default of an argument of the data set's type; None where it has none."""
    found = _registered(leaf)
    parameter = inspect.signature(found).parameters.get(key) if found else None
    return None if parameter is None or parameter.default is parameter.empty else parameter.default


def _registered(leaf: Mapping[str, Any]) -> Any:
    """The class of a data set; None where no toolbox knows it."""
    with DATASETS.switch_scope_and_registry('mmseg' if is_segmentation(leaf) else 'mmdet') as known:
        return known.get(str(leaf.get('type')))


def wants_masks(leaf: Mapping[str, Any]) -> bool:
    """Whether the pipeline loads the objects' masks."""
    return any(
        kind(step) == 'LoadAnnotations' and step.get('with_mask', False)
        for step in leaf.get('pipeline') or ()
    )


def _join(root: str, path: str) -> str:
    return os.path.join(root, path) if root else path


def check_layout(leaf: Mapping[str, Any]) -> None:
    """Raise, showing what was expected, if a folder or the annotation file is missing or empty."""
    root, ann_file, needed = leaf.get('data_root') or '', annotation_file(leaf), folders(leaf)
    problem = None
    if root and not Path(root).is_dir():
        problem = f'data folder {root} does not exist'
    elif root and not _has_entries(root):
        problem = f'data folder {root} is empty'
    elif ann_file is not None and not Path(ann_file).is_file():
        problem = f'annotation file {ann_file} does not exist'
    else:
        for folder in needed.values():
            if not Path(folder).is_dir():
                problem = f'folder {folder} does not exist'
            elif not _has_entries(folder):
                problem = f'folder {folder} is empty'
            if problem:
                break
    if problem is None:
        return
    expected = [*([ann_file] if ann_file else []), *(f'{f.rstrip("/")}/' for f in needed.values())]
    layout = '\n'.join(f'    {path}' for path in expected)
    raise DatasetError(
        f'{problem}. Expected are\n{layout}\nPut the data there, or name the folder that holds it: '
        f'--data-root FOLDER (data_root in the config). {QUICK_START}'
    )


def _has_entries(folder: str) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is not None


def listed(value: Any) -> Sequence[Any]:
    """A value that stands for a list of one."""
    return value if isinstance(value, (list, tuple)) else [value]
