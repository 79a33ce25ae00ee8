"""The AVX-512 kernels where the processor has none: their vectors of 64 bytes in pieces.

The kernels are written in the compilers' vector extension, so that a compiler lowers sixteen lanes
to any processor. What is left out is the choice of instructions alone. Where the processor has
AVX-512, all tests run these kernels as they are (see `test_backend.py` for the others).
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import msda
from tests.msda.backends import needs_kernels

PACKAGE = Path(msda.__file__).parent
ROOT = PACKAGE.parent.parent
SOURCES = PACKAGE.parent / 'csrc' / 'cpu'
COMPILER = shutil.which(os.environ.get('CXX', 'c++').split()[0])
DISPATCH = """
#include "kernels.h"
namespace msda::cpu {
const char* instruction_set() { return "sixteen lanes"; }
void forward(const Problem& problem, void* output, const Pool& pool) {
  avx512::forward(problem, output, pool);
}
void backward(const Problem& problem, const Gradients& gradients, const Pool& pool) {
  avx512::backward(problem, gradients, pool);
}
}
"""


def build(folder):
    """A package with kernels of sixteen lanes, for the instructions that every x86-64 has."""
    package = folder / 'msda'
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns('*.so', '__pycache__'))
    source = (SOURCES / 'avx512.cpp').read_text()
    narrow, changes = re.subn(r'target\("avx512[^"]*"\)', 'target("sse2")', source)
    assert changes == 2  # GCC's and Clang's
    (folder / 'sixteen.cpp').write_text(narrow)
    (folder / 'dispatch.cpp').write_text(DISPATCH)
    torch_home = Path(torch.__file__).parent
    command = [
        *(COMPILER, '-O2', '-ffp-contract=fast', '-std=c++17', '-shared', '-fPIC', '-Wno-psabi'),
        *('-fvisibility=hidden', '-DTORCH_TARGET_VERSION=0x020a000000000000'),
        *('-I', str(SOURCES), '-isystem', str(torch_home / 'include')),
        *('-isystem', str(torch_home / 'include/torch/csrc/api/include')),
        *(str(folder / 'sixteen.cpp'), str(folder / 'dispatch.cpp'), str(SOURCES / 'binding.cpp')),
        *('-o', str(package / '_cpu.so'), '-L', str(torch_home / 'lib')),
        *('-ltorch', '-ltorch_cpu', '-lc10'),
    ]
    subprocess.run(command, check=True, capture_output=True, text=True)


@needs_kernels
@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason='no C++ compiler')
@pytest.mark.skipif(platform.machine() != 'x86_64', reason='AVX-512 is of x86-64')
def test_sixteen_lanes_pass_the_tests_of_the_kernels(tmp_path):
    build(tmp_path)
    environment = {**os.environ, 'MSDA_BACKEND': 'compiled'}
    show = [sys.executable, '-c', 'import msda; print(msda.__file__, msda.backend().reason)']
    alone = {**environment, 'PYTHONPATH': str(tmp_path)}
    done = subprocess.run(show, env=alone, capture_output=True, text=True, check=False)
    assert done.stdout.split(maxsplit=1) == [
        str(tmp_path / 'msda' / '__init__.py'),
        '_cpu.so, sixteen lanes\n',
    ], done.stderr
    command = [
        *(sys.executable, '-m', 'pytest', '-q', '-m', 'not slow', '-p', 'no:cacheprovider'),
        *('-o', f'pythonpath={tmp_path} {ROOT}', 'tests/msda/test_kernels.py'),
    ]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:]
