"""Starts the prompts of a pool as images of the training data of the first task."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from torch import Tensor, nn

from vitadapter_dense.training.errors import SettingsError
from vitadapter_dense.training.random_state import seeded
from vitadapter_dense.tuning.prompt_pool import PromptPool


@HOOKS.register_module()
class PromptStartHook(Hook):
    """Gives pools with ``start='images'`` theirs, once: a checkpoint tells that it has been done.

    They are drawn from the training data with the run's seed, each at most once, and look as the
    data's pipeline and the model's preprocessing make them. The random state of the run does not
    notice. `DenseRunner` registers it by itself.

    Raises:
        SettingsError: the training data has fewer images than a pool has slots, or the model is
            sharded.
    """

    def before_train(self, runner: Any) -> None:
        """Fills the pools that wait for images."""
        model = runner.bare_model
        for name, pool in model.named_modules():
            if isinstance(pool, PromptPool) and pool.images_needed:
                if runner.mesh is not None:
                    raise SettingsError(
                        f"{name}: prompts that start='images' are set whole, and FullySharded "
                        "holds parts of them; set start='uniform', or leave model_wrapper_cfg out"
                    )
                dataset = runner.train_dataloader.dataset
                images = training_images(model, dataset, pool.images_needed, seed=runner.seed)
                pool.start_from(images)
                for tensor in pool.state_dict().values():
                    if tensor.is_floating_point():  # pipelines differ from process to process
                        broadcast(tensor)
                print_log(f'{name}: {len(images)} prompts start as images', logger='current')


@torch.no_grad()
def training_images(model: nn.Module, dataset: Any, count: int, *, seed: int) -> list[Tensor]:
    """Images ``(3, H, W)`` drawn from a data set, as the model sees them in training.

    Args:
        model: whose preprocessing is used.
        dataset: what the training loader reads.
        count: how many.
        seed: of the draw and of the pipeline's random steps, below 2**63.

    Raises:
        SettingsError: there are fewer.
    """
    if len(dataset) < count:
        raise SettingsError(
            f"PromptPool(start='images', size={count}) takes an image for each slot, and the "
            f"training data has {len(dataset)}: set size={len(dataset)} or less, or start='uniform'"
        )
    images = []
    with seeded(seed):
        for index in torch.randperm(len(dataset))[:count].tolist():
            batch = model.data_preprocessor(pseudo_collate([dataset[index]]), training=False)
            images.append(batch['inputs'][0])
    return images
