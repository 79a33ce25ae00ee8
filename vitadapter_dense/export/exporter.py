"""Exports a model: traced, written, tried on real images, described."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from vitadapter_dense.export.deformable_attention import TakenApart
from vitadapter_dense.export.description import (
    describe,
    description_path,
    divisor_of,
    sha256_of,
    window_of,
)
from vitadapter_dense.export.graphs import Graph, graph_of
from vitadapter_dense.export.programs import (
    OPSET,
    ExportError,
    Format,
    Run,
    check_format,
    trace,
    write,
)
from vitadapter_dense.export.sizes import Sizes
from vitadapter_dense.export.verification import (
    Check,
    check_detector,
    check_preparation,
    check_segmentor,
    inputs_of,
    turned,
)
from vitadapter_dense.export.written import NEEDS, runner_of
from vitadapter_dense.inference.predictor import Image, Predictor
from vitadapter_dense.reports.output_files import write_output
from vitadapter_dense.tuning.delta import tuned_backbones


def export(
    predictor: Predictor,
    out: Path,
    *,
    kind: Format,
    size: tuple[int, int] | None,
    checkpoint: Path,
    images: Sequence[Image],
    gather: bool = False,
    tolerance: float = 1e-3,
    command: str = 'export',
    say: Callable[[str], None] = lambda line: None,
) -> list[Check]:
    """Writes `out` and its description, `description_path(out)`.

    Args:
        predictor: the model, on the CPU.
        out: the file.
        kind: its format.
        size: (height, width) of its input; None for all sizes.
        checkpoint: where the model's weights came from.
        images: to try the file on.
        gather: deformable attention by gathers in place of `GridSample`; of ONNX alone.
        tolerance: the largest deviation, of the largest logit.
        command: who writes.
        say: is told what is done.

    Raises:
        ExportError: the model cannot be exported, or its file deviates; then none is left.
        OutputError: a file is there that another hand made.
    """
    model = predictor.model.eval()
    check_format(kind, model)
    graph = graph_of(model).eval()
    window = window_of(model)
    if window and size not in (None, tuple(window['size'])):
        given, wanted = ('x'.join(map(str, each)) for each in (size, window['size']))
        raise ExportError(f'size {given}: the model slides a window of {wanted}: take that')
    sizes = Sizes(
        size,
        divisor=divisor_of(model),
        batches=graph.task == 'semantic',
        smallest=max(64, getattr(graph, 'fewest_pixels', 64)),
    )
    about = describe(predictor, graph, sizes, checkpoint=checkpoint)
    prepared = [check_preparation(about, predictor, image) for image in images]
    _refuse_failed(prepared, 'its description does not prepare images as the model does')
    for line in merged(model):
        say(line)
    tried = list(inputs_of(predictor, images, sizes, window and window['size']))

    batch, height, width = sizes.traced
    example = [torch.rand(batch, 3, height, width)]
    if 'image_size' in graph.input_names:
        example.append(torch.tensor([height, width], dtype=torch.float32))
    apart = TakenApart(gather=gather) if kind == 'onnx' else None
    say('tracing')
    program = trace(graph, example, sizes, apart=apart)
    with write_output(out, command=command) as partial:
        say('writing')
        write(kind, program, partial, graph)
        say(f'trying it on {len(images)} images')
        run = runner_of(kind, partial)
        checks = [*prepared, *_checks(run, model, graph, tried, tolerance)]
        _refuse_failed(checks, 'the file does not compute what the model does')
        about.update(model_file=out.name, model_sha256=sha256_of(partial), model_format=kind)
    about['versions'] |= _versions(kind)
    about['needs'] = [] if kind == 'onnx' else list(NEEDS)
    about['deviations'] = [str(check) for check in checks]
    with write_output(description_path(out), command=command) as partial:
        partial.write_text(json.dumps(about, indent=2) + '\n', encoding='utf-8')
    return checks


def _refuse_failed(checks: Sequence[Check], message: str) -> None:
    wrong = [f'  {check}' for check in checks if not check.passed]
    if wrong:
        raise ExportError('\n'.join([f'{message}:', *wrong]))


def _checks(
    run: Run,
    model: nn.Module,
    graph: Graph,
    tried: Sequence[tuple[Tensor, tuple[int, int]]],
    tolerance: float,
) -> Iterator[Check]:
    for index, (images, real) in enumerate(tried):
        if graph.task == 'semantic':
            yield from check_segmentor(run, model, turned(images, index % 3 + 1), tolerance)
        else:
            yield from check_detector(run, model, graph, images, real, tolerance)


def merged(model: nn.Module) -> list[str]:
    """Folds into the weights the tuning methods that can be; tells what became of each."""
    lines = []
    for name, backbone in tuned_backbones(model):
        method = type(backbone.tuning).__name__
        try:
            backbone.tuning.merge()
            lines.append(f'{name}: {method} merged into the weights')
        except TypeError:
            lines.append(f'{name}: {method} stays inside')
    return lines


def _versions(kind: Format) -> dict[str, str | int]:
    if kind != 'onnx':
        return {}
    packages = {name: version(name) for name in ('onnx', 'onnxscript', 'onnxruntime')}
    return dict(packages, opset=OPSET)
