"""Compare the heads in a model's config with the classes of its data.

MMSegmentation trains a head of 150 classes on data of 20 without a word, and a `class_weight` of
another length ends in an error of torch in the first loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vitadapter_dense.datasets.check_losses import broken_losses, other_ignored_label

_SEGMENTATION_HEADS = ('decode_head', 'auxiliary_head')
_HEADS = (*_SEGMENTATION_HEADS, 'bbox_head', 'mask_head')


def find_disagreements(model_cfg: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    """What the heads of a segmentor or a detector have otherwise than the data, in words.

    Args:
        model_cfg: the model's config; a head that does not name `num_classes` is left alone.
        classes: names of the data set's classes.

    Returns:
        a message with its mend for each disagreement; none when all agree.
    """
    found = []
    for name, head in _heads(model_cfg, 'model'):
        number = head.get('num_classes')
        if number is None:
            continue
        if number != len(classes):
            found.append(_different_numbers(name, number, classes))
        if name.startswith(tuple(f'model.{kind}' for kind in _SEGMENTATION_HEADS)):
            wrong = [
                *_different_weights(name, head),
                *other_ignored_label(name, head, model_cfg.get('data_preprocessor') or {}),
            ]
            found += wrong or broken_losses(name, head)
    return found


def _heads(part: Mapping[str, Any], name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every head with its dotted name; those of a list one by one."""
    for key, value in part.items():
        listed = isinstance(value, (list, tuple))
        for number, item in enumerate(value if listed else [value]):
            if isinstance(item, Mapping):
                path = f'{name}.{key}.{number}' if listed else f'{name}.{key}'
                if key in _HEADS:
                    yield path, item
                yield from _heads(item, path)


def _different_numbers(name: str, number: int, classes: Sequence[str]) -> str:
    shown = ', '.join(map(str, classes[:4])) + (', ...' if len(classes) > 4 else '')
    return (
        f'{name}.num_classes is {number}, but the data set has {len(classes)} classes ({shown}). '
        f'Mend: set num_classes={len(classes)} in every head (with Mask2Former also '
        'loss_cls.class_weight, one longer), or correct metainfo.classes.'
    )


def _different_weights(name: str, head: Mapping[str, Any]) -> list[str]:
    """`loss_cls` is Mask2Former's and has an output for 'no object' besides the classes."""
    outputs = dict(loss_decode=head.get('out_channels') or head['num_classes'])
    outputs['loss_cls'] = head['num_classes'] + 1
    found = []
    for loss, expected in outputs.items():
        losses = head.get(loss) or ()
        for item in [losses] if isinstance(losses, Mapping) else losses:
            weights = item.get('class_weight')
            if isinstance(weights, (list, tuple)) and len(weights) != expected:
                more = " (one for each class, and one for 'no object')" * (loss == 'loss_cls')
                found.append(
                    f'{name}.{loss}.class_weight has {len(weights)} entries, but the head has '
                    f'{expected} outputs. Mend: give {expected} of them{more}.'
                )
    return found
