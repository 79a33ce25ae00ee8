"""When two tasks see the same image: by how their pipelines and preprocessors were made.

Equal is what the settings say; no pixel is compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from vitadapter_dense.inference.description import described, digest, plain, type_and_tensors
from vitadapter_dense.inference.predictor import Predictor

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
    images: dict[str, Any] = {}
    inputs = {}
    for name, predictor in predictors.items():
        data = predictor.prepare(image_file)
        data['inputs'] = images.setdefault(_image_steps(predictor), data['inputs'])
        inputs[name] = data
    return inputs


def _image_steps(predictor: Predictor) -> str:
    """What a pipeline does to an image, as far as its settings tell."""
    told = []
    for cfg, step in zip(predictor.steps, predictor.pipeline.transforms, strict=True):
        name, settings = type(step).__name__, dict(cfg, type=None)
        if name in _ALIKE:
            told.append((name, plain(settings)))
        elif name not in _PACKING:
            told.append((f'{type(step).__module__}.{name}', plain(settings)))
    return digest(told)


def preprocessing_of(preprocessor: nn.Module) -> str:
    """What a model's preprocessor does to the images of a test, as far as its settings tell."""
    kind = f'{type(preprocessor).__module__.partition(".")[0]}.{type(preprocessor).__name__}'
    if preprocessor._forward_hooks or preprocessor._forward_pre_hooks:
        return digest(id(preprocessor))
    if kind == 'mmdet.DetDataPreprocessor':
        size, multiple = None, preprocessor.pad_size_divisor
    elif kind == 'mmseg.SegDataPreProcessor':
        of_test = preprocessor.test_cfg or {}
        size, multiple = of_test.get('size'), of_test.get('size_divisor') or 1
    else:
        return described(preprocessor)
    _, _, tensors = type_and_tensors(preprocessor)
    converts, filling = preprocessor._channel_conversion, preprocessor.pad_value
    return digest([tensors, converts, plain(size), multiple, filling])
