"""From a model to a program of `torch.export`, and from that to a file, and back."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

from vitadapter_dense.export.deformable_attention import TakenApart
from vitadapter_dense.export.graphs import Graph
from vitadapter_dense.export.sizes import Sizes
from vitadapter_dense.export.substitutes import traceable

Format: TypeAlias = Literal['onnx', 'pt2', 'aoti']
Run: TypeAlias = Callable[[Mapping[str, np.ndarray]], Sequence[np.ndarray]]

OPSET = 20  # the first with GELU
_MOST_BYTES = 2**31 - 2**24  # of an ONNX file, whose format counts in 31 bits


class ExportError(ValueError):
    """A model that cannot be exported, or whose file does not compute what it does."""


def check_format(kind: Format, model: nn.Module) -> None:
    """Makes sure, before any work, that files of this format can be written here.

    Raises:
        ExportError: a package or a compiler is missing, or the model is too large.
    """
    if kind == 'onnx':
        for package in ('onnx', 'onnxscript', 'onnxruntime'):
            try:
                __import__(package)
            except ImportError as error:
                raise ExportError(
                    f"--format onnx needs {package}: pip install 'vitadapter_dense[export]'"
                ) from error
        weights = sum(t.numel() * t.element_size() for t in model.state_dict().values())
        if weights > _MOST_BYTES:
            raise ExportError(
                f'the weights are {weights / 1e9:.1f} GB, and an ONNX file holds 2.1: take '
                f'--format pt2'
            )
    if kind == 'aoti':
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except InvalidCxxCompiler as error:
            raise ExportError(
                '--format aoti needs a C++ compiler, and there is none: install g++, or name one '
                'in the environment variable CXX'
            ) from error


def trace(
    graph: nn.Module, inputs: Sequence[torch.Tensor], sizes: Sizes, *, apart: TakenApart | None
) -> ExportedProgram:
    """The program of a graph.

    Args:
        graph: in eval mode.
        inputs: examples, of the sizes that `sizes.traced` names.
        sizes: what may change.
        apart: what `msda`'s operators become; None keeps them.

    Raises:
        ExportError: names the module that cannot be traced.
    """
    axes = (sizes.dynamic_shapes or None, *([None] * (len(inputs) - 1)))
    try:
        with torch.no_grad(), traceable(graph), warnings.catch_warnings(), apart or nullcontext():
            warnings.simplefilter('ignore')
            program = torch.export.export(graph, tuple(inputs), dynamic_shapes=axes)
    except Exception as error:
        where = _module_of(graph, error.__traceback__)
        mend = '' if sizes.fixed else '. Mend: a fixed size, as --size 512x512'
        raise ExportError(
            f'{where} cannot be traced: {type(error).__name__}: {beginning(error)}{mend}'
        ) from error
    # The guards say for which sizes the trace took the right branches. An equality that another
    # size breaks is a size that became a number, as by `int` or `float`. The others are that a map
    # is not as large as a position embedding, which would not be resampled then, to the same
    # numbers; kept, they would make the traced size the only one.
    broken = _equal_only_when_traced(program, inputs, sizes)
    if broken:
        raise ExportError(
            f'{type(graph).__name__} cannot be exported for open sizes, as it takes one for a '
            f'number: {broken[0]}. Mend: a fixed size, as --size 512x512'
        )
    program._guards_code = []
    return program


def _equal_only_when_traced(
    program: ExportedProgram, inputs: Sequence[torch.Tensor], sizes: Sizes
) -> list[str]:
    names = program.graph_signature.user_inputs
    other = list(inputs[0].shape)
    for axis in sizes.dynamic_shapes:
        other[axis] = 3 if axis == 0 else sizes.padded(101 + 64 * axis)
    tensors = [torch.empty(other, device='meta'), *inputs[1:]]
    known = dict(L=dict(zip(names, tensors, strict=True)), torch=torch)
    equalities = [code for code in program._guards_code if '==' in code]
    return [code for code in equalities if not eval(code, {}, known)]


def write(kind: Format, program: ExportedProgram, path: Path, graph: Graph) -> None:
    """Writes a program.

    Raises:
        ExportError: it has an operator that the format lacks.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        if kind == 'onnx':
            _write_onnx(program, path, graph)
        elif kind == 'pt2':
            torch.export.save(program, path)
        else:
            from torch._inductor import aoti_compile_and_package

            aoti_compile_and_package(program, package_path=str(path))


def _write_onnx(program: ExportedProgram, path: Path, graph: Graph) -> None:
    try:
        written = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(graph.input_names),
            output_names=list(graph.output_names),
            verbose=False,
        )
    except Exception as error:
        raise ExportError(f'no ONNX operators for this model: {beginning(error)}') from error
    domains = {node.domain for node in written.model.graph if node.domain not in ('', 'ai.onnx')}
    if domains:
        raise ExportError(f'operators of other domains than ONNX: {", ".join(sorted(domains))}')
    try:
        written.save(str(path), external_data=False)
    except Exception as error:  # beyond 2 GB; weights alone are counted before
        raise ExportError(
            f'no ONNX file can be written: {beginning(error)}; it holds at most 2.1 GB. Mend: '
            f'--format pt2'
        ) from error


def _module_of(graph: nn.Module, traceback: TracebackType | None) -> str:
    """Name and type of the innermost module of a traceback."""
    names = {id(module): name for name, module in graph.named_modules()}
    found = f'{type(graph).__name__}'
    while traceback is not None:
        module = traceback.tb_frame.f_locals.get('self')
        module = traceback.tb_frame.f_locals.get('module') if module is None else module
        if isinstance(module, nn.Module) and names.get(id(module)):
            found = f'{names[id(module)].removeprefix("model.")} ({type(module).__name__})'
        traceback = traceback.tb_next
    return found


def beginning(error: Exception) -> str:
    """The beginning of what an error says, in one line."""
    words = ' '.join(str(error).split())
    return words[:300] or type(error).__name__
