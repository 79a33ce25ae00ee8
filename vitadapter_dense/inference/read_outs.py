"""What a classifier's head reads of images: one vector each, before and after tuning."""

from __future__ import annotations

import logging

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS
from torch import nn
from torch.utils.data import DataLoader, Subset

from vitadapter_dense.checkpoints.checked_loading import load_checked, read_checkpoint
from vitadapter_dense.datasets.classification import labels_of
from vitadapter_dense.inference.predictor import build_model
from vitadapter_dense.reports.progress import track
from vitadapter_dense.training.runner import DenseRunner
from vitadapter_dense.tuning.delta import complete_state_dict


def starting_model(cfg: Config, *, seed: int = 0) -> nn.Module:
    """A model as its training began: pre-trained, and what a method adds as it starts.

    Args:
        cfg: the configuration of the training, with its `load_from`.
        seed: of what starts at random.

    Raises:
        WeightsError: the weights cannot be had, or do not fit.
    """
    torch.manual_seed(seed)
    model = build_model(cfg)
    for module in model.modules():
        if cfg.get('load_from') and hasattr(module, 'pretrained'):
            module.skip_pretrained = True
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)  # MMEngine tells how every parameter starts
    try:
        model.init_weights()
    finally:
        logger.setLevel(level)
    if cfg.get('load_from'):
        content = read_checkpoint(cfg.load_from)
        state = complete_state_dict(model, content, cfg.load_from)
        load_checked(model, state, what=f'checkpoint {cfg.load_from}')
    return model


def build_images(cfg: Config, *, most: int, seed: int = 0) -> DataLoader:
    """A loader of at most so many test images, drawn with a seed.

    Raises:
        DatasetError: it is no classification set.
    """
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    number = len(labels_of(dataset))
    chosen = np.sort(np.random.default_rng(seed).permutation(number)[:most])
    return DenseRunner.build_dataloader(
        dict(cfg.test_dataloader, dataset=Subset(dataset, chosen.tolist()))
    )


@torch.no_grad()
def read_outs(
    model: nn.Module, loader: DataLoader, *, device: torch.device, what: str
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors ``(N, C)`` behind the neck, and labels ``(N,)``.

    Args:
        model: a classifier.
        loader: of its images.
        device: where to compute.
        what: a word for the progress.
    """
    model = model.to(device).eval()
    vectors, labels = [], []
    for batch in track(loader, what):
        data = model.data_preprocessor(batch, training=False)
        vectors.append(model.extract_feat(data['inputs'])[-1].float().cpu().numpy())
        labels += [int(sample.gt_label[0]) for sample in data['data_samples']]
    return np.concatenate(vectors), np.array(labels)
