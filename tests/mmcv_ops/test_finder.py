"""What ``import mmcv.ops`` finds, in which order, and what an operator that is not there says."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mmcv_ops import operators

ROOT = Path(__file__).resolve().parents[2]


def run(code: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh interpreter; the first of ``paths`` stand before the project's."""
    places = os.pathsep.join(map(str, (*paths, ROOT / 'ops')))
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        env={**os.environ, 'PYTHONPATH': places},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def other_mmcv(tmp_path: Path) -> Path:
    """A folder with a package ``mmcv`` that has nothing in it."""
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv' / '__init__.py').write_text("__version__ = '9.9.9'\n")
    return tmp_path


def test_importing_it_imports_no_torch():
    code = (
        "import mmcv_ops, sys; assert not {'torch', 'torchvision', 'mmcv', 'msda'} & {*sys.modules}"
    )
    assert run(code).stderr == ''


def test_stands_in_for_the_missing_module(other_mmcv):
    """Also where a model is built on the meta device, as the first that imports it."""
    code = (
        'import mmcv_ops, torch; torch.set_default_device("meta"); import mmcv._ext as ext; '
        'print(ext.nms.__module__, ext.__spec__.origin)'
    )
    done = run(code, other_mmcv)
    assert done.stdout.split() == ['mmcv_ops.boxes', 'mmcv_ops'], done.stderr


WORKS = 'import torch\ndef nms(*boxes, **options):\n    return torch.tensor([0, 2])\n'


def test_a_compiled_module_goes_first(other_mmcv):
    (other_mmcv / 'mmcv' / '_ext.py').write_text(WORKS)
    code = 'import mmcv_ops; import mmcv._ext as ext; print(ext.__file__, mmcv_ops.is_compiled())'
    done = run(code, other_mmcv)
    assert done.stdout.split() == [str(other_mmcv / 'mmcv' / '_ext.py'), 'True'], done.stderr


@pytest.mark.parametrize(
    'content',
    [
        None,  # a library that does not load
        WORKS.replace('return torch', "raise RuntimeError('no kernel')  # "),
        WORKS.replace('[0, 2]', '[0, 1, 2]'),
    ],
)
def test_a_compiled_module_that_does_not_fit_is_an_error(other_mmcv, content):
    if content is None:
        (other_mmcv / 'mmcv' / '_ext.abi3.so').write_bytes(b'no library')
    else:  # as one that was built for another torch does
        (other_mmcv / 'mmcv' / '_ext.py').write_text(content)
    done = run('import mmcv_ops; import mmcv._ext', other_mmcv)
    assert "ImportError: mmcv's compiled operators do not work" in done.stderr
    assert '--no-cache-dir onedl-mmcv~=2.3.0)' in done.stderr


def test_other_signatures_are_told_with_both_versions(other_mmcv):
    done = run('import mmcv_ops; from mmcv._ext import nms; nms(1, 2, radius=3)', other_mmcv)
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith(
        'RuntimeError: mmcv 9.9.9 calls its operator nms with other arguments'
    )
    assert f'mmcv {operators.FOLLOWS}' in message


def test_what_is_not_there_raises_when_it_is_called():
    module = ModuleType('mmcv._ext')
    operators.fill(module)
    with pytest.raises(NotImplementedError, match='nms_rotated.*Mend: .*MMCV_OPS=compiled'):
        module.nms_rotated(torch.zeros(1, 5))
    with pytest.raises(NotImplementedError, match='lanes'):
        module.line_nms_forward()
    with pytest.raises(AttributeError):
        module.__path__  # noqa: B018


def _calls_of(path: Path) -> set[str]:
    """Operators that a module of mmcv calls through its ``ext_module``."""
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == 'ext_module'
    }


def _module_of(name: str) -> str:
    """The module of ``mmcv.ops`` that a name comes from (functions of torch do not know theirs)."""
    import mmcv.ops

    (source,) = {
        node.module
        for node in ast.parse(Path(mmcv.ops.__file__).read_text()).body
        if isinstance(node, ast.ImportFrom) and name in {a.asname or a.name for a in node.names}
    }
    return f'mmcv.ops.{source}'


def _imports_from_mmcv_ops(package: str) -> set[tuple[str, str]]:
    """Modules and names that a toolbox imports of ``mmcv.ops``, or looks up for its configs."""
    import mmcv.ops
    from mmengine.registry import MODELS

    by_type = {name: ('mmcv.ops', name) for name in mmcv.ops.__all__}
    for name, kind in MODELS.module_dict.items():
        if kind.__module__.startswith('mmcv.ops.'):
            by_type[name] = kind.__module__, kind.__name__
    folder = Path(importlib.util.find_spec(package).submodule_search_locations[0])
    found = set()
    for path in folder.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('mmcv.ops'):
                found |= {(node.module, alias.name) for alias in node.names}
            if isinstance(node, ast.keyword) and node.arg == 'type':
                kind = by_type.get(getattr(node.value, 'value', None))
                found |= {kind} if kind else set()
    return found


@pytest.mark.filterwarnings('ignore:invalid escape sequence')
@pytest.mark.parametrize('package', ['mmdet', 'mmseg'])
def test_every_operator_of_the_toolboxes_is_there_or_in_the_table(package):
    pytest.importorskip(package)
    lacking = {}
    used = _imports_from_mmcv_ops(package)
    assert package == 'mmseg' or ('mmcv.ops', 'RoIAlign') in used
    for source, name in used:
        module = importlib.import_module(_module_of(name) if source == 'mmcv.ops' else source)
        calls = _calls_of(Path(module.__file__)) - {'nms_rotated', 'nms_quadri'}
        missing = calls - {*operators.OPERATORS, *operators.UNAVAILABLE}
        if missing:
            lacking[name] = missing
    assert lacking == {}
