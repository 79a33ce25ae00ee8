"""Draws what `benchmark.py` has measured: how many times as long as ours the others take.

python ops/benchmark.py --dtypes float32 --csv msda.csv
python ops/benchmark_chart.py msda.csv msda.png
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CHART_MARK = 'msda/benchmark.py'  # stands in a picture of ours; no other is written over
PASSES = {'forward': 'forward', 'both': 'forward + backward', 'module': 'the whole module'}
CONTENDERS = {
    'reference': 'msda, PyTorch reference',
    'mmcv_pytorch': "mmcv's PyTorch function",
    'mmcv_compiled': "mmcv's compiled operator",
    'deformops_cuda': "deformops' CUDA kernels",
    'deformops_triton': "deformops' Triton kernels",
}
COLORS = ('#4c78a8', '#f58518', '#54a24b', '#b279a2', '#9d755d')
BAR = 0.17  # inches


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """One panel a pass, one group of bars a case; `rows` as `benchmark.py` writes them."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    columns = dict.fromkeys(key for row in rows for key in row if key.endswith('/ours'))
    ratios = [column for column in columns if any(row.get(column) for row in rows)]
    cases = list(dict.fromkeys(case_of(row) for row in rows))
    passes = [name for name in PASSES if any(row['pass'] == name for row in rows)]
    figure, panels = pyplot.subplots(
        1,
        len(passes),
        sharey=True,
        squeeze=False,
        layout='constrained',
        figsize=(8, 1.2 + len(cases) * BAR * (len(ratios) + 0.8)),
    )
    for axes, name in zip(panels[0], passes, strict=True):
        found = {case_of(row): row for row in rows if row['pass'] == name}
        width = 1 / (len(ratios) + 0.8)
        for i, column in enumerate(ratios):
            shift = (i - (len(ratios) - 1) / 2) * width
            lengths = [float(found.get(case, {}).get(column) or 0) for case in cases]
            places = [place + shift for place in range(len(cases))]
            contender = column.removesuffix('/ours')
            bars = axes.barh(
                places,
                lengths,
                height=width,
                color=COLORS[i % len(COLORS)],
                label=CONTENDERS.get(contender, contender),
            )
            labels = [f'{length:.1f}' if length else '' for length in lengths]
            axes.bar_label(bars, labels, padding=2, fontsize=8)
        axes.axvline(1, color='black', linewidth=0.8)
        axes.margins(x=0.12)
        axes.set_title(PASSES[name], fontsize=10)
        axes.set_xlabel("time / time of msda's kernels (line)", fontsize=9)
        axes.spines[['top', 'right']].set_visible(False)
    panels[0, 0].set_yticks(range(len(cases)), cases, fontsize=9)
    panels[0, 0].invert_yaxis()
    handles = panels[0, 0].get_legend_handles_labels()
    figure.legend(
        *handles, loc='outside upper center', ncols=len(ratios), frameon=False, fontsize=9
    )
    figure.savefig(path, dpi=150, metadata=dict(Title=CHART_MARK))


def case_of(row: dict[str, Any]) -> str:
    """A case in words; the type stands there where it isn't the usual one."""
    dtype = '' if row['dtype'] == 'float32' else f', {row["dtype"]}'
    return f'ViT-{row["size"]}, {row["image"].replace("x", " x ")}, {row["operator"]}{dtype}'


def is_foreign(path: Path, mark: str) -> bool:
    """Whether a file is there that was not made here; such a file is not written over."""
    return path.exists() and mark.encode() not in path.read_bytes()[:4096]


def main() -> None:
    """Draws the chart of a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('csv', type=Path, help='what benchmark.py --csv wrote')
    parser.add_argument('chart', type=Path, help='PNG')
    options = parser.parse_args()
    if is_foreign(options.chart, CHART_MARK):
        parser.error(f'{options.chart} was not made here, and is not written over')
    try:
        with options.csv.open(newline='') as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        parser.error(str(error))
    if not rows or 'pass' not in rows[0]:
        parser.error(f'{options.csv} holds no rows of benchmark.py --csv')
    draw(rows, options.chart)


if __name__ == '__main__':
    main()
