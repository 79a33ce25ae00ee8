"""What `pip install .` installs, and what the README promises."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.test_imports import imports_of, source_files

ROOT = Path(__file__).resolve().parent.parent
# Where a package's import name is not the name it is installed by.
DISTRIBUTIONS = {'mmengine': 'onedl-mmengine', 'cv2': 'opencv-python-headless', 'PIL': 'pillow'}


def declared_dependencies() -> set[str]:
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    return {re.split('[<>=]', line)[0] for line in project['dependencies']}


def test_dependencies_cover_what_is_imported_on_load() -> None:
    own = {'vitadapter_dense', 'msda', 'mmcv_ops'}
    imported = {
        found.module.split('.')[0]
        for folder in (ROOT / 'vitadapter_dense', ROOT / 'ops' / 'msda', ROOT / 'ops' / 'mmcv_ops')
        for path in source_files(folder)
        for found in imports_of(path)
        if found.on_load
    }
    needed = imported - own - set(sys.stdlib_module_names)
    assert {DISTRIBUTIONS.get(name, name) for name in needed} <= declared_dependencies()


@pytest.mark.slow
def test_wheel_holds_the_packages_and_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / 'source'
    left_out = shutil.ignore_patterns(
        '.*', 'data', 'work_dirs', 'build', '*.egg-info', '__pycache__'
    )
    shutil.copytree(ROOT, source, ignore=left_out)
    command = [sys.executable, '-m', 'pip', 'wheel', '--no-build-isolation', '--no-deps']
    subprocess.run([*command, '-w', str(tmp_path), str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob('vitadapter_dense-*.whl')
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        str(path.relative_to(base))
        for base, package in (
            (ROOT, 'vitadapter_dense'),
            (ROOT / 'ops', 'msda'),
            (ROOT / 'ops', 'mmcv_ops'),
        )
        for path in source_files(base / package)
    }
    modules = {name for name in names if name.endswith('.py')}
    assert modules == expected
    assert 'mmcv_ops.pth' in names
    assert any(name.endswith('licenses/LICENSE') for name in names)


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
