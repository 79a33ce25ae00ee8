"""Maps of things and stuff that a semantic branch cannot learn from are named before training."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from vitadapter_cli import load_config
from vitadapter_dense.command_line.config import override_data_root
from vitadapter_dense.datasets import DatasetError, check_config_datasets
from vitadapter_dense.datasets.shapes import generate_shapes


@pytest.fixture(scope='module')
def made(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('made')
    generate_shapes(root, num_train=3, num_val=1, size=64, seed=3)
    return root


def first_map(root: Path) -> Path:
    return min((root / 'semantic' / 'train').iterdir())


def write(root: Path, labels: np.ndarray) -> None:
    cv2.imwrite(str(first_map(root)), labels)


FAULTS = {
    '1 of 3 maps of things and stuff are missing': lambda root: first_map(root).unlink(),
    'has label 9, but model.roi_head.semantic_head.num_classes is 6': lambda root: write(
        root, np.full((64, 64), 9, np.uint8)
    ),
    'is 32 x 64 pixels': lambda root: write(root, np.zeros((64, 32), np.uint8)),
    'holds colours': lambda root: write(root, np.full((64, 64, 3), (1, 2, 3), np.uint8)),
}


@pytest.mark.parametrize('said', FAULTS)
def test_a_map_that_does_not_fit_is_named(said, made, tmp_path):
    shutil.copytree(made, tmp_path / 'data')
    cfg = load_config('configs/shapes/htc_pp_vitadapter_xs.py')
    override_data_root(cfg, str(tmp_path / 'data'))
    check_config_datasets(cfg)
    FAULTS[said](tmp_path / 'data')
    with pytest.raises(DatasetError, match=rf'(?s){said}.*Mend: '):
        check_config_datasets(cfg)


def test_a_semantic_branch_without_maps_is_named(made):
    cfg = load_config('configs/shapes/htc_pp_vitadapter_xs.py')
    override_data_root(cfg, str(made))
    cfg.train_dataloader.dataset.pipeline[1].with_seg = False
    with pytest.raises(DatasetError, match='semantic_head learns from maps .* loads none. Mend: '):
        check_config_datasets(cfg)
