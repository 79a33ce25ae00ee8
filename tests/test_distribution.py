"""What `pip install .` installs, and what the README promises."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

import vitadapter_dense
from tests.test_imports import imports_of, module_name, source_files

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / 'configs'
PACKAGES = (
    (ROOT, 'vitadapter_dense'),
    (ROOT, 'vitadapter_cli'),
    (ROOT / 'ops', 'msda'),
    (ROOT / 'ops', 'mmcv_ops'),
)
# Where a package's import name is not the name it is installed by.
DISTRIBUTIONS = {
    'mmengine': 'onedl-mmengine',
    'cv2': 'opencv-python-headless',
    'PIL': 'pillow',
    'yaml': 'pyyaml',
}
# Modules that need an extra; none of the others may import them on load.
OF_EXTRAS = (
    'vitadapter_dense.inference.web_page',
    'vitadapter_dense.integrations.hugging_face',
    'vitadapter_dense.integrations.segmentation_models',
)


def declared_dependencies() -> set[str]:
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    return {re.split('[<>=]', line)[0] for line in project['dependencies']}


def test_dependencies_cover_what_is_imported_on_load() -> None:
    own = {package for _, package in PACKAGES}
    modules = {
        found.module
        for folder, package in PACKAGES
        for path in source_files(folder / package)
        if module_name(path) not in OF_EXTRAS
        for found in imports_of(path)
        if found.on_load
    }
    assert not [module for module in modules if module.startswith(OF_EXTRAS)]
    imported = {module.split('.')[0] for module in modules}
    needed = imported - own - set(sys.stdlib_module_names)
    assert {DISTRIBUTIONS.get(name, name) for name in needed} <= declared_dependencies()


def test_version_has_an_entry_in_the_changelog() -> None:
    versions = re.findall(r'^## (\S+)', (ROOT / 'CHANGELOG.md').read_text(), re.MULTILINE)
    assert versions[0] == vitadapter_dense.__version__


def own_names() -> dict[str, str]:
    """Every class of the package, by its name, with its module.

    Left out are the private ones, and the integrations, which are imported one by one.
    """
    found = {}
    for path in source_files(ROOT / 'vitadapter_dense'):
        module = module_name(path)
        if module.startswith('vitadapter_dense.integrations'):
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith('_'):
                found[node.name] = module
    return found


def test_every_class_that_a_page_names_is_importable_from_the_package() -> None:
    pages = [path for folder in ('.', 'docs', 'ops') for path in (ROOT / folder).glob('*.md')]
    pages += (ROOT / 'configs').rglob('*.md')
    own, missing, named = own_names(), set(), set()
    for page in pages:
        code = re.findall(r'```.*?```|`[^`\n]+`', page.read_text(), re.DOTALL)
        named |= {name for text in code for name in re.findall(r'\b[A-Z]\w+', text) if name in own}
        for text in code:
            for module, names in re.findall(r'from (vitadapter_dense\S*) import ([\w, ]+)', text):
                if module in OF_EXTRAS:
                    continue
                there = vars(importlib.import_module(module))
                missing |= {name for name in re.findall(r'\w+', names) if name not in there}
    assert {'TunedBackbone', 'ViTAdapter', 'Predictor', 'LoRA'} <= named
    assert missing | {name for name in named if name not in vitadapter_dense.__all__} == set()
    for name in vitadapter_dense.__all__:
        assert hasattr(vitadapter_dense, name)


# what pip says of a registry that cannot be reached, breaks off or is out of order
NO_ANSWER = 'connection broken by|Could not fetch URL|HTTP error 5|[Tt]imed? ?out|ConnectionError'


def install_report(*arguments: str) -> list[dict[str, Any]]:
    """What pip would install in an empty environment; skips where no registry answers."""
    command = [sys.executable, '-m', 'pip', 'install', '--dry-run', '--ignore-installed', '--quiet']
    done = subprocess.run(
        [*command, '--report', '-', *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode and re.search(NO_ANSWER, done.stderr):
        pytest.skip('no network')
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)['install']


@pytest.mark.slow
def test_all_extras_resolve_together_with_the_pins() -> None:
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    extras = project['optional-dependencies']
    wanted = [line for lines in (project['dependencies'], *extras.values()) for line in lines]
    pins = ROOT / 'requirements.txt'
    versions = {
        canonicalize_name(found['metadata']['name']): found['metadata']['version']
        for found in install_report('-r', str(pins), *wanted)
    }
    assert {'mkdocs', 'gradio', 'onnxruntime', 'onedl-mmpretrain'} <= versions.keys()
    for name, version in re.findall(r'^([\w-]+)==(\S+)', pins.read_text(), re.MULTILINE):
        assert versions[canonicalize_name(name)] == version


def test_extras_stand_in_the_readme_and_make_env_has_those_that_it_says() -> None:
    extras = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project'][
        'optional-dependencies'
    ]
    rows = re.findall(r'^\| `(\w+)` \|.*\| (yes|no) \|$', (ROOT / 'README.md').read_text(), re.M)
    assert dict(rows).keys() == extras.keys()
    pinned = set(re.findall(r'^([\w-]+)==', (ROOT / 'requirements.txt').read_text(), re.MULTILINE))
    for extra, installed in rows:
        names = {re.split('[<>=;\\[]', line)[0] for line in extras[extra]}
        assert names <= pinned if installed == 'yes' else not names & pinned, extra


@pytest.fixture(scope='module')
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheels with and without kernels, all of them
    made of the sources that git knows and, as a user's checkout, of an older build beside them."""
    source, out = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp('dist')
    # another process of the suite may be writing to __pycache__
    ignored = ('.*', '__pycache__', 'data', 'work_dirs', 'build', '*.egg-info', '*.so')
    left_out = shutil.ignore_patterns(*ignored)
    shutil.copytree(ROOT, source, ignore=left_out, dirs_exist_ok=True)
    stale = source / 'build' / 'lib' / 'vitadapter_dense' / 'engine.py'
    stale.parent.mkdir(parents=True)
    stale.touch()
    pytest.importorskip('build')
    command = [sys.executable, '-m', 'build', '--no-isolation', '--outdir', str(out)]
    environment = {**os.environ, 'MSDA_CUDA': '0', 'PYTHONPATH': ''}
    subprocess.run([*command, str(source)], check=True, capture_output=True, env=environment)
    # as in the isolation of pip and build: there is no torch
    plain = 'import sys; sys.modules["torch"] = None; import setuptools.build_meta as backend; '
    (out / 'editable').mkdir()
    for build in (f'build_wheel({str(out)!r})', f'build_editable({str(out / "editable")!r})'):
        command = [sys.executable, '-c', f'{plain} backend.{build}']
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env=environment, cwd=source
        )
        assert done.stderr.count('--no-build-isolation') == 1
    return out


