"""Whether images are normalised as those that pre-trained weights were trained on.

The encoders differ: DeiT, DINO and MAE have ImageNet's mean and deviation, AugReg, BEiT and SigLIP
a half, CLIP and EVA statistics of their own. Weights work on images of other statistics, only
worse, so that nothing shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from timm.models import get_pretrained_cfg

_ENCODERS = ('TimmViT', 'TimmStages')
#: of 256 values; rounding to a decimal is no difference
_TOLERANCE = 1.0
#: What weights that MMEngine loads were trained with: mean, deviation, colours.
_IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), 'RGB')
_CAFFE = ((103.53, 116.28, 123.675), (1.0, 1.0, 1.0), 'BGR')
Statistics = tuple[tuple[float, ...], tuple[float, ...], str]


def find_other_statistics(cfg: Mapping[str, Any]) -> list[str]:
    """Encoders of a config whose images are not normalised as in their pre-training, in words.

    Args:
        cfg: a whole config, with `model` and, in it or beside it, `data_preprocessor`.

    Returns:
        a warning with both statistics and the mend for each; none when all agree, nothing is
        pre-trained, or nothing is known of the weights.
    """
    model = cfg.get('model') or {}
    found = {}
    for name, (mean, std, colours) in _pretrained(model):
        preprocessor = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
        ours = _of_preprocessor(preprocessor)
        if ours is not None and _agree(ours, (mean, std, colours)):
            continue
        here = 'not normalised at all'
        if ours is not None:
            here = f'normalised with mean {_shown(ours[0])}, std {_shown(ours[1])} in {ours[2]}'
            if max(ours[0]) <= 1 < max(mean):
                here += ', which is for images of 0 to 1 (they come with 0 to 255)'
        mend = f'mean={_shown(mean)}, std={_shown(std)}, bgr_to_rgb={colours == "RGB"}'
        found[name] = (
            f'the pre-trained weights of {name} were trained on images with mean {_shown(mean)}, '
            f'std {_shown(std)} in {colours}, but here images are {here}, which may cost accuracy. '
            f'Mend: data_preprocessor=dict({mend}).'
        )
    return list(found.values())


def _pretrained(part: Any) -> Iterator[tuple[str, Statistics]]:
    """Name and statistics of every pre-trained part of a model's config."""
    if isinstance(part, (list, tuple)):
        for item in part:
            yield from _pretrained(item)
    if not isinstance(part, Mapping):
        return
    kind = str(part.get('type')).split('.')[-1]
    if kind in _ENCODERS and part.get('pretrained') and part.get('model_name'):
        known = _of_timm(part['model_name'])
        if known is not None:
            yield part['model_name'], known
    checkpoint = str(part.get('checkpoint') or '')
    if kind == 'Pretrained' and checkpoint.startswith('torchvision://'):
        yield checkpoint, _IMAGENET
    if kind == 'Pretrained' and checkpoint.startswith('open-mmlab://') and 'caffe' in checkpoint:
        yield checkpoint, _CAFFE
    for value in part.values():
        yield from _pretrained(value)


def _of_timm(model_name: str) -> Statistics | None:
    record = get_pretrained_cfg(model_name)
    if record is None or not record.mean or not record.std:
        return None
    mean, std = (tuple(255 * value for value in values) for values in (record.mean, record.std))
    return mean, std, 'RGB'


def _of_preprocessor(preprocessor: Mapping[str, Any]) -> Statistics | None:
    """Loaders give BGR, and either switch turns the channels round."""
    mean, std = preprocessor.get('mean'), preprocessor.get('std')
    if not mean or not std:
        return None
    switches = ('bgr_to_rgb', 'rgb_to_bgr', 'to_rgb')  # the last is MMPretrain's
    turned = any(preprocessor.get(switch) for switch in switches)
    return tuple(mean), tuple(std), 'RGB' if turned else 'BGR'


def _agree(ours: Statistics, theirs: Statistics) -> bool:
    if ours[2] != theirs[2]:
        return False
    pairs = (pair for kind in (0, 1) for pair in zip(ours[kind], theirs[kind], strict=False))
    return all(abs(a - b) <= _TOLERANCE for a, b in pairs)


def _shown(values: Sequence[float]) -> str:
    return f'[{", ".join(f"{value:.6g}" for value in values)}]'
