"""Compare the heads in a model's config with the classes of its data.

The toolboxes train a head of 150 classes on data of 20 without a word; one of 20 on data of 150
ends in an index error, and a `class_weight` of another length in an error of torch in the first
loss. A head that does not say its number has the default of its type: 80 in MMDetection.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vitadapter_dense.datasets.check_losses import broken_losses, other_ignored_label

_SEGMENTATION_HEADS = ('decode_head', 'auxiliary_head')
#: With MMDetection's things and stuff. A `semantic_head` of HTC has classes of its own maps.
_PANOPTIC_HEADS = ('panoptic_head', 'panoptic_fusion_head', 'semantic_head')
_DETECTION_HEADS = ('bbox_head', 'mask_head', 'mask_iou_head', 'point_head', 'segm_head')
_DETECTION_HEADS += ('query_head',)
_HEADS = (*_SEGMENTATION_HEADS, *_PANOPTIC_HEADS, *_DETECTION_HEADS)


def find_disagreements(
    model_cfg: Mapping[str, Any],
    classes: Sequence[str],
    *,
    things: int | None = None,
    scope: str | None = None,
    trains: bool = True,
) -> list[str]:
    """What the heads of a segmentor or a detector have otherwise than the data, in words.

    Args:
        model_cfg: the model's config.
        classes: names of the data set's classes.
        things: how many of them, the first ones, are countable; None where the data do not say.
        scope: the toolbox of the model, `mmdet` or `mmseg`, whose types have defaults; without it,
            a head that does not name its number is left alone.
        trains: losses and the label that they ignore are looked at, which an evaluation does
            without.

    Returns:
        a message with its mend for each disagreement; none when all agree.
    """
    found = []
    for key, name, head in _heads(model_cfg, 'model'):
        if key in _PANOPTIC_HEADS:
            found += _panoptic(name, head, classes, things=things, scope=scope)
            continue
        number = _number(head, 'num_classes', scope)
        if number is None:
            continue
        if number != len(classes) and not head.get('class_agnostic'):
            found.append(_different_numbers(f'{name}.num_classes', number, classes))
        outputs = dict(loss_cls=number + 1)
        segments = key in _SEGMENTATION_HEADS
        if segments:  # `loss_cls` is Mask2Former's, with one for 'no object'
            outputs['loss_decode'] = head.get('out_channels') or number
            found += _single_class(name, number, classes)
        wrong = _different_losses(name, head, outputs, classes)
        if segments and trains:
            wrong += other_ignored_label(name, head, model_cfg.get('data_preprocessor') or {})
            wrong = wrong or broken_losses(name, head)
        found += wrong
    return found


def find_other_depths(model_cfg: Mapping[str, Any]) -> list[str]:
    """A mask decoder for another number of maps, or of blocks, than its backbone gives."""
    backbone = model_cfg.get('backbone') or {}
    found = []
    for key in ('decode_head', 'panoptic_head'):
        head = model_cfg.get(key)
        decoder = head.get('decoder') if isinstance(head, Mapping) else None
        if not isinstance(decoder, Mapping):
            continue
        given, taken = backbone.get('out_indices'), decoder.get('in_channels')
        if given is not None and taken is not None and len(given) != len(taken):
            found.append(
                f'model.backbone.out_indices={list(given)} gives {len(given)} maps, but '
                f'model.{key}.decoder.in_channels={list(taken)} takes {len(taken)}. Mend: as many '
                f'channels as depths, the width of the encoder for each.'
            )
        given, taken = backbone.get('open_blocks'), decoder.get('num_blocks')
        if given is not None and taken != given:
            found.append(
                f'model.backbone.open_blocks is {given}, but model.{key}.decoder.num_blocks is '
                f'{taken}. Mend: the same number for both.'
            )
    return found


def _single_class(name: str, number: int, classes: Sequence[str]) -> list[str]:
    """MMSegmentation builds such a head, and its IoU counts every pixel as of the class."""
    if not number == len(classes) == 1:
        return []
    return [
        f'{name}.num_classes is 1: a segmentor of one class has nothing to tell {classes[0]} from. '
        f"Mend: metainfo.classes=('background', '{classes[0]}') with labels 0 and 1, and in every "
        'head num_classes=2, or num_classes=2 with out_channels=1 and a loss with use_sigmoid=True.'
    ]


def _heads(part: Mapping[str, Any], name: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Every head with its key and its dotted name; those of a list one by one."""
    for key, value in part.items():
        listed = isinstance(value, (list, tuple))
        for number, item in enumerate(value if listed else [value]):
            if isinstance(item, Mapping):
                path = f'{name}.{key}.{number}' if listed else f'{name}.{key}'
                if key in _HEADS:
                    yield key, path, item
                yield from _heads(item, path)


