"""The forms that a model can run in, as something to time: eager, compiled, exported.

All compute the same: what an exported file does, segmentors' logits (of one window, where they
slide), detectors' objects, or the maps of the backbone alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from vitadapter_cli import load_config
from vitadapter_dense.export.deformable_attention import TakenApart
from vitadapter_dense.export.description import divisor_of
from vitadapter_dense.export.graphs import graph_of
from vitadapter_dense.export.programs import ExportError, Format, check_format, trace, write
from vitadapter_dense.export.sizes import Sizes
from vitadapter_dense.export.written import loaded
from vitadapter_dense.inference.predictor import build_model
from vitadapter_dense.training.float32_predictions import keep_predictions_float32

Form: TypeAlias = Literal['eager', 'compiled', 'aoti', 'onnx', 'gather']
Call: TypeAlias = Callable[[Sequence[Tensor]], Sequence[Any]]

FORMATS: dict[str, Format] = {'aoti': 'aoti', 'onnx': 'onnx', 'gather': 'onnx'}  # of files
NARROW = ('eager', 'compiled')  # those that compute in 16 bits, too
_INPUTS = 4  # images that take turns, so that no cache holds the only one


@dataclass(frozen=True)
class Case:
    """What is timed.

    Args:
        config: a configuration file.
        options: that change it.
        part: the whole model or its backbone.
        size: (height, width) of the images.
        batch: how many at once.
        dtype: what layers compute in.
        device: a name of torch's.
        threads: of torch and onnxruntime.
    """

    config: str
    options: dict[str, Any] = field(default_factory=dict)
    part: Literal['model', 'backbone'] = 'model'
    size: tuple[int, int] = (512, 512)
    batch: int = 1
    dtype: str = 'float32'
    device: str = 'cpu'
    threads: int = 1

    def __str__(self) -> str:
        height, width = self.size
        return f'{self.batch} x {height} x {width}, {self.dtype}'


class BackboneGraph(nn.Module):
    """Images `(B, 3, H, W)` -> the maps of a backbone."""

    task = 'maps'
    input_names = ('images',)
    output_names = ()  # as many as there are: ONNX numbers them

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.model = backbone

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The maps."""
        return tuple(self.model(images))


def check_form(form: Form, device: str) -> None:
    """Makes sure, before any work, that a form can be had here.

    Raises:
        ExportError: what is missing.
    """
    if form in FORMATS:
        check_format(FORMATS[form], nn.Identity())
    elif form == 'compiled' and device == 'cpu':
        check_format('aoti', nn.Identity())  # a compiler, too
    if FORMATS.get(form) == 'onnx' and device != 'cpu':
        import onnxruntime

        if 'CUDAExecutionProvider' not in onnxruntime.get_available_providers():
            raise ExportError(
                f'{form}: this onnxruntime computes on the CPU alone; on a GPU it needs '
                f'onnxruntime-gpu'
            )


def random_graph(case: Case) -> nn.Module:
    """The graph of a configuration with random weights, the same ones in every process.

    Raises:
        ValueError: a model that there is no graph for, or a size or batch that it does not take.
    """
    cfg = load_config(case.config, options=case.options)
    torch.manual_seed(0)
    graph = (_backbone if case.part == 'backbone' else _model)(cfg)
    with torch.no_grad():
        for parameter in graph.parameters():
            if not parameter.any():  # injectors and biases start at zero: without them all is plain
                parameter.copy_(0.1 * torch.randn(parameter.shape))
    if graph.task == 'instances' and case.batch > 1:
        raise ValueError(f'--batch {case.batch}: the graphs of detectors take one image')
    if case.part == 'model':
        Sizes(case.size, divisor=divisor_of(graph.model))
    return graph.eval().to(case.device)


def _backbone(cfg: Config) -> nn.Module:
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    return BackboneGraph(revert_sync_batchnorm(MODELS.build(copy.deepcopy(cfg.model.backbone))))


