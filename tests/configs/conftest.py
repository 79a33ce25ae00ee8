"""Every configuration, read once, and every model, built once on the meta device."""

from __future__ import annotations

import re
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn

ROOT = Path(__file__).resolve().parents[2] / 'configs'


def config_files() -> list[str]:
    """Paths below configs/ of what a user can train: all files but the bases.

    Those of tuning methods have a test of their own, tests/tuning/test_tuning_configs.py, and those
    of classifiers, which need MMPretrain, tests/tools/test_classifiers.py.
    """
    files = (path.relative_to(ROOT) for path in ROOT.rglob('*.py') if not is_tuned(path.stem))
    files = (path for path in files if not path.stem.startswith('classifier_'))
    return sorted(str(path) for path in files if path.parts[0] != '_base_')


def is_tuned(name: str) -> bool:
    """Whether a file name is one of the tuning methods' configurations."""
    return (
        re.search(r'_r50_|^setr_|_vitadapter_b_(vpt|pro_tuning|frozen)$|_lora$', name) is not None
    )


@cache
def read(name: str) -> Config:
    return Config.fromfile(ROOT / name)


@cache
def build(name: str) -> nn.Module:
    pytest.importorskip('mmcv.ops', reason='needs mmcv')
    from mmengine.registry import MODELS, init_default_scope

    cfg = deepcopy(read(name))
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        return MODELS.build(cfg.model)


@pytest.fixture(scope='session')
def read_config():
    """Reads a configuration by its path below configs/; a copy, to be changed at will."""
    return lambda name: deepcopy(read(name))


@pytest.fixture(scope='session')
def build_model():
    """Builds a configuration's model on the meta device; shared, not to be changed."""
    return build


@pytest.fixture(scope='session')
def names_in():
    """The names of the configurations of a folder below configs/."""
    return lambda folder: {
        Path(name).stem for name in config_files() if Path(name).parent.as_posix() == folder
    }


@pytest.fixture(scope='session')
def configs_root() -> Path:
    return ROOT


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if 'config' in metafunc.fixturenames:
        metafunc.parametrize('config', config_files())