@pytest.mark.slow
def test_wheels_hold_the_packages_and_nothing_else(built: Path) -> None:
    compiled, plain = sorted(built.glob('*.whl'))
    assert '-cp311-abi3-linux_' in compiled.name
    assert plain.name.endswith('-py3-none-any.whl')
    expected = {
        str(path.relative_to(base))
        for base, package in PACKAGES
        for path in source_files(base / package)
    }
    configs = {f'vitadapter_dense/{path.relative_to(ROOT)}' for path in source_files(CONFIGS)}
    names = {wheel: set(zipfile.ZipFile(wheel).namelist()) for wheel in (compiled, plain)}
    for inside in names.values():
        assert {name for name in inside if name.endswith('.py')} == expected | configs
        assert {'mmcv_ops.pth', 'vitadapter_dense/reports/report.html.jinja'} <= inside
        assert any(name.endswith('licenses/LICENSE') for name in inside)
    of_this_wheel = re.compile(r'\.dist-info/|\.so$')
    differ = names[compiled] ^ names[plain]
    assert [name for name in differ if not of_this_wheel.search(name)] == []
    assert [name for name in differ if name.endswith('.so')] == ['msda/_cpu.abi3.so']


@pytest.mark.slow
def test_no_kernels_but_those_of_the_sources(tmp_path: Path) -> None:
    """Where they do not compile there is no wheel, and an editable installation has none of an
    older build either."""
    for name in ('pyproject.toml', 'setup.py', 'README.md', 'LICENSE', 'MANIFEST.in'):
        shutil.copy(ROOT / name, tmp_path)
    left_out = shutil.ignore_patterns('*.so', '__pycache__')
    for name in ('vitadapter_dense', 'ops', 'configs'):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=left_out)
    older = tmp_path / 'ops' / 'msda' / '_cpu.abi3.so'
    environment = {**os.environ, 'MSDA_CUDA': '0', 'PYTHONPATH': '', 'CXX': '/bin/false'}
    for kind, written in (('wheel', 0), ('editable', 1)):
        older.touch()
        out = tmp_path / kind
        out.mkdir()
        code = f'import setuptools.build_meta as backend; backend.build_{kind}({str(out)!r})'
        done = subprocess.run(
            [sys.executable, '-c', code],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) == bool(written), done.stderr
        assert len(list(out.glob('*.whl'))) == written
        assert 'msda._cpu' in done.stderr
    assert not older.exists()


