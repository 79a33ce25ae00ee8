"""Pictures of predictions, beside the ground truth where there is one, for both toolboxes."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dist import get_dist_info, master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer

from vitadapter_dense.datasets.loading import decode_image
from vitadapter_dense.reports.class_accuracy import is_classified
from vitadapter_dense.reports.class_pictures import draw_classes, has_label
from vitadapter_dense.reports.enlarging import drawing_factor, enlarge
from vitadapter_dense.reports.instance_pictures import draw_detection, has_instances
from vitadapter_dense.reports.label_pictures import (
    draw_label_map,
    draw_segmentation,
    full_palette,
    is_segmentation,
    label_map,
)
from vitadapter_dense.reports.output_files import OutputError, check_outputs, write_output
from vitadapter_dense.reports.own_share import own_share
from vitadapter_dense.reports.panoptic_metric import INSTANCE_OFFSET
from vitadapter_dense.reports.panoptic_pictures import draw_panoptic, found_segments, has_segments
from vitadapter_dense.reports.picture_files import (
    check_picture_folder,
    free_name,
    image_files,
    picture_names,
)
from vitadapter_dense.reports.picture_style import ALPHA


def read_rgb(image_file: str | Path) -> np.ndarray:
    """Reads an image for drawing: (H, W, 3), RGB, 0 to 255, as `LoadImageChecked` reads it.

    Raises:
        DatasetError: when the file cannot be decoded.
        OSError: when it cannot be read.
    """
    image = decode_image(Path(image_file).read_bytes(), name=str(image_file))
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def image_of(sample: BaseDataElement) -> np.ndarray:
    """The image of a tested sample, as `read_rgb`; of an object that was cut out, that part.

    Raises as `read_rgb`.
    """
    image = read_rgb(sample.img_path)
    left, top, right, bottom = sample.get('crop') or (0, 0, image.shape[1], image.shape[0])
    return image[top:bottom, left:right]


def draw_sample(
    visualizer: Visualizer,
    image: np.ndarray,
    *,
    sample: BaseDataElement,
    out_file: str | Path,
    command: str,
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
        out_file: where the picture goes, as a PNG; its folder is made.
        command: who draws; a picture of another hand is not written over.
        score_thr: predictions with a lower score are left out (detection only).
        ground_truth: whether to draw what the annotations say.
        prediction: whether to draw what the model says.

    A small image is enlarged before, a whole number of times. A label map gets a legend below it.

    Returns:
        The path of the picture.
    """
    image, sample = _enlarged(image, sample)
    asked = dict(score_thr=score_thr, ground_truth=ground_truth, prediction=prediction)
    picture = _drawn(visualizer, image, sample, **asked)
    with write_output(out_file, command=command) as partial:
        if not cv2.imwrite(str(partial), picture[..., ::-1]):
            raise OSError(f'{out_file} cannot be written')
    return Path(out_file)


def render_small(
    visualizer: Visualizer,
    image: np.ndarray,
    *,
    sample: BaseDataElement,
    score_thr: float,
    side: int,
) -> np.ndarray:
    """Draws one data sample as `draw_sample` does, each half of a given size, and returns it.

    Arguments as for `draw_sample`; `side` is the longer one of a half, in pixels.
    """
    image, sample = enlarge(image, sample.cpu(), factor=side / max(image.shape[:2]))
    asked = dict(score_thr=score_thr, ground_truth=True, prediction=True)
    return _drawn(visualizer, image, sample, **asked)


def render_prediction(
    visualizer: Visualizer,
    image: np.ndarray,
    *,
    sample: BaseDataElement,
    score_thr: float = 0.3,
    alpha: float = ALPHA,
) -> np.ndarray:
    """Draws the prediction of one data sample and returns the picture.

    Arguments as for `draw_sample`; `alpha` is how much of the colour of a mask or a map is seen, 0
    to 1. Returns (H, W, 3), RGB, 0 to 255, of the image's size and without a legend; the classes of
    an image stand below it.
    """
    visualizer = _in_every_process(visualizer)
    if is_segmentation(sample):
        labels = label_map(sample.pred_sem_seg.data, image.shape[:2])
        return draw_label_map(image, labels, full_palette(visualizer.dataset_meta), alpha=alpha)
    meta = visualizer.dataset_meta
    if 'pred_panoptic_seg' in sample:
        ids = found_segments(sample)
        labels = ids % INSTANCE_OFFSET
        return draw_label_map(image, labels, full_palette(meta), segments=ids, alpha=alpha)
    if has_instances(sample):
        asked = dict(score_thr=score_thr, alpha=alpha, ground_truth=False)
        return draw_detection(image, sample, meta, **asked)
    if has_label(sample):
        return draw_classes(image, sample, meta, ground_truth=False, prediction=True)
    return _drawn_by(visualizer, image, sample, score_thr, draw_gt=False, draw_pred=True)


