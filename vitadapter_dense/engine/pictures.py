"""Pictures of predictions, beside the ground truth where there is one, for both toolboxes."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer


def read_rgb(image_file: str | Path) -> np.ndarray:
    """Reads an image for drawing: (H, W, 3), RGB, 0 to 255, turned as its EXIF data says.

    Raises:
        ValueError: when the file cannot be decoded.
    """
    image = cv2.imread(str(image_file), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f'{image_file} cannot be read as an image')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def draw_sample(
    visualizer: Visualizer,
    image: np.ndarray,
    *,
    sample: BaseDataElement,
    out_file: str | Path,
    score_thr: float = 0.3,
    ground_truth: bool = True,
    prediction: bool = True,
) -> Path:
    """Draws one data sample on its image and writes the picture.

    Args:
        visualizer: the toolbox's visualizer; its `dataset_meta` names classes and colours.
        image: (H, W, 3), RGB, 0 to 255, at the size that the sample's boxes and maps refer to.
        sample: predictions and ground truth; both together are drawn side by side, ground truth on
        the left. out_file: where the picture goes; its folder is made. score_thr: predictions with
        a lower score are left out (detection only). ground_truth: whether to draw what the
        annotations say. prediction: whether to draw what the model says.

    Returns:
        The path of the picture.
    """
    out_file = Path(out_file)
    out_file.parent.mkdir(parents=True, exist_ok=True)
    options = dict(draw_gt=ground_truth, draw_pred=prediction, out_file=str(out_file), show=False)
    if 'pred_score_thr' in inspect.signature(visualizer.add_datasample).parameters:
        options['pred_score_thr'] = score_thr
    visualizer.add_datasample(out_file.stem, image, data_sample=sample, **options)
    return out_file


@HOOKS.register_module()
class PredictionPicturesHook(Hook):
    """Writes a picture of every tested image: ground truth on the left, prediction on the right.

    Args:
        out_dir: folder of the pictures, named after the images (`.png`).
        score_thr: predictions with a lower score are left out (detection only).
        max_pictures: stop after so many pictures (in each process); `None` for all.
    """

    priority = 'LOW'

    def __init__(
        self, out_dir: str, score_thr: float = 0.3, *, max_pictures: int | None = None
    ) -> None:
        self.out_dir = Path(out_dir).resolve()
        self.score_thr = score_thr
        self.max_pictures = max_pictures
        self.written = 0

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        for sample in outputs or ():
            if self.max_pictures is not None and self.written >= self.max_pictures:
                return
            image = read_rgb(sample.img_path)
            out_file = self.out_dir / f'{Path(sample.img_path).stem}.png'
            draw_sample(
                runner.visualizer, image, sample=sample, out_file=out_file, score_thr=self.score_thr
            )
            self.written += 1
