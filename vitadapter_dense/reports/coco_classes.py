"""Average precision by class, out of the evaluation that a COCO metric makes anyway.

MMDetection's `CocoMetric(classwise=True)` writes boxes and masks under the same names and drops all
but three digits; pycocotools has computed every class's curve before, and they are read there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np

KINDS = {'bbox': 'box', 'segm': 'mask'}


class ClassPrecisions:
    """Average precisions by class, of the evaluations that were listened to.

    Attributes:
        values: by `box AP`, `box AP50`, `box AP75`, `mask AP`, ...: the value of every class, NaN
            for one without objects.
        classes: their names, in the order of the values.
    """

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}
        self.classes: tuple[str, ...] = ()

    def of(self, classes: Sequence[str]) -> dict[str, list[float]]:
        """The values of these classes; NaN for one that was not evaluated, as stuff is not."""
        return {
            name: [
                dict(zip(self.classes, values, strict=True)).get(c, float('nan')) for c in classes
            ]
            for name, values in self.values.items()
        }

    def listen(self, metrics: Sequence[Any]) -> None:
        """Has the metrics of an evaluator tell what pycocotools finds for them."""
        for metric in metrics:
            metric.compute_metrics = self._listening(metric.compute_metrics)

    def _listening(self, compute: Any) -> Any:
        @wraps(compute)
        def heard(results: list) -> dict:
            with self._heard():
                return compute(results)

        return heard

    @contextmanager
    def _heard(self) -> Iterator[None]:
        try:
            from pycocotools.cocoeval import COCOeval
        except ImportError:  # a segmentor needs none
            yield
            return
        accumulate = COCOeval.accumulate

        @wraps(accumulate)
        def told(evaluation: Any, *arguments: Any, **named: Any) -> Any:
            done = accumulate(evaluation, *arguments, **named)
            self._read(evaluation)
            return done

        COCOeval.accumulate = told
        try:
            yield
        finally:
            COCOeval.accumulate = accumulate

    def _read(self, evaluation: Any) -> None:
        settings = evaluation.params
        kind = KINDS.get(settings.iouType)
        if kind is None or not settings.useCats:
            return
        thresholds = np.asarray(settings.iouThrs)
        chosen = {f'{kind} AP': np.ones(len(thresholds), bool)}
        for percent in (50, 75):
            at = np.isclose(thresholds, percent / 100)
            if at.any():
                chosen[f'{kind} AP{percent}'] = at
        # IoU thresholds, recalls, classes, areas (all of them first), detections (the most last)
        curves = evaluation.eval['precision'][..., 0, -1]
        self.classes = tuple(evaluation.cocoGt.cats[cat]['name'] for cat in settings.catIds)
        for name, rows in chosen.items():
            points = curves[rows].transpose(2, 0, 1).reshape(len(self.classes), -1)
            self.values[name] = [
                float(of_class[of_class > -1].mean()) if (of_class > -1).any() else float('nan')
                for of_class in points
            ]
