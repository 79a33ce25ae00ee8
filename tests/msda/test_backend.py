"""Which back end serves, in processes of their own: forced, missing, built, not built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import msda
from tests.msda.backends import compiled, fused_inputs, grad_for, needs_kernels

PACKAGE = Path(msda.__file__).parent
ROOT = PACKAGE.parent.parent
USE = """
import warnings
import torch, msda
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    for _ in range(2):
        out = msda.ms_deform_attn(
            torch.ones(1, 4, 1, 8), [(2, 2)], torch.full((1, 1, 1, 1, 1, 2), 0.5),
            torch.ones(1, 1, 1, 1, 1))
assert out.eq(1).all()
print(msda.backend(), [str(w.message) for w in caught])
"""


EXPORT = """
import torch, msda

torch.manual_seed(0)
module = msda.MSDeformAttn(16, 1, n_heads=2, n_points=2).eval()
points = torch.rand(1, 5, 1, 2)
inputs = torch.rand(2, 5, 16), points, torch.rand(2, 12, 16), [(3, 4)]
program = torch.export.export(module, inputs)
torch.testing.assert_close(program.module()(*inputs), module(*inputs))
print(any('msda' in str(node.target) for node in program.graph.nodes))
"""


def run(code, *, packages=PACKAGE.parent, **variables):
    environment = {**os.environ, 'PYTHONPATH': str(packages), **variables}
    command = [sys.executable, '-c', code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_reference_can_be_forced():
    done = run(USE, MSDA_BACKEND='reference')
    assert done.stdout.strip() == 'reference (MSDA_BACKEND=reference) []', done.stderr


@pytest.mark.parametrize(('choice', 'kept'), [('reference', 'False'), ('auto', 'True')])
def test_exported_graphs_hold_the_operators_unless_the_reference_is_forced(choice, kept):
    done = run(EXPORT, MSDA_BACKEND=choice)
    assert done.stdout.strip() == kept, done.stderr


def test_wrong_choice_is_refused():
    done = run('import msda', MSDA_BACKEND='fast')
    assert "MSDA_BACKEND='fast' is none of auto, compiled, reference" in done.stderr


def test_checkout_without_a_build_works_and_says_so_once(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / 'msda', ignore=shutil.ignore_patterns('*.so', '__*__'))
    done = run(USE, packages=tmp_path, MSDA_BACKEND='')
    assert done.stdout.startswith('reference (no compiled library _cpu'), done.stderr
    assert done.stdout.count('the PyTorch reference serves on cpu') == 1
    assert 'pip install --no-build-isolation' in done.stdout

    done = run(USE, packages=tmp_path, MSDA_BACKEND='compiled')
    assert 'ImportError: MSDA_BACKEND=compiled, but no compiled library _cpu' in done.stderr

    (tmp_path / 'msda' / '_cpu.so').write_text('not a library')
    done = run(USE, packages=tmp_path, MSDA_BACKEND='')
    assert done.stdout.startswith('reference (_cpu.so does not load: '), done.stderr


@needs_kernels
@pytest.mark.slow
@pytest.mark.parametrize('instruction_set', ['baseline', 'avx2'])
def test_instruction_sets_agree(instruction_set, tmp_path):
    """Processors without AVX-512, and without AVX2."""
    inputs, outputs = tmp_path / 'inputs.pt', tmp_path / 'outputs.pt'
    cases = []
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        arguments = fused_inputs(dtype, channels=71)
        cases.append([grad_for(arguments[0], 21), *arguments])
    torch.save(cases, inputs)
    code = f"""
import torch, msda
print(msda.backend())
results = [torch.ops.msda.ms_deform_attn_fused_backward(*c) for c in torch.load({str(inputs)!r})]
torch.save(results, {str(outputs)!r})
"""
    done = run(code, MSDA_CPU_ISA=instruction_set)
    assert instruction_set in done.stdout or 'baseline' in done.stdout, done.stderr
    for case, results in zip(cases, torch.load(outputs), strict=True):
        for got, wanted in zip(results, compiled.attend_fused_backward(*case), strict=True):
            tolerance = 2 * torch.finfo(got.dtype).eps
            torch.testing.assert_close(got, wanted, rtol=tolerance, atol=1e-5)


@pytest.mark.slow
def test_without_a_compiler_an_editable_installation_has_the_reference_and_no_wheel_is_written(
    tmp_path,
):
    for name in ('ops', 'vitadapter_dense', 'configs'):
        ignored = shutil.ignore_patterns('*.so', '__pycache__')
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, tmp_path)
    nowhere = {'CXX': 'no-such-compiler', 'CC': 'no-such-compiler', 'MSDA_CUDA': '0'}
    editable, wheel = (
        subprocess.run(
            [sys.executable, 'setup.py', command, '--dist-dir', 'dist'],
            cwd=tmp_path,
            env={**os.environ, **nowhere},
            capture_output=True,
            text=True,
            check=False,
        )
        for command in ('editable_wheel', 'bdist_wheel')
    )
    assert wheel.returncode != 0
    assert 'error: msda._cpu: ' in wheel.stderr
    assert 'Mend: install a C++ compiler' in wheel.stderr
    assert editable.returncode == 0, editable.stderr
    assert '[msda] msda._cpu could not be compiled' in editable.stderr
    assert len(list((tmp_path / 'dist').glob('*.whl'))) == 1
    done = run(USE, packages=tmp_path / 'ops', MSDA_BACKEND='')
    assert done.stdout.startswith('reference (no compiled library _cpu')
