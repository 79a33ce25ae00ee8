"""What a comparison of heads found: a table, and quality against the time of an image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from vitadapter_dense.reports.output_files import write_output

COMPARISON_FILES = ('table.md', 'plot.png')
SCORES = {
    'box mAP': 'coco/bbox_mAP',
    'mask mAP': 'coco/segm_mAP',
    'PQ': 'coco_panoptic/PQ',
    'mIoU': 'mIoU',
}
"""What is shown, in percent, and what the evaluators call it."""
_MARKERS = 'osD^vPX'
_FRACTIONS = ('coco/bbox_mAP', 'coco/segm_mAP')


def percent(metrics: Mapping[str, float]) -> dict[str, float]:
    """The scores that are shown, of what the evaluators gave; some give fractions."""
    return {
        name: float(metrics[key]) * (100 if key in _FRACTIONS else 1)
        for name, key in SCORES.items()
        if key in metrics
    }


def comparison_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The results as a Markdown table.

    Args:
        results: by kind: ``scores`` (name: at a third of the training and at its end, in percent),
            ``trained`` and ``parameters``, ``flops``, ``step_seconds`` and ``image_seconds``.
    """
    shown = [name for name in SCORES if any(name in each['scores'] for each in results.values())]
    heads = ['kind', *shown, 'trained / all, M', 'GFLOPs', 's a step', 's an image']
    lines = [f'| {" | ".join(heads)} |', '|---' * len(heads) + '|']
    for kind, result in results.items():
        cells = [kind]
        for name in shown:
            third, end = result['scores'].get(name, (None, None))
            cells.append('' if end is None else f'{third:.1f} → {end:.1f}')
        cells += [
            f'{result["trained"] / 1e6:.2f} / {result["parameters"] / 1e6:.2f}',
            f'{result["flops"] / 1e9:.2f}',
            f'{result["step_seconds"]:.3f}',
            f'{result["image_seconds"]:.3f}',
        ]
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'


def draw_comparison(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """A panel for each score: it at the end of the training, against the seconds of an image.

    A line leads from the score at a third of the training to that at its end.
    """
    shown = [name for name in SCORES if any(name in each['scores'] for each in results.values())]
    figure = Figure(figsize=(3.2 * len(shown) + 2.2, 4), layout='constrained')
    points = {}
    for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        axes.plot(0, 0, alpha=0)  # both axes begin there, and end a little behind the last point
        for number, (kind, result) in enumerate(results.items()):
            if name not in result['scores']:
                continue
            colour, marker = f'C{number % 10}', _MARKERS[number % len(_MARKERS)]
            x, (third, end) = result['image_seconds'], result['scores'][name]
            axes.plot([x, x], [third, end], color=colour, linewidth=1, alpha=0.5)
            points[kind] = axes.plot(x, end, marker=marker, color=colour, linestyle='')[0]
        axes.set(xlabel='s an image', ylabel=f'{name} (%)')
    figure.legend(points.values(), points.keys(), loc='outside right center', frameon=False)
    return figure


def write_comparison(
    results: Mapping[str, Mapping[str, Any]], out: Path, *, command: str
) -> list[Path]:
    """Writes ``table.md`` and ``plot.png``; both paths are returned.

    Args:
        results: as in :func:`comparison_table`.
        out: the folder.
        command: name of what writes them, see :mod:`vitadapter_dense.reports.output_files`.
    """
    table, plot = (out / name for name in COMPARISON_FILES)
    with write_output(table, command=command) as partial:
        partial.write_text(comparison_table(results))
    with write_output(plot, command=command) as partial:
        draw_comparison(results).savefig(partial, dpi=110)
    return [table, plot]
