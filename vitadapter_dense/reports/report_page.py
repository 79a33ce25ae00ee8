"""A run's report as one HTML file: images inlined, no script, nothing from elsewhere.

The page forbids the browser to fetch anything, and every text is escaped by the template engine.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from vitadapter_dense.reports.class_table import ClassTable
from vitadapter_dense.reports.extremes import ScoredImage

TEMPLATE = Path(__file__).with_name('report.html.jinja')
WIDEST = 16  # inches of a plot that is made to fit the page
HEADLINES = {
    'coco/bbox_mAP': 'box AP',
    'coco/segm_mAP': 'mask AP',
    'mIoU': 'mean IoU',
    'aAcc': 'pixel accuracy',
}


@dataclass
class ReportPage:
    """What a report shows; what a run has not is left out, with a word why.

    Attributes:
        title: of the page.
        facts: what ran.
        metrics: of the test, or the last ones that the training logged.
        metrics_of: where the metrics are from.
        curves: losses, learning rate and metrics, if there was a training.
        table: metrics by class.
        matrix: picture of the confusion matrix.
        matrix_note: how it was counted.
        confusions: true class, predicted class, count, share of the true class's.
        unit: what the matrix counts.
        best: images of high scores.
        worst: images of low scores.
        score_note: what the score of an image is.
        config_text: the whole configuration.
    """

    title: str
    facts: Mapping[str, str]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    metrics_of: str = ''
    curves: Figure | None = None
    table: ClassTable | None = None
    matrix: Figure | None = None
    matrix_note: str = ''
    confusions: Sequence[tuple[str, str, int, float]] = ()
    unit: str = ''
    best: Sequence[ScoredImage] = ()
    worst: Sequence[ScoredImage] = ()
    score_note: str = ''
    config_text: str = ''

    def html(self) -> str:
        """The page."""
        engine = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        engine.filters |= dict(png=_png, jpeg=_jpeg, figure=_number, width=_width)
        template = engine.from_string(TEMPLATE.read_text(encoding='utf-8'))
        headlines = {
            label: self.metrics[key] for key, label in HEADLINES.items() if key in self.metrics
        }
        cells = _cells(self.table) if self.table else []
        best = 'Best images' if self.worst else 'Images'
        groups = [('Worst images', self.worst), (best, self.best)]
        return template.render(page=self, headlines=headlines, cells=cells, groups=groups)


def _cells(table: ClassTable) -> list[tuple[str, list[tuple[str, float | None]]]]:
    """Each class with its figures as text, and the length of their bars in percent, if any."""
    rows = []
    for number, (name, texts) in enumerate(table.rows()):
        bars = [
            None
            if isinstance(values[number], int)
            else max(0.0, min(100.0, 100 * values[number] / table.full))
            for values in table.columns.values()
        ]
        # NaN has no bar
        lengths = [bar if text != '-' else None for bar, text in zip(bars, texts, strict=True)]
        rows.append((name, list(zip(texts, lengths, strict=True))))
    return rows


def _png(figure: Figure) -> str:
    stream = io.BytesIO()
    wide = figure.get_size_inches()[0]
    # As wide as the page on a screen of high resolution; a larger one is scrolled.
    figure.savefig(stream, format='png', dpi=max(72, min(110, 1650 / wide)))
    return 'data:image/png;base64,' + base64.b64encode(stream.getvalue()).decode()


def _width(figure: Figure) -> str:
    """How a plot is shown: within the page, or, with many classes, as large as it is."""
    return 'fit' if figure.get_size_inches()[0] <= WIDEST else ''


def _jpeg(picture: bytes) -> str:
    return 'data:image/jpeg;base64,' + base64.b64encode(picture).decode()


def _number(value: Any) -> str:
    """A metric as text; COCO's -1 says that there was nothing to measure."""
    if not isinstance(value, Real):
        return str(value)
    if value == -1:
        return '-'
    return f'{value:.3f}' if abs(value) <= 1 else f'{value:.4g}'
