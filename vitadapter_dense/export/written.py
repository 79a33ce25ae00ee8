"""Written files at work: ONNX in onnxruntime, and packages, which need Python packages imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitadapter_dense.export.description import description_path, sha256_of
from vitadapter_dense.export.programs import ExportError, Format, Run, beginning
from vitadapter_dense.inference.exported import read_description

NEEDS = ('msda', 'torchvision')  # whose operators stand in packages, defined in Python


def load_package(path: str | Path) -> Callable[..., Sequence[Tensor]]:
    """A `pt2` or `aoti` file of `tools/export.py` as a function of tensors.

    Where only torch, torchvision and `msda` are installed, import these two and take
    `torch.export.load(path).module()` or `torch._inductor.aoti_load_package(path)`.

    Args:
        path: the file; its JSON lies beside it.

    Raises:
        FileNotFoundError: one of the two is missing.
        DescriptionError: the JSON is none.
        ExportError: it is an ONNX file, another file than the JSON's, or a package is missing.
    """
    path = Path(path)
    for file in (path, description_path(path)):
        if not file.is_file():
            raise FileNotFoundError(f'there is no file {file}')
    about = read_description(description_path(path))
    kind = about.get('model_format')
    if kind not in ('pt2', 'aoti'):
        raise ExportError(f'{path} is no package but {kind}: ExportedPredictor runs ONNX')
    if sha256_of(path) != about['model_sha256']:
        raise ExportError(f'{description_path(path)} describes another model: their hashes differ')
    return loaded(kind, path)


def loaded(kind: Format, path: Path) -> Callable[..., Any]:
    """A package, once its operators are known.

    Raises:
        ExportError: who defines them is not installed.
    """
    for name in NEEDS:
        try:
            import_module(name)
        except ImportError as error:
            raise ExportError(
                f'{path} computes with operators that {name} defines, which is not installed here'
            ) from error
    if kind == 'aoti':
        function = torch._inductor.aoti_load_package(str(path))
    else:
        function = torch.export.load(path).module(check_guards=False)
    return torch.no_grad()(lambda *tensors: function(*tensors))


def runner_of(kind: Format, path: Path) -> Run:
    """Runs a written file on named arrays.

    Raises:
        ExportError: onnxruntime does not take it.
    """
    if kind == 'onnx':
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        try:
            session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
        except Exception as error:
            raise ExportError(
                f'onnxruntime {onnxruntime.__version__} does not take the file: {beginning(error)}'
            ) from error
        return lambda inputs: session.run(None, dict(inputs))
    function = loaded(kind, path)

    def run(inputs: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        outputs = function(*map(torch.from_numpy, inputs.values()))
        return [output.numpy() for output in outputs]

    return run