def _number(head: Mapping[str, Any], key: str, scope: str | None) -> int | None:
    """What a head says, else the default of its type; None where it takes no such argument."""
    if head.get(key) is not None or scope is None or 'type' not in head:
        return head.get(key)
    from mmengine.registry import MODELS

    with MODELS.switch_scope_and_registry(scope) as registry:
        kind = registry.get(head['type']) if isinstance(head['type'], str) else head['type']
    for base in getattr(kind, '__mro__', ()):
        parameter = inspect.signature(base.__init__).parameters.get(key)
        if parameter is not None:
            return parameter.default if isinstance(parameter.default, int) else None
    return None


def _panoptic(
    name: str,
    head: Mapping[str, Any],
    classes: Sequence[str],
    *,
    things: int | None,
    scope: str | None,
) -> list[str]:
    """Things and stuff are all classes; what lies beyond the things is never an object."""
    numbers = [_number(head, f'num_{what}_classes', scope) for what in ('things', 'stuff')]
    if None in numbers:
        return []
    found = []
    if things is not None and numbers[0] != things:
        path = f'{name}.num_things_classes'
        found.append(_different_numbers(path, numbers[0], classes[:things], of='things'))
    if sum(numbers) != len(classes):
        path = f'{name}.num_things_classes + num_stuff_classes'
        found.append(_different_numbers(path, sum(numbers), classes))
    return found + _different_losses(name, head, dict(loss_cls=sum(numbers) + 1), classes)


def _different_numbers(
    name: str, number: int, classes: Sequence[str], *, of: str = 'classes'
) -> str:
    shown = ', '.join(map(str, classes[:4])) + (', ...' if len(classes) > 4 else '')
    mend = f'num_classes={len(classes)} in every head'
    if of == 'things':
        mend = f'num_things_classes={len(classes)} in panoptic_head and panoptic_fusion_head'
    elif 'num_stuff_classes' in name:
        mend = f'both in panoptic_head and panoptic_fusion_head, with the sum {len(classes)}'
    return (
        f'{name} is {number}, but the data set has {len(classes)} {of} ({shown}). '
        f'Mend: set {mend} (with Mask2Former also loss_cls.class_weight, one longer), or correct '
        'metainfo.classes.'
    )


def _different_losses(
    name: str, head: Mapping[str, Any], outputs: Mapping[str, int], classes: Sequence[str]
) -> list[str]:
    """Losses that have another number of weights, or of classes, than the head has outputs."""
    found = []
    for loss, number in outputs.items():
        losses = head.get(loss) or ()
        for item in [losses] if isinstance(losses, Mapping) else losses:
            weights, own = item.get('class_weight'), item.get('num_classes')
            sigmoid = loss == 'loss_cls' and item.get('use_sigmoid', False)
            expected = number - 1 if sigmoid else number
            if isinstance(weights, (list, tuple)) and len(weights) != expected:
                more = " (one for each class, and one for 'no object')"
                more *= loss == 'loss_cls' and not sigmoid
                found.append(
                    f'{name}.{loss}.class_weight has {len(weights)} entries, but the head has '
                    f'{expected} outputs. Mend: give {expected} of them{more}.'
                )
            if own is not None and own != len(classes):  # Seesaw's and EQL's
                found.append(_different_numbers(f'{name}.{loss}.num_classes', own, classes))
    return found
