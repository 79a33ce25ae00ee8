"""Builds the import packages and the kernels of `msda`; what is declarative is in
pyproject.toml.

`mmcv_ops.pth` is installed beside the packages, from a wheel and editable alike: Python reads it
when it starts, so that every program finds mmcv's operators. A wheel carries `configs/` inside of
`vitadapter_dense`, where `config_path` looks.

The kernels need torch at build time, which pip's and build's isolation hides. Without torch a wheel
is pure Python (`py3-none-any`), and msda computes with its PyTorch reference. With torch it holds
the kernels (`cp311-abi3`), or is not written at all. An editable installation is there for work on
the sources: whatever hinders its compilation is told, and it is made without. Environment
variables: ``MSDA_CUDA=0`` leaves the CUDA kernels out (they are built when there is an nvcc, GPU or
not), ``TORCH_CUDA_ARCH_LIST`` names the architectures, ``MAX_JOBS`` bounds the compiler processes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError

from distutils.command.install_data import install_data  # isort: skip  (setuptools brings it)

PACKAGE = 'vitadapter_dense'
SOURCES = Path('ops/csrc')
DEFINES = ['-DTORCH_TARGET_VERSION=0x020a000000000000']  # torch's stable ABI as of 2.10
COMPILE = ['-O3', '-ffp-contract=fast', '-g0', '-Wno-psabi', '-fvisibility=hidden', *DEFINES]
ARCHITECTURES = '8.0;8.6;8.9;9.0+PTX'
NO_TORCH = (
    'the kernels are left out: no torch can be imported here. The PyTorch reference will serve, '
    'which is slow. Mend: install torch, then this with `pip install --no-build-isolation`'
)
MEND = (
    'The kernels could not be compiled, see above, and a wheel without them would be another one. '
    'Mend: install a C++ compiler; MSDA_CUDA=0 leaves the CUDA kernels out; '
    '`pip install .` and `python -m build`, which build in isolation, leave out all of them.'
)


def say(message: str) -> None:
    """A line for the log of the installation."""
    sys.stderr.write(f'[msda] {message}\n')


def toolkit(home: str | None) -> str | None:
    """The folder of the CUDA toolkit, where nvcc on PATH may be a script that calls another one."""
    nvcc = Path(home or '/', 'bin', 'nvcc')
    if not nvcc.exists() or Path(nvcc.parents[1], 'include', 'cuda_runtime.h').exists():
        return home
    command = [str(nvcc), '--dryrun', '-x', 'cu', '-c', os.devnull]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r'^#\$ TOP=(.*)$', done.stderr, re.MULTILINE)
    return str(Path(nvcc.parent, found[1].strip()).resolve()) if found else home


def cuda_hindrance(cpp_extension: Any) -> str | None:
    """Why there will be no CUDA kernels; None when there will."""
    import torch

    if os.environ.get('MSDA_CUDA') == '0':
        return 'MSDA_CUDA=0'
    if not any((SOURCES / 'cuda').glob('*.cu')):
        return 'there are no CUDA sources'
    if torch.version.cuda is None:
        return 'this torch is without CUDA'
    home = cpp_extension.CUDA_HOME = toolkit(cpp_extension.CUDA_HOME)
    if home is None or not Path(home, 'bin', 'nvcc').exists():
        return f'no nvcc found (CUDA_HOME is {home})'
    return None


def extensions(cpp_extension: Any) -> list[Any]:
    """One library for the CPU, one for CUDA: either is built without the other."""
    headers = [str(path) for path in SOURCES.rglob('*') if path.suffix in ('.h', '.inl', '.cuh')]

    def sources(folder: str, *patterns: str) -> list[str]:
        found = (path for pattern in patterns for path in (SOURCES / folder).glob(pattern))
        return sorted(str(path) for path in found)

    built = [
        cpp_extension.CppExtension(
            'msda._cpu',
            sources('cpu', '*.cpp'),
            depends=headers,
            extra_compile_args={'cxx': COMPILE},
            py_limited_api=True,
        )
    ]
    hindrance = cuda_hindrance(cpp_extension)
    if hindrance:
        say(f'no CUDA kernels: {hindrance}')
        return built
    import torch

    if not torch.cuda.is_available():  # then torch cannot tell which architecture is wanted
        os.environ.setdefault('TORCH_CUDA_ARCH_LIST', ARCHITECTURES)
    built.append(
        cpp_extension.CUDAExtension(
            'msda._cuda',
            sources('cuda', '*.cpp', '*.cu'),
            depends=headers,
            extra_compile_args={
                'cxx': [*COMPILE, '-DUSE_CUDA'],  # torch's C interface shows its streams then
                'nvcc': ['-O3', '-lineinfo', '-std=c++17', *DEFINES],
            },
            py_limited_api=True,
        )
    )
    return built


def kernels() -> dict[str, Any]:
    """The arguments of `setup` that concern the kernels."""
    if find_spec('torch') is None:
        return {}
    from torch.utils import cpp_extension

    class BuildKernels(cpp_extension.BuildExtension):
        """Compiles one library after the other."""

        def build_extensions(self) -> None:
            wanted, self.extensions = self.extensions, []
            for extension in wanted:
                self.extensions = [extension]
                try:
                    super().build_extensions()
                except (Exception, SystemExit) as error:
                    if not self.editable_mode:
                        raise CompileError(f'{extension.name}: {error}\n{MEND}') from error
                    self.leave_out(extension, error)
            self.extensions = wanted

        def leave_out(self, extension: Any, error: BaseException) -> None:
            extension.optional = True  # setuptools asks for its file otherwise
            built = Path(self.get_ext_fullpath(extension.name))
            package = extension.name.rpartition('.')[0]
            folder = self.get_finalized_command('build_py').get_package_dir(package)
            for path in (built, Path(folder, built.name)):
                path.unlink(missing_ok=True)  # an older build would not fit the sources
            say(f'{extension.name} could not be compiled: {error}')
            say('installing without it; mend what the compiler says above, and install again')

    return {
        'ext_modules': extensions(cpp_extension),
        'cmdclass': {'build_ext': BuildKernels},
        'options': {'bdist_wheel': {'py_limited_api': 'cp311'}},
    }


class BuildWithConfigs(build_py):
    """Packs the packages and `configs/`, and nothing that an earlier build has left."""

    def run(self) -> None:
        """Fills the build folder; an editable installation has none."""
        if not self.distribution.has_ext_modules():
            say(NO_TORCH)
        if self.editable_mode:
            return super().run()
        for package in {name.partition('.')[0] for name in self.packages}:
            shutil.rmtree(Path(self.build_lib, package), ignore_errors=True)
        super().run()
        caches = shutil.ignore_patterns('__pycache__')
        shutil.copytree('configs', Path(self.build_lib, PACKAGE, 'configs'), ignore=caches)


class InstallBesidePackages(install_data):
    """Installs the data files where the packages go."""

    def finalize_options(self) -> None:
        """`install_dir` becomes the folder of the packages."""
        self.set_undefined_options('install', ('install_lib', 'install_dir'), ('force', 'force'))
        super().finalize_options()


class WithData(Distribution):
    """Editable installations ask for `has_data`, which setuptools calls `has_data_files`."""

    def has_data(self) -> bool:
        """Whether there are data files."""
        return self.has_data_files()


arguments = kernels()
commands = arguments.setdefault('cmdclass', {})
commands |= {'build_py': BuildWithConfigs, 'install_data': InstallBesidePackages}
setup(distclass=WithData, data_files=[('', ['ops/mmcv_ops.pth'])], **arguments)
