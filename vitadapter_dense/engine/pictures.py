"""Pictures of predictions, beside the ground truth where there is one, for both toolboxes."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer

from vitadapter_dense.datasets.loading import decode_image
from vitadapter_dense.engine.enlarging import drawing_factor, enlarge
from vitadapter_dense.engine.label_pictures import (
    draw_label_map,
    draw_segmentation,
    is_segmentation,
)


def read_rgb(image_file: str | Path) -> np.ndarray:
    """Reads an image for drawing: (H, W, 3), RGB, 0 to 255, as `LoadImageChecked` reads it.

    Raises:
        DatasetError: when the file cannot be decoded.
        OSError: when it cannot be read.
    """
    image = decode_image(Path(image_file).read_bytes(), name=str(image_file))
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
            the left.
        out_file: where the picture goes; its folder is made.
        score_thr: predictions with a lower score are left out (detection only).
        ground_truth: whether to draw what the annotations say.
        prediction: whether to draw what the model says.

    A small image is enlarged before, a whole number of times. A label map gets a legend below it.

    Returns:
        The path of the picture.
    """
    out_file = Path(out_file)
    out_file.parent.mkdir(parents=True, exist_ok=True)
    image, sample = _enlarged(image, sample)
    if is_segmentation(sample):
        asked = dict(ground_truth=ground_truth, prediction=prediction)
        picture = draw_segmentation(image, sample, visualizer.dataset_meta, **asked)
        if not cv2.imwrite(str(out_file), picture[..., ::-1]):
            raise OSError(f'{out_file} cannot be written')
    else:
        options = dict(draw_gt=ground_truth, draw_pred=prediction, out_file=str(out_file))
        _draw_instances(visualizer, image, sample, score_thr, **options)
    return out_file


def render_prediction(
    visualizer: Visualizer,
    image: np.ndarray,
    *,
    sample: BaseDataElement,
    score_thr: float = 0.3,
) -> np.ndarray:
    """Draws the prediction of one data sample and returns the picture, of the image's size.

    Arguments as for `draw_sample`. Returns (H, W, 3), RGB, 0 to 255, without a legend.
    """
    if is_segmentation(sample):
        labels = sample.pred_sem_seg.data.cpu().numpy().reshape(image.shape[:2])
        return draw_label_map(image, labels, visualizer.dataset_meta['palette'])
    _draw_instances(visualizer, image, sample, score_thr, draw_gt=False, draw_pred=True)
    return visualizer.get_image()


def _enlarged(image: np.ndarray, sample: BaseDataElement) -> tuple[np.ndarray, BaseDataElement]:
    factor = drawing_factor(image.shape)
    return enlarge(image, sample.cpu(), factor=factor) if factor > 1 else (image, sample)


def _draw_instances(
    visualizer: Visualizer,
    image: np.ndarray,
    sample: BaseDataElement,
    score_thr: float,
    **options: Any,
) -> None:
    """Has the toolbox's visualizer draw; only the first of several processes does."""
    if 'pred_score_thr' in inspect.signature(visualizer.add_datasample).parameters:
        options['pred_score_thr'] = score_thr
    visualizer.add_datasample('sample', image, data_sample=sample, show=False, **options)


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
