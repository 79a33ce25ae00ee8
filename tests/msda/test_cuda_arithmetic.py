"""The CUDA kernels' source on the CPU: a block's threads are fibres, unwritten memory is NaN.

Checks index arithmetic, barriers and numbers where there is no GPU; `test_cuda.py` checks the rest
where there is one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import msda

PACKAGES = Path(msda.__file__).parent.parent
SOURCE = PACKAGES / 'csrc' / 'emulation' / 'emulated.cpp'
COMPILER = shutil.which(os.environ.get('CXX', 'c++').split()[0])

CODE = """
import sys, torch
torch.ops.load_library(sys.argv[1])
from msda import reference
from tests.msda.backends import assert_close, fused_inputs, grad_for, to_double, unfused_inputs

ops = torch.ops.msda
maps = [[(5, 7)], [(8, 9), (4, 5), (2, 3)], [(4, 3), (0, 4), (2, 2), (1, 1)]]
tolerances = {torch.float64: 1e-13}
number = 0
for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
    tolerance = tolerances.get(dtype, 1e-5)
    for channels in (1, 4, 12, 30, 32, 71, 160) if dtype == torch.float32 else (12, 32, 71):
        number += 1
        sizes = dict(channels=channels, shapes=maps[number % 3], points=[4, 1, 8][number % 3 - 1],
                     reference_size=[2, 4][number % 2], queries=[21, 70][number % 2], heads=2)
        for make, name, plain in (
            (fused_inputs, 'ms_deform_attn_fused', 'attend_fused'),
            (unfused_inputs, 'ms_deform_attn', 'attend'),
        ):
            arguments = make(dtype, **sizes)
            out = getattr(ops, name)(*arguments)
            expected = getattr(reference, plain)(*to_double(arguments))
            assert_close(out, expected, tolerance=tolerance)
            arguments = [grad_for(arguments[0], sizes['queries']), *arguments]
            expected = getattr(reference, plain + '_backward')(*to_double(arguments))
            for method in ('reductions', 'tiles', 'sorted'):
                if (dtype, method) == (torch.float64, 'tiles'):
                    continue
                grads = getattr(ops, name + '_backward_cuda')(*arguments, method)
                for grad, wanted in zip(grads, expected, strict=True):
                    assert_close(grad, wanted, tolerance=10 * tolerance)

# queries on maps: the tiles are chosen, and cover every query once
levels = [(12, 10), (6, 5), (3, 3)]
for shapes, queries, dtype, chosen in (
    (levels, 30, torch.float32, 'tiles'),  # an injector
    (levels, 159, torch.bfloat16, 'tiles'),  # an encoder
    ([(6, 5)], 12 * 10 + 6 * 5 + 3 * 3, torch.float16, 'tiles'),  # an extractor
    ([(9, 7)], 17 * 14 + 9 * 7 + 5 * 4, torch.float32, 'tiles'),  # one of odd sizes
    # on no map; and when tiles are forced, more rows in a tile than its table has room for
    ([(48, 64)], 200, torch.float32, 'reductions'),
):
    arguments = fused_inputs(dtype, shapes=shapes, queries=queries, channels=12, heads=1, batch=1)
    assert_close(ops.ms_deform_attn_fused(*arguments),
                 reference.attend_fused(*to_double(arguments)), tolerance=1e-5)
    grad = grad_for(arguments[0], queries)
    auto, tiles, reductions = (
        ops.ms_deform_attn_fused_backward_cuda(grad, *arguments, method)
        for method in ('auto', 'tiles', 'reductions')
    )
    expected = reference.attend_fused_backward(*to_double([grad, *arguments]))
    for got, wanted in zip(tiles, expected):
        assert_close(got, wanted, tolerance=1e-4)
    assert all(a.equal(b) for a, b in zip(auto, tiles if chosen == 'tiles' else reductions))
    # the order of the sums tells them apart
    assert dtype != torch.float32 or not tiles[0].equal(reductions[0])

