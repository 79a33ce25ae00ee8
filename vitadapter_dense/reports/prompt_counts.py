"""``PromptCountsHook``: which prompts of a pool the images of a class get, counted in evaluations.

The counts of a task lie in its work directory, so that those of a sequence of tasks are a table
``[task, class, prompt]``, which `tools/analysis/prompt_choices.py` draws.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.structures import BaseDataElement
from PIL import Image
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vitadapter_dense.reports.output_files import write_output
from vitadapter_dense.tuning import PromptPool

FILE = 'prompt_counts.json'
PICTURES = 'prompt_pictures'
_COMMAND = 'PromptCountsHook'


@HOOKS.register_module()
class PromptCountsHook(Hook):
    """Counts choices in every validation and test, and writes those of the last one.

    An image counts once for each class in it: its label, the classes of its objects, or those of
    its pixels. Where a model looks at an image several times (windows), each time counts. Written
    into the work directory: `prompt_counts.json`, and, where prompts are images, `prompt_pictures/`
    with a PNG a prompt, each from its smallest to its largest value.

    Raises:
        ValueError: the model has no ``PromptPool``, or several.
    """

    def __init__(self) -> None:
        self._handle: RemovableHandle | None = None
        self._chosen: list[Tensor] = []
        self._counts = torch.zeros(0)

    def before_val_epoch(self, runner: Any) -> None:
        """Begins to count."""
        self._begin(runner, runner.val_dataloader)

    def before_test_epoch(self, runner: Any) -> None:
        """Begins to count."""
        self._begin(runner, runner.test_dataloader)

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Counts a batch."""
        self._count(outputs)

    after_test_iter = after_val_iter

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        """Writes what was counted."""
        self._handle.remove()
        pool = pool_of(runner.model)
        counts = self._counts.to(pool.task.device)
        all_reduce(counts)
        if is_main_process():
            write_counts(runner.work_dir, pool, self._classes, counts.cpu())

    after_test_epoch = after_val_epoch

    def _begin(self, runner: Any, loader: Any) -> None:
        pool = pool_of(runner.model)
        self._classes = tuple(loader.dataset.metainfo['classes'])
        self._counts = torch.zeros(len(self._classes), pool.size, dtype=torch.int64)
        self._chosen = []
        self._handle = pool.choice.register_forward_hook(self._see)

    def _see(self, _choice: nn.Module, _args: tuple, chosen: Any) -> None:
        self._chosen.append(chosen.slots.cpu())

    def _count(self, samples: Sequence[BaseDataElement]) -> None:
        chosen, self._chosen = self._chosen, []
        for slots in chosen:
            if len(samples) not in (1, len(slots)):
                raise ValueError(
                    f'{len(slots)} parts of {len(samples)} images were looked at together: which '
                    f'belongs to which image cannot be told; evaluate with batch_size=1'
                )
            for number, own in enumerate(slots):
                labels = classes_in(samples[number if len(samples) > 1 else 0], len(self._classes))
                self._counts[labels[:, None], own] += 1


def pool_of(model: nn.Module) -> PromptPool:
    """The only pool of a model.

    Raises:
        ValueError: there is none, or there are several.
    """
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    pools = [module for module in model.modules() if isinstance(module, PromptPool)]
    if len(pools) != 1:
        raise ValueError(
            f'PromptCountsHook counts the choices of one PromptPool, and {type(model).__name__} '
            f'has {len(pools)}: leave the hook out, or tune with a pool'
        )
    return pools[0]


def classes_in(sample: BaseDataElement, count: int) -> Tensor:
    """Numbers of the classes, of so many, that the ground truth of a sample has, each once."""
    if 'gt_label' in sample:
        labels = sample.gt_label
    elif 'gt_sem_seg' in sample:
        labels = sample.gt_sem_seg.data
    elif 'gt_instances' in sample:
        labels = sample.gt_instances.labels
    else:
        labels = torch.zeros(0)
    found = torch.as_tensor(labels).unique().cpu().long()
    return found[(found >= 0) & (found < count)]


class PromptCounts(NamedTuple):
    """What a task's evaluation counted.

    Attributes:
        task: its number, -1 without tasks.
        classes: names.
        counts: ``(classes, prompts)``.
        top_k: prompts that an image gets.
        pictures: a file a prompt, where they are images.
    """

    task: int
    classes: tuple[str, ...]
    counts: np.ndarray
    top_k: int
    pictures: tuple[Path, ...]

    @property
    def shares(self) -> np.ndarray:
        """Percent of a class's images that got a prompt; NaN for a class without images."""
        with np.errstate(invalid='ignore'):
            return 100 * self.top_k * self.counts / self.counts.sum(axis=1, keepdims=True)


def write_counts(
    folder: str | Path, pool: PromptPool, classes: Sequence[str], counts: Tensor
) -> None:
    """Writes the counts of an evaluation, and the prompts' pictures, into a folder."""
    folder = Path(folder)
    names = []
    pictures = pool.pictures()
    for number, pixels in enumerate([] if pictures is None else pictures.float().cpu()):
        names.append(f'{PICTURES}/{number:03d}.png')
        (folder / PICTURES).mkdir(exist_ok=True, parents=True)
        low, high = pixels.min(), pixels.max()
        scaled = 255 * (pixels - low) / (high - low).clamp(min=1e-12)
        image = Image.fromarray(scaled.round().byte().permute(1, 2, 0).numpy())
        with write_output(folder / names[-1], command=_COMMAND) as partial:
            image.save(partial, format='PNG')
    record = dict(
        task=int(pool.task),
        classes=list(classes),
        counts=counts.tolist(),
        top_k=pool.top_k,
        pictures=names,
    )
    with write_output(folder / FILE, command=_COMMAND) as partial:
        partial.write_text(json.dumps(record))


def read_counts(folder: str | Path) -> list[PromptCounts]:
    """The counts below a folder, by task.

    Raises:
        FileNotFoundError: there are none.
        ValueError: two are of one task, or they differ in classes or prompts.
    """
    found: dict[int, PromptCounts] = {}
    for file in sorted(Path(folder).rglob(FILE)):
        record = json.loads(file.read_text())
        own = PromptCounts(
            record['task'],
            tuple(record['classes']),
            np.array(record['counts']),
            record['top_k'],
            tuple(file.parent / name for name in record['pictures']),
        )
        if own.task in found:
            raise ValueError(
                f'{file} is the second of task {own.task} below {folder}: give the folder of one '
                f'sequence'
            )
        found[own.task] = own
    if not found:
        raise FileNotFoundError(
            f'no {FILE} below {folder}: evaluate with custom_hooks=[dict(type='
            f"'PromptCountsHook')] in the config"
        )
    tasks = [found[task] for task in sorted(found)]
    if len({(one.classes, one.counts.shape) for one in tasks}) > 1:
        raise ValueError(f'the counts below {folder} are of several data sets or pools')
    return tasks