def _drawn(
    visualizer: Visualizer,
    image: np.ndarray,
    sample: BaseDataElement,
    *,
    score_thr: float,
    ground_truth: bool,
    prediction: bool,
) -> np.ndarray:
    """Ground truth, prediction or both side by side; (H, W, 3), RGB."""
    visualizer = _in_every_process(visualizer)
    asked = dict(ground_truth=ground_truth, prediction=prediction)
    if is_segmentation(sample):
        return draw_segmentation(image, sample, visualizer.dataset_meta, **asked)
    meta = visualizer.dataset_meta
    if has_segments(sample, meta):
        return draw_panoptic(image, sample, meta, **asked)
    if has_instances(sample):
        return draw_detection(image, sample, meta, score_thr=score_thr, **asked)
    if has_label(sample):
        return draw_classes(image, sample, meta, **asked)
    options = dict(draw_gt=ground_truth, draw_pred=prediction)
    return _drawn_by(visualizer, image, sample, score_thr, **options)


def _enlarged(image: np.ndarray, sample: BaseDataElement) -> tuple[np.ndarray, BaseDataElement]:
    factor = drawing_factor(image.shape)
    return enlarge(image, sample.cpu(), factor=factor) if factor > 1 else (image, sample)


def _drawn_by(
    visualizer: Visualizer,
    image: np.ndarray,
    sample: BaseDataElement,
    score_thr: float,
    **options: Any,
) -> np.ndarray:
    """Has the toolbox's visualizer draw what is of another kind; (H, W, 3), RGB."""
    visualizer.set_image(image)
    if 'pred_score_thr' in inspect.signature(visualizer.add_datasample).parameters:
        options['pred_score_thr'] = score_thr
    visualizer.add_datasample('sample', image, data_sample=sample, show=False, **options)
    return visualizer.get_image()


def _in_every_process(visualizer: Visualizer) -> Visualizer:
    """A twin that stores nothing and draws in every process; MMEngine's draws in the first alone.

    `master_only` turns methods and properties into what does nothing elsewhere; it is taken off.
    """
    if not isinstance(visualizer, Visualizer):  # of another program, which draws where it likes
        return visualizer
    twin = copy.copy(visualizer)
    twin._vis_backends = {}
    twin.__class__ = _free_kind(type(visualizer))
    return twin


@cache
def _free_kind(kind: type[Visualizer]) -> type[Visualizer]:
    wrapped = master_only(lambda: None).__code__
    free: dict[str, Any] = {}
    for name in dir(kind):
        member = inspect.getattr_static(kind, name)
        method = member.fget if isinstance(member, property) else member
        if getattr(method, '__code__', None) is wrapped:
            is_property = isinstance(member, property)
            free[name] = property(method.__wrapped__) if is_property else method.__wrapped__
    return type(kind.__name__, (kind,), free)


@HOOKS.register_module()
class PredictionPicturesHook(Hook):
    """Writes a picture of every tested image: ground truth on the left, prediction on the right.

    Args:
        out_dir: folder of the pictures, named after the images (`.png`), in folders as they are.
        score_thr: predictions with a lower score are left out (detection only).
        max_pictures: stop after so many pictures (of all processes); `None` for all.
    """

    priority = 'LOW'

    def __init__(
        self, out_dir: str, score_thr: float = 0.3, *, max_pictures: int | None = None
    ) -> None:
        self.out_dir = Path(out_dir).resolve()
        self.score_thr = score_thr
        self.max_pictures = max_pictures
        self.written = 0
        self._share = max_pictures
        self._names: dict[str, Path] = {}

    def before_test(self, runner: Runner) -> None:
        """Gives every picture its name, the same in all processes, and looks at the folder."""
        dataset = runner.test_dataloader.dataset
        wanted = len(dataset) if self.max_pictures is None else self.max_pictures
        wanted = min(wanted, len(dataset))
        self.written, self._share = 0, own_share(wanted)
        images = image_files(dataset)
        if not images and is_classified(dataset):
            raise OutputError(
                f'{type(dataset).__name__} keeps its images in memory, not in files: pictures of '
                'them cannot be named and drawn. Leave --show-dir out.'
            )
        alone = list(dict.fromkeys(images))
        self._names = dict(zip(alone, picture_names(alone), strict=True))
        if hasattr(dataset, 'metainfo'):  # the public name is set in the first process alone
            runner.visualizer._dataset_meta = dataset.metainfo
        check_picture_folder(self.out_dir, dataset)
        drawn = dict.fromkeys(images[:wanted])
        check_outputs((self.out_dir / self._names[image] for image in drawn), command='test')

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        for sample in outputs or ():
            if self._share is not None and self.written >= self._share:
                return
            draw_sample(
                runner.visualizer,
                image_of(sample),
                sample=sample,
                out_file=self.out_dir / self._picture_name(sample),
                command='test',
                score_thr=self.score_thr,
            )
            self.written += 1

    def _picture_name(self, sample: BaseDataElement) -> Path:
        """The image's; with its place where the sample is a part of that."""
        name, part = self._name(sample.img_path), sample.get('crop')
        return name if part is None else name.with_stem('_'.join(map(str, (name.stem, *part))))

    def _name(self, image: str) -> Path:
        """The picture's name; one of this process alone where the data set did not tell it."""
        if image not in self._names:
            rank, processes = get_dist_info()
            folder = f'process_{rank}' if processes > 1 else ''
            taken = {str(name).casefold() for name in self._names.values()}
            self._names[image] = free_name(Path(folder, f'{Path(image).stem}.png'), taken)
        return self._names[image]