# many points for a query: shared memory holds a few queries only
arguments = fused_inputs(points=64, shapes=maps[1], channels=8)
assert_close(ops.ms_deform_attn_fused(*arguments),
             reference.attend_fused(*to_double(arguments)), tolerance=1e-5)
grad = grad_for(arguments[0], 21)
expected = reference.attend_fused_backward(*to_double([grad, *arguments]))
for got, wanted in zip(ops.ms_deform_attn_fused_backward_cuda(grad, *arguments, "auto"), expected):
    assert_close(got, wanted, tolerance=1e-4)

# nowhere: no access out of bounds, no contribution, no gradient
arguments = fused_inputs()
arguments[3][:, ::2, :, :, 1] = float('nan')
arguments[3][:, 1::2, :, :, 2] = float('inf')
arguments[3][:, ::3, :, :, 3] = -1e30
assert_close(ops.ms_deform_attn_fused(*arguments),
             reference.attend_fused(*to_double(arguments)), tolerance=1e-5)
grad = grad_for(arguments[0], 21)
expected = reference.attend_fused_backward(*to_double([grad, *arguments]))
for method in ('reductions', 'tiles', 'sorted'):
    grads = ops.ms_deform_attn_fused_backward_cuda(grad, *arguments, method)
    for got, wanted in zip(grads, expected):
        assert_close(got, wanted, tolerance=1e-4)

# a base address that only an element's alignment fits
value, *rest = fused_inputs()
shifted = torch.empty(value.numel() + 1)[1:].view(value.shape).copy_(value)
assert ops.ms_deform_attn_fused(shifted, *rest).equal(ops.ms_deform_attn_fused(value, *rest))

def expect_error(message, function, *arguments):
    try:
        function(*arguments)
    except RuntimeError as error:
        assert message in str(error), error
    else:
        raise AssertionError(f'no error: {message}')

expect_error('256 points', ops.ms_deform_attn_fused, *fused_inputs(points=200))
expect_error('16 levels', ops.ms_deform_attn_fused, *fused_inputs(shapes=[(1, 2)] * 17))
for dtype, method, message in ((torch.float32, 'fast', "expected 'auto'"),
                               (torch.float64, 'tiles', 'float32')):
    arguments = fused_inputs(dtype)
    expect_error(message, ops.ms_deform_attn_fused_backward_cuda, grad_for(arguments[0], 21),
                 *arguments, method)
# registered as PyTorch wants it
for make, name in ((fused_inputs, 'ms_deform_attn_fused'), (unfused_inputs, 'ms_deform_attn')):
    arguments = make(queries=3, channels=8)
    backward = getattr(ops, name + '_backward_cuda')
    for method in ('auto', 'reductions', 'tiles', 'sorted'):
        torch.library.opcheck(backward, (grad_for(arguments[0], 3), *arguments, method))
print('ok')
"""


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason='no C++ compiler')
def test_kernels_emulated_on_the_cpu(tmp_path):
    include = Path(torch.__file__).parent / 'include'
    library = tmp_path / 'emulated.so'
    command = [
        *(COMPILER, '-O1', '-std=c++17', '-shared', '-fPIC', '-Wno-unknown-pragmas'),
        # as some compilers link by themselves: with a C++ library beside torch's
        *('-static-libstdc++', '-Wl,-Bsymbolic-functions'),
        *('-DMSDA_EMULATE', '-DTORCH_TARGET_VERSION=0x020a000000000000'),
        *('-isystem', str(include), '-isystem', str(include / 'torch/csrc/api/include')),
        *(str(SOURCE), '-o', str(library)),
        *('-L', str(include.parent / 'lib'), '-ltorch', '-ltorch_cpu', '-lc10'),
    ]
    subprocess.run(command, check=True, capture_output=True, text=True)
    root = PACKAGES.parent
    environment = {
        **os.environ,
        'MSDA_BACKEND': 'reference',
        'PYTHONPATH': os.pathsep.join([str(PACKAGES), str(root)]),
    }
    run = [sys.executable, '-c', 'import msda\n' + CODE, str(library)]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == 'ok', done.stdout + done.stderr