@pytest.mark.slow
def test_configs_and_operators_are_found_after_an_installation_and_nothing_stays_after_it(
    built: Path, tmp_path: Path
) -> None:
    command = [sys.executable, '-m', 'venv', '--without-pip', str(tmp_path / 'venv')]
    subprocess.run(command, check=True)
    python, (site,) = tmp_path / 'venv/bin/python', tmp_path.glob('venv/lib/python*/site-packages')
    others = [path for path in sys.path if 'site-packages' in path]
    (site / 'others.pth').write_text('\n'.join(others))
    before = sorted(site.rglob('*'))
    quiet = {**os.environ, 'PYTHONPATH': '', 'PYTHONDONTWRITEBYTECODE': '1'}

    def run(*command: str) -> list[str]:
        options = dict(cwd=tmp_path, env=quiet, capture_output=True, text=True)
        done = subprocess.run(command, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    # an mmcv without compiled operators, whatever the one of this environment is
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv' / '__init__.py').touch()
    extension = "import importlib.util as u; s = u.find_spec('mmcv._ext'); print(s and s.origin)"
    code = """
import pathlib, msda, vitadapter_dense
from vitadapter_dense import config_path, load_config
site = pathlib.Path(vitadapter_dense.__file__).parents[1]
print(config_path('coco/htc_r50_bias.py').relative_to(site))
print(msda.backend('cpu').name, load_config('configs/coco/htc_r50_bias.py').model.type)
"""
    pip = (sys.executable, '-m', 'pip', '--python', str(python))
    for pattern, folder in (('*-none-any.whl', 'vitadapter_dense/'), ('editable/*.whl', '')):
        run(*pip, 'install', '--no-deps', '--no-compile', *map(str, built.glob(pattern)))
        found = run(str(python), '-W', 'ignore', '-c', code)
        inside = f'{folder}configs/coco/htc_r50_bias.py'
        assert found == [inside, 'reference', 'HybridTaskCascade']
        assert run(str(python), '-c', extension) == ['mmcv_ops']
        run(*pip, 'uninstall', '--yes', 'vitadapter_dense')
        assert run(str(python), '-c', extension) == ['None']
        assert sorted(site.rglob('*')) == before


def test_examples_of_the_readme_run() -> None:
    """As they stand, but for the weights from the hub."""
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks[1:]:  # the first needs a trained model: tests/tools/test_predictor.py
        code = block.replace('pretrained=True', 'pretrained=False')
        scope: dict[str, object] = {}
        exec(compile(ast.parse(code), 'README.md', 'exec'), scope)
    assert scope['out'].shape == (1, 1280, 256)


@pytest.mark.parametrize('page', ['README.md', 'docs/faq.md', 'docs/results.md', 'ops/README.md'])
def test_files_named_in_a_page_exist(page: str) -> None:
    """In commands; links are followed where the site is built (test_docs.py)."""
    named = re.findall(
        r'\b(?:configs|tools|ops|tests)/[\w/]+\.(?:py|sh)\b', (ROOT / page).read_text()
    )
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