def _model(cfg: Config) -> nn.Module:
    model = revert_sync_batchnorm(build_model(cfg))
    try:
        return graph_of(model.eval())
    except ValueError as error:
        raise ValueError(f'{error}. Mend: --part backbone') from error


def inputs_of_case(case: Case, names: Sequence[str]) -> list[list[Tensor]]:
    """What the calls take, one after another; detectors are told the images' own size."""
    generator = torch.Generator().manual_seed(0)
    shape = (case.batch, 3, *case.size)
    images = [torch.randn(shape, generator=generator).to(case.device) for _ in range(_INPUTS)]
    return [_with_size(names, each) for each in images]


def _with_size(names: Sequence[str], images: Tensor) -> list[Tensor]:
    if 'image_size' not in names:
        return [images]
    return [images, torch.tensor(images.shape[2:], dtype=torch.float32, device=images.device)]


def write_form(case: Case, form: Form, path: Path) -> tuple[str, Sequence[str]]:
    """Traces the model of a case and writes a file, as `tools/export.py` does.

    Returns:
        its task, and the names of its inputs.

    Raises:
        ExportError: it cannot be traced or written.
    """
    torch.set_num_threads(case.threads)
    on_gpu = FORMATS[form] == 'aoti'
    graph = random_graph(case)
    graph = graph if on_gpu else graph.cpu()
    sizes = Sizes(case.size, divisor=1, batches=graph.task != 'instances')
    batch, height, width = sizes.traced
    example = torch.rand(batch, 3, height, width, device=next(graph.parameters()).device)
    apart = TakenApart(gather=form == 'gather') if FORMATS[form] == 'onnx' else None
    program = trace(graph, _with_size(graph.input_names, example), sizes, apart=apart)
    write(FORMATS[form], program, path, graph)
    return graph.task, graph.input_names


def eager_or_compiled(case: Case, form: Form, graph: nn.Module) -> Call:
    """A graph as torch runs it."""
    narrow = case.dtype != 'float32'
    if narrow and case.part == 'model':
        keep_predictions_float32(graph.model)
    function = torch.compile(graph) if form == 'compiled' else graph
    kind, dtype = torch.device(case.device).type, getattr(torch, case.dtype)

    @torch.no_grad()
    def call(inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        with torch.autocast(kind, dtype) if narrow else nullcontext():
            return function(*inputs)

    return call


def of_file(case: Case, form: Form, path: Path) -> Call:
    """A written file as its runtime runs it; on a GPU, images and outputs stay there."""
    if FORMATS[form] == 'aoti':
        function = loaded('aoti', path)
        return lambda inputs: function(*inputs)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = case.threads
    options.log_severity_level = 3
    device = torch.device(case.device)
    if device.type == 'cpu':
        providers: list[Any] = ['CPUExecutionProvider']
    else:
        chosen = dict(device_id=device.index or 0)
        providers = [('CUDAExecutionProvider', chosen), 'CPUExecutionProvider']
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    names = [each.name for each in session.get_inputs()]
    if device.type == 'cpu':
        return lambda inputs: session.run(
            None, {name: each.numpy() for name, each in zip(names, inputs, strict=True)}
        )

    def call(inputs: Sequence[Tensor]) -> Sequence[np.ndarray]:
        torch.accelerator.synchronize()  # what wrote the inputs runs in another stream
        binding = session.io_binding()
        for name, each in zip(names, inputs, strict=True):
            shape, place = tuple(each.shape), each.data_ptr()
            binding.bind_input(name, 'cuda', device.index or 0, np.float32, shape, place)
        for each in session.get_outputs():
            binding.bind_output(each.name, 'cuda', device.index or 0)
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return binding.get_outputs()

    return call


def as_arrays(outputs: Sequence[Any]) -> list[np.ndarray]:
    """What any form gives, as float32 on the CPU."""
    return [
        each.float().cpu().numpy() if isinstance(each, Tensor) else np.asarray(_on_cpu(each))
        for each in outputs
    ]


def _on_cpu(value: Any) -> np.ndarray:
    return value if isinstance(value, np.ndarray) else value.numpy()  # onnxruntime's OrtValue
