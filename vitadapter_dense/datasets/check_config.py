"""What does not fit together in a configuration: its model, its data sets and its evaluators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .check_choices import find_few_results
from .check_evaluators import ConfigFindings, find_evaluator_faults
from .check_heads import find_disagreements, find_other_depths
from .check_queries import find_other_levels
from .coco_summary import some
from .dataset_configs import UsedDataset, class_names, default_of, is_coco, is_segmentation, meta_of


def inspect_config(
    cfg: Mapping[str, Any], datasets: Sequence[UsedDataset], loaders: Sequence[str]
) -> ConfigFindings:
    """Look at nothing but the configuration, and the annotation files of its evaluators.

    Args:
        datasets: of the loaders, as `list_datasets` gives them.
    """
    findings = ConfigFindings()
    findings.errors += _different_labels(datasets)
    model = cfg.get('model') or {}
    findings.errors += [
        *find_other_depths(model),
        *find_other_levels(model),
        *find_few_results(model),
    ]
    for used in datasets:
        classes = class_names(used.cfg)
        if classes:
            findings.errors += find_disagreements(
                model,
                classes,
                things=_count_things(used),
                scope=cfg.get('default_scope'),
                trains='train' in loaders,
            )
    for loader in loaders:
        if loader != 'train':
            find_evaluator_faults(cfg, loader, findings=findings)
    findings.errors = list(dict.fromkeys(findings.errors))
    findings.warnings = list(dict.fromkeys(findings.warnings))
    return findings


def _count_things(used: UsedDataset) -> int | None:
    """How many classes are objects; None where the data set does not say."""
    if is_coco(used.cfg):
        return len(class_names(used.cfg) or ())
    things = None if is_segmentation(used.cfg) else meta_of(used.cfg, 'thing_classes')
    return len(things) if things else None


def _different_labels(datasets: Sequence[UsedDataset]) -> list[str]:
    """A label must mean the same in training and in evaluation."""
    found = []
    known = [(used, tuple(class_names(used.cfg) or ())) for used in datasets]
    known = [(used, classes) for used, classes in known if classes]
    for used, classes in known[1:]:
        first, expected = known[0]
        if classes != expected:
            found.append(
                f'the classes of {used.name} ({some(classes)}) are others than those of '
                f'{first.name} ({some(expected)}), or in another order: labels would be mixed up. '
                'Mend: give both the same metainfo.'
            )
    maps = [used for used in datasets if is_segmentation(used.cfg)]
    for used in maps[1:]:
        values = [_reduced(one) for one in (maps[0], used)]
        if values[0] != values[1] and used.cfg.get('type') == maps[0].cfg.get('type'):
            found.append(
                f'{maps[0].name} has reduce_zero_label={values[0]} and {used.name} has '
                f'{values[1]}: every class would be shifted in one of them. Mend: give both the '
                'same.'
            )
    return found


def _reduced(used: UsedDataset) -> bool | None:
    """As the config says, else the default of the data set's type."""
    return used.cfg.get('reduce_zero_label', default_of(used.cfg, 'reduce_zero_label'))
