"""What the benchmark compares computes the same."""

from __future__ import annotations

import sys

import benchmark_cases
import pytest
import torch

# the part of deformops 3.0 that the benchmark calls
STAND_IN = """
from enum import StrEnum
from msda import reference

class Backend(StrEnum):
    CUDA, TRITON, EAGER = 'cuda', 'triton', 'eager'

def msda(value, shapes, starts, locations, weights, /, *, backend=None):
    assert isinstance(backend, Backend)
    assert starts.tolist() == [0, *shapes.prod(1).cumsum(0)[:-1].tolist()]
    assert locations.shape[:-1] == weights.shape and value.dtype == weights.dtype
    return reference.attend(value, shapes.flatten().tolist(), locations, weights)
"""


def modules_of_deformops():
    return [name for name in sys.modules if name.partition('.')[0] == 'deformops']


@pytest.fixture(params=['stand-in', 'installed'])
def _deformops(request, tmp_path, monkeypatch):
    """A stand-in for `deformops`, or the package itself, which computes eagerly on the CPU."""
    if request.param == 'installed':
        pytest.importorskip('deformops')
        eager = benchmark_cases.deformops('eager')
        monkeypatch.setattr(benchmark_cases, 'deformops', lambda kernel: eager)
        yield
        return
    package = tmp_path / 'deformops'
    package.mkdir()
    (package / '__init__.py').touch()
    (package / 'registry.py').write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path)
    for name in modules_of_deformops():
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in modules_of_deformops():
        del sys.modules[name]


@pytest.mark.usefixtures('_deformops')
def test_all_contenders_compute_the_same():
    found = benchmark_cases.contenders('cuda')
    assert {'ours', 'reference', 'deformops_cuda', 'deformops_triton'} <= set(found)
    found.pop('mmcv_compiled', None)  # it takes no tensors of the CPU
    inputs = benchmark_cases.Case('T', '64x96', 'injector', 'float32').inputs(2, 'cpu', seed=0)
    results = {}
    for name, arguments_of in found.items():
        function, arguments = arguments_of(inputs)
        leaves = [argument.detach().requires_grad_() for argument in arguments]
        out = function(*leaves)
        results[name] = out.detach(), torch.autograd.grad(out, leaves[0], inputs[5])[0]
    for name, result in results.items():
        for got, wanted in zip(result, results['ours'], strict=True):
            torch.testing.assert_close(
                got, wanted, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f'{name}: {text}'
            )
