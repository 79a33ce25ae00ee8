"""What a program must know of an exported model that is not in its file: the JSON beside it."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from vitadapter_dense.export.graphs import Graph
from vitadapter_dense.export.sizes import Sizes
from vitadapter_dense.inference.predictor import Predictor

FORMAT = 'vitadapter_dense.export/1'


def describe(
    predictor: Predictor, graph: Graph, sizes: Sizes, *, checkpoint: str | Path
) -> dict[str, Any]:
    """The description of a model, but for what is only known once its file is written.

    Raises:
        ValueError: the test pipeline or the preprocessing has a part that cannot be described, or
            classes lack names.
    """
    names = predictor.names or tuple(map(str, range(graph.num_classes)))
    if len(names) < graph.num_classes:
        raise ValueError(
            f'the model tells {graph.num_classes} classes apart, and {len(names)} have names: '
            f'{", ".join(names)}. Mend: `metainfo` of the test data names all of them'
        )
    model, meta = predictor.model, predictor.dataset_meta
    test_cfg = model.test_cfg or {}
    rcnn = test_cfg.get('rcnn', {})
    one_score = graph.task == 'semantic' and model.out_channels == 1
    return dict(
        format=FORMAT,
        task=graph.task,
        model=type(model).__name__,
        input=sizes.as_json(),
        **_preprocessing(model.data_preprocessor),
        **_resizing(predictor.steps),
        window=window_of(model),
        inputs=list(graph.input_names),
        outputs=list(graph.output_names),
        classes=list(names),
        palette=[list(map(int, colour)) for colour in meta.get('palette') or ()],
        align_corners=bool(getattr(model, 'align_corners', False)),
        threshold=float(model.decode_head.threshold) if one_score else None,
        score_threshold=rcnn.get('score_thr'),
        mask_threshold=rcnn.get('mask_thr_binary'),
        checkpoint=dict(name=Path(checkpoint).name, sha256=sha256_of(checkpoint)),
        versions={name: sys.modules[name].__version__ for name in ('vitadapter_dense', 'torch')},
    )


def description_path(out: Path) -> Path:
    """Where the description of a file lies."""
    return out.with_name(f'{out.name}.json')


def window_of(model: nn.Module) -> dict[str, list[int]] | None:
    """Size and stride (height, width) of the windows of a segmentor that slides."""
    test_cfg = model.test_cfg or {}
    if test_cfg.get('mode') != 'slide':
        return None
    return dict(size=list(test_cfg['crop_size']), stride=list(test_cfg['stride']))


def divisor_of(model: nn.Module) -> int:
    """What images are padded to multiples of before a model sees them; 1 where they are not."""
    preprocessor = model.data_preprocessor
    in_tests = getattr(preprocessor, 'test_cfg', None) or {}  # MMSegmentation's
    if hasattr(model, 'decode_head'):
        return int(in_tests.get('size_divisor') or 1)
    return int(preprocessor.pad_size_divisor)


def sha256_of(path: str | Path) -> str:
    """The hash of a file."""
    with Path(path).open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _resizing(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the test pipeline makes of an image's size."""
    resize, multiple = None, None
    for step in steps:
        kind = step['type'].rpartition('.')[2]
        if kind.startswith('LoadImage'):
            if step.get('value_range') is not None or step.get('to_float32'):
                raise ValueError(
                    f'{kind} with value_range or to_float32 cannot be exported: exported models '
                    f'read images of 8 bits'
                )
        elif kind == 'Resize' and resize is None and multiple is None:
            scale = step.get('scale')
            if not isinstance(scale, (tuple, list)) or step.get('interpolation', 'bilinear') != (
                'bilinear'
            ):
                raise ValueError(
                    f'{dict(step)} of the test pipeline cannot be exported: it needs '
                    f'a scale of two numbers and bilinear interpolation'
                )
            resize = dict(scale=list(scale), keep_ratio=bool(step.get('keep_ratio', False)))
        elif kind == 'ResizeToMultiple' and multiple is None:
            multiple = int(step.get('size_divisor', 32))
        elif not kind.startswith('Pack'):
            raise ValueError(
                f'{kind} of the test pipeline cannot be exported: exported models know Resize and '
                f'ResizeToMultiple'
            )
    return dict(resize=resize, resize_to_multiple=multiple)


def _preprocessing(preprocessor: nn.Module) -> dict[str, Any]:
    """Normalisation and padding of a toolbox's preprocessor."""
    normalises = getattr(preprocessor, '_enable_normalize', False)
    swaps = getattr(preprocessor, '_channel_conversion', False)
    swaps = swaps or getattr(preprocessor, 'channel_conversion', False)
    padding = getattr(preprocessor, 'pad_value', getattr(preprocessor, 'pad_val', 0))
    return dict(
        mean=preprocessor.mean.flatten().tolist() if normalises else [0.0] * 3,
        std=preprocessor.std.flatten().tolist() if normalises else [1.0] * 3,
        channel_order='rgb' if swaps else 'bgr',
        pad_value=float(padding),
    )
