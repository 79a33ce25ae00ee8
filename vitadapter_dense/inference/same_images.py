"""When two tasks see the same image: by how their pipelines and preprocessors were made.

Equal is what the settings say; no pixel is compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from vitadapter_dense.inference.predictor import Predictor
from vitadapter_dense.inference.same_function import same_function, same_values

_PACKING = ('PackDetInputs', 'PackSegInputs')
# steps that both toolboxes have, and that treat an image alike there
_ALIKE = ('LoadImageChecked', 'LoadImageFromFile', 'Resize')


def prepare_together(
    predictors: Mapping[str, Predictor], image_file: str | Path
) -> dict[str, dict[str, Any]]:
    """Reads an image for several tasks; those whose pipelines make the same of it get one tensor.

    Args:
        predictors: by the names of their tasks.
        image_file: the image.

    Returns:
        What ``MultiTaskModel.predict`` takes.
    """
    inputs: dict[str, dict[str, Any]] = {}
    for name, predictor in predictors.items():
        data = predictor.prepare(image_file)
        for other, known in inputs.items():
            if same_values(_image_steps(predictor), _image_steps(predictors[other])):
                data['inputs'] = known['inputs']
                break
        inputs[name] = data
    return inputs


def _image_steps(predictor: Predictor) -> list[Any]:
    """What a pipeline does to an image, as far as its settings tell."""
    told = []
    for cfg, step in zip(predictor.steps, predictor.pipeline.transforms, strict=True):
        kind = type(step)
        if kind.__name__ not in _PACKING:
            told.append((kind.__name__ if kind.__name__ in _ALIKE else kind, dict(cfg, type=None)))
    return told


def same_preprocessing(one: nn.Module, other: nn.Module) -> bool:
    """Whether two preprocessors do the same to the images of a test, as far as settings tell."""
    if any(each._forward_hooks or each._forward_pre_hooks for each in (one, other)):
        return one is other
    settings = _of_images(one), _of_images(other)
    return same_function(one, other) if None in settings else same_values(*settings)


def _of_images(preprocessor: nn.Module) -> list[Any] | None:
    """What a toolbox's preprocessor does to the images of a test; ``None`` for any other."""
    kind = f'{type(preprocessor).__module__.partition(".")[0]}.{type(preprocessor).__name__}'
    if kind == 'mmdet.DetDataPreprocessor':
        size, multiple = None, preprocessor.pad_size_divisor
    elif kind == 'mmseg.SegDataPreProcessor':
        of_test = preprocessor.test_cfg or {}
        size, multiple = of_test.get('size'), of_test.get('size_divisor') or 1
    else:
        return None
    converts, filling = preprocessor._channel_conversion, preprocessor.pad_value
    return [dict(preprocessor._buffers), converts, size, multiple, filling]
