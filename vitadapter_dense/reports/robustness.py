"""How much of a model's quality is left under corruption: numbers, a table, a picture.

mPC is the mean over corruptions and severities, rPC its share of the clean value (Michaelis et al.
2019, arXiv:1907.07484); mCE the mean error relative to AlexNet's (Hendrycks and Dietterich 2019,
arXiv:1903.12261).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from matplotlib.figure import Figure

from vitadapter_dense.datasets.corruption import CORRUPTIONS, SEVERITIES

Metrics = Mapping[str, float]
Condition = tuple[str, int]  # corruption and severity
CLEAN: Condition = ('clean', 0)

_MAIN = re.compile(r'(coco/(bbox|segm)_mAP|mIoU|coco_panoptic/PQ|accuracy/top1)$')
# AlexNet's error on ImageNet-C, the mean of the five severities (github.com/hendrycks/robustness)
_ALEXNET = (
    *(0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360, 0.866816),
    *(0.826572, 0.819324, 0.564592, 0.853204, 0.646056, 0.717840, 0.606500),
)
_IMAGENET_CLASSES = 1000
ALEXNET_ERRORS = dict(zip(CORRUPTIONS, _ALEXNET, strict=True))


@dataclass(frozen=True)
class Robustness:
    """One metric under corruption.

    Attributes:
        metric: its name.
        clean: its value on the images as they are.
        values: by corruption and severity, as far as measured.
        imagenet: whether it is of ImageNet's 1000 classes, as AlexNet's errors are.
    """

    metric: str
    clean: float
    values: Mapping[Condition, float]
    imagenet: bool = False

    @property
    def corruptions(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self.values))

    @property
    def severities(self) -> list[int]:
        return sorted({severity for _, severity in self.values})

    def mean_of(self, corruption: str) -> float:
        """Over the severities."""
        return fmean(value for (name, _), value in self.values.items() if name == corruption)

    @property
    def mean(self) -> float:
        """mPC: the mean of the corruptions' means."""
        return fmean(map(self.mean_of, self.corruptions))

    @property
    def relative(self) -> float:
        """rPC; nan where the clean value is 0."""
        return self.mean / self.clean if self.clean else float('nan')

    @property
    def corruption_error(self) -> float | None:
        """mCE of an accuracy in percent; None unless all of ImageNet-C was measured."""
        wanted = {(name, severity) for name in CORRUPTIONS for severity in SEVERITIES}
        measured = self.imagenet and self.metric.endswith('accuracy/top1')
        if not measured or not wanted <= set(self.values):
            return None
        errors = ALEXNET_ERRORS.items()
        return fmean((1 - self.mean_of(name) / 100) / error for name, error in errors)


def robustness_of(
    results: Mapping[Condition, Metrics], metrics: Sequence[str], *, num_classes: int | None = None
) -> list[Robustness]:
    """Sorts what was measured by metric.

    Args:
        results: metrics by condition, `CLEAN` among them.
        metrics: names; none chooses the main ones of the task.
        num_classes: of the data set; 1000 are taken for ImageNet's.

    Raises:
        ValueError: for a metric that was not measured.
    """
    clean = results[CLEAN]
    if not clean:
        raise ValueError('on clean images there is no metric: the model finds nothing in them.')
    chosen = list(metrics) or [name for name in clean if _MAIN.match(name)] or list(clean)[:1]
    for name in chosen:
        if name not in clean:
            raise ValueError(f'there is no metric {name!r}; there are {", ".join(clean)}.')

    def by_condition(name: str) -> dict[Condition, float]:
        # where a detector finds no object at all, its evaluator gives no metric
        return {key: found.get(name, 0.0) for key, found in results.items() if key != CLEAN}

    imagenet = num_classes == _IMAGENET_CLASSES
    return [Robustness(name, clean[name], by_condition(name), imagenet) for name in chosen]


def robustness_lines(found: Robustness) -> list[str]:
    """A table by corruption and severity, and the means below it."""
    severities = found.severities
    head = f'{found.metric:<20}' + ''.join(f'{f"sev. {s}":>9}' for s in severities) + f'{"mean":>9}'
    lines = [head, f'{"clean":<20}' + ' ' * 9 * len(severities) + f'{found.clean:>9.3f}']
    for name in found.corruptions:
        cells = [found.values.get((name, severity)) for severity in severities]
        texts = [f'{"-" if cell is None else f"{cell:.3f}":>9}' for cell in cells]
        lines.append(f'{name:<20}{"".join(texts)}{found.mean_of(name):>9.3f}')
    lines.append(f'mPC {found.mean:.3f}, rPC {found.relative:.1%} of the clean value')
    if (error := found.corruption_error) is not None:
        lines.append(f'mCE {error:.1%} (against AlexNet on ImageNet-C)')
    return lines


def robustness_figure(all_found: Iterable[Robustness]) -> Figure:
    """A panel a metric: corruptions by severity, in percent of the clean value."""
    found = list(all_found)
    rows = max(len(one.corruptions) for one in found)
    figure = Figure(figsize=(5.5 * len(found), 1.6 + 0.3 * rows), layout='constrained')
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for axes, one in zip(panels, found, strict=True):
        names, severities = one.corruptions, one.severities
        whole = one.clean or float('nan')
        shares = [
            [100 * one.values.get((n, s), float('nan')) / whole for s in severities] for n in names
        ]
        shown = axes.imshow(shares, cmap='viridis', vmin=0, vmax=100, aspect='auto')
        for row, cells in enumerate(shares):
            for column, cell in enumerate(cells):
                color = 'white' if cell < 50 else 'black'
                axes.text(column, row, f'{cell:.0f}', ha='center', va='center', color=color, size=8)
        axes.set_xticks(range(len(severities)), severities)
        axes.set_yticks(range(len(names)), [name.replace('_', ' ') for name in names])
        axes.set_xlabel('severity')
        axes.set_title(f'{one.metric}: clean {one.clean:.3f}, mPC {one.mean:.3f}', fontsize=10)
        figure.colorbar(shown, ax=axes, label='% of the clean value')
    return figure
