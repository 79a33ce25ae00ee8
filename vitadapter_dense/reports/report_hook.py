"""`ReportHook`: what a test found, as a page to look at and as files to go on with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from vitadapter_dense.reports.class_accuracy import LabelConfusionMatrix, is_classified
from vitadapter_dense.reports.class_table import (
    ClassTable,
    classification_table,
    detection_table,
    panoptic_table,
    segmentation_table,
)
from vitadapter_dense.reports.coco_classes import ClassPrecisions
from vitadapter_dense.reports.confusion_matrix import PixelConfusionMatrix
from vitadapter_dense.reports.confusion_plot import (
    confusion_figure,
    draw_confusions,
    worst_confusions,
)
from vitadapter_dense.reports.curves import chosen_metrics, curves_figure
from vitadapter_dense.reports.detection_confusion import DetectionConfusionMatrix
from vitadapter_dense.reports.extremes import Extremes
from vitadapter_dense.reports.frequency_groups import FrequencyGroupsHook
from vitadapter_dense.reports.output_files import check_outputs, write_output
from vitadapter_dense.reports.pictures import image_of, render_small
from vitadapter_dense.reports.report_page import ReportPage
from vitadapter_dense.reports.run_facts import run_facts
from vitadapter_dense.reports.run_logs import Curves, read_curves, scalar_files

SIDE = 320  # pixels of each half of a picture
QUALITY = 80  # of the JPEGs
CONFUSIONS = 12
CONSOLE_CLASSES = 10


class ReportFiles:
    """The files of a report: `report.html` in the work directory, the rest in `report/` there.

    They belong to the configuration: another one's report is not written over.
    """

    def __init__(self, cfg: Config, work_dir: str | Path) -> None:
        folder = Path(work_dir) / 'report'
        self.command = f'the report of {Path(cfg.filename or "a configuration").name}'
        self.page = Path(work_dir) / 'report.html'
        self.table = folder / 'metrics_by_class.csv'
        self.bars = folder / 'metrics_by_class.png'
        self.matrix = folder / 'confusion_matrix.png'

    def check(self) -> None:
        """Raises `OutputError` for a file that another hand made."""
        files = (self.page, self.table, self.bars, self.matrix, self.matrix.with_suffix('.csv'))
        check_outputs(files, command=self.command)

    def write(self, page: ReportPage) -> None:
        """Writes the page."""
        with write_output(self.page, command=self.command) as partial_file:
            partial_file.write_text(page.html(), encoding='utf-8')


def write_training_report(cfg: Config, work_dir: str | Path) -> Path:
    """Writes the report of a training without data to test on: what ran, and its curves.

    Raises:
        OutputError: another hand made the file that is there.
    """
    files, curves = ReportFiles(cfg, work_dir), logged_curves(work_dir)
    page = _page(cfg, curves, facts=run_facts(cfg, curves=curves))
    if curves is not None and curves.metrics:
        step, page.metrics = max(curves.metrics.items())
        page.metrics_of = f'Of the validation at {curves.step_name} {step}.'
    files.write(page)
    return files.page


def logged_curves(work_dir: str | Path) -> Curves | None:
    """What trainings in a work directory logged, if any did."""
    files = scalar_files(work_dir)
    curves = read_curves(work_dir, files) if files else None
    return curves if curves is not None and curves.train else None


def _page(cfg: Config, curves: Curves | None, *, facts: Mapping[str, str]) -> ReportPage:
    title = Path(cfg.filename).stem if cfg.filename else 'Report'
    page = ReportPage(title, facts, config_text=cfg.pretty_text)
    if curves is not None:
        page.curves = curves_figure([curves], metrics=chosen_metrics([curves], None))
    return page


@HOOKS.register_module()
class ReportHook(Hook):
    """Writes `report.html` and the files in `report/` to the work directory after a test.

    The score of an image is, of a detector, F1: twice the right predictions over all predictions
    and objects, as `instance_matching.py` pairs them; of a segmentor the mean IoU over the classes
    that the image has or was said to have; of a classifier 1 or 0, whether the image is right. An
    image without either has none.

    Args:
        score_thr: predictions with a lower score do not count (detection only; average precision
            counts all).
        iou_thr: least overlap of a prediction's box with its object's (detection only).
        images: so many of the best and of the worst are shown.
    """

    priority = 'VERY_LOW'

    def __init__(self, score_thr: float = 0.3, iou_thr: float = 0.5, *, images: int = 6) -> None:
        self.score_thr = score_thr
        self.iou_thr = iou_thr
        self.images = images
        self.table: ClassTable | None = None
        self.files: ReportFiles | None = None

    def before_test(self, runner: Runner) -> None:
        """Looks at what is there, and at what the images hold."""
        self.files = ReportFiles(runner.cfg, runner.work_dir)
        if is_main_process():
            self.files.check()
        dataset, metrics = runner.test_dataloader.dataset, runner.test_evaluator.metrics
        if hasattr(dataset, 'metainfo'):  # the public name is set in the first process alone
            runner.visualizer._dataset_meta = dataset.metainfo
        self._confusions: PixelConfusionMatrix = DetectionConfusionMatrix(
            self.score_thr, self.iou_thr
        )
        self._detector = self._confusions.read_objects(dataset)
        self._classifier = is_classified(dataset)
        if self._classifier:
            self._confusions = LabelConfusionMatrix()
        elif not self._detector:
            ignored = [m.ignore_index for m in metrics if hasattr(m, 'ignore_index')]
            self._confusions = PixelConfusionMatrix(*ignored[:1])
        self._confusions.dataset_meta = getattr(dataset, 'metainfo', {})
        self._extremes, self._counted = Extremes(self.images), 0
        self._precisions = ClassPrecisions()
        self._precisions.listen(metrics)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Counts, and draws what is better or worse than all before."""
        for sample in outputs or ():
            if not self._is_complete(sample):
                continue
            matrix = self._confusions.add(sample.to_dict())
            self._counted += 1
            if 'img_path' not in sample:  # a data set that keeps its images in memory
                continue
            right = int(np.trace(matrix))
            self._extremes.offer(
                str(sample.img_path),
                self._confusions.score(matrix),
                right=right,
                wrong=int(matrix.sum()) - right,
                detail=self._detail(matrix),
                draw=partial(self._picture, runner, sample),
            )

    def after_test_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Writes the report, in the first process."""
        matrix = None
        if all(all_gather_object(self._counted)):
            self._confusions.evaluate(len(runner.test_dataloader.dataset))
            matrix = self._confusions.matrix
        best, worst = self._extremes.gather()
        if not is_main_process():
            return
        curves = logged_curves(runner.work_dir)
        page = _page(runner.cfg, curves, facts=run_facts(runner.cfg, runner=runner, curves=curves))
        page.metrics = metrics or {}
        page.metrics_of = f'On the test data ({page.facts["test data"]}).'
        page.best, page.worst, page.score_note = best, worst, self._score_note()
        classes = self._confusions.dataset_meta.get('classes', ())
        qualities = [m.qualities for m in runner.test_evaluator.metrics if hasattr(m, 'qualities')]
        if qualities and qualities[0]:
            page.table = panoptic_table(qualities[0])
        elif self._detector and (matrix is not None or self._precisions.values):
            names = classes or self._precisions.classes
            page.table = detection_table(matrix, names, self._precisions.of(names))
        elif matrix is not None:
            table = classification_table if self._classifier else segmentation_table
            page.table = table(matrix, classes)
        if matrix is not None:
            page.unit = self._confusions.unit
            page.matrix = confusion_figure(matrix, classes, unit=page.unit)
            page.matrix_note = self._matrix_note()
            page.confusions = worst_confusions(matrix, classes, count=CONFUSIONS)
            named = dict(out=self.files.matrix, command=self.files.command)
            draw_confusions(matrix, classes, unit=page.unit, **named)
        counted = [h for h in runner.hooks if isinstance(h, FrequencyGroupsHook)]
        if page.table is not None and counted:
            counts = counted[0].counts_of(page.table.classes)
            page.table.columns['training images'] = counts
        self.table = page.table
        if page.table is not None:
            page.table.write_csv(self.files.table, command=self.files.command)
            page.table.write_bars(self.files.bars, command=self.files.command)
        self.files.write(page)

    def class_lines(self) -> list[str]:
        """What was found by class, in a few lines for the terminal."""
        return self.table.text(CONSOLE_CLASSES) if self.table is not None else []

    def _is_complete(self, sample: BaseDataElement) -> bool:
        """Whether a data sample says what is counted."""
        if self._detector:
            found = sample.get('pred_instances', {})
            return all(name in found for name in ('bboxes', 'labels', 'scores'))
        wanted = ('gt_label', 'pred_label') if self._classifier else ('gt_sem_seg', 'pred_sem_seg')
        return all(name in sample for name in wanted)

    def _picture(self, runner: Runner, sample: BaseDataElement) -> bytes:
        picture = render_small(
            runner.visualizer,
            image_of(sample),
            sample=sample,
            score_thr=self.score_thr,
            side=SIDE,
        )
        settings = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
        return cv2.imencode('.jpg', picture[..., ::-1], settings)[1].tobytes()

    def _detail(self, matrix: np.ndarray) -> str:
        right = int(np.trace(matrix))
        if self._classifier:
            return 'right' if right else 'mistaken'
        if not self._detector:
            return f'{right / max(1, matrix.sum()):.1%} of the pixels right'
        objects, missed, false = matrix[:-1].sum(), matrix[:-1, -1].sum(), matrix[-1].sum()
        mistaken = objects - right - missed
        return f'{right} of {objects} right, {mistaken} mistaken, {missed} missed, {false} false'

    def _score_note(self) -> str:
        if self._detector:
            return (
                'By F1: twice the right predictions over all predictions and objects, at a score '
                f'of at least {self.score_thr:g} and an IoU of at least {self.iou_thr:g}. Ground '
                'truth is on the left.'
            )
        if self._classifier:
            return 'Images that are right, and images that are not.'
        return (
            'By the mean IoU of the classes that an image has or was said to have. Ground truth is '
            'on the left.'
        )

    def _matrix_note(self) -> str:
        if not self._detector:
            return f'What the {self._confusions.unit} of each class were taken for.'
        return (
            'What the objects of each class were taken for, at a score of at least '
            f'{self.score_thr:g}: each prediction, the surest first, takes the free object of its '
            f'class that its box overlaps most, if the IoU is at least {self.iou_thr:g}; what is '
            'left is paired across classes in the same way. Missed: an object without a '
            'prediction. False: a prediction without an object.'
        )
