"""How often each class occurs in the splits of a data set, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from vitadapter_dense.datasets.split_report import SplitReport
from vitadapter_dense.reports.output_files import write_output
from vitadapter_dense.reports.plots import name_ticks

_MANY = 100  # classes


def draw_class_shares(reports: Mapping[str, SplitReport], *, out: Path, command: str) -> None:
    """Writes a bar for every class and split: its share, with its number beside it.

    The scale is linear, so that a bar twice as long says twice as much; what is too rare for a bar
    to be seen has its number. Of many classes those that occur in no split are left out.

    Args:
        reports: by the name of the split.
        out: the picture; nothing is written over that ``command`` did not make, and nothing at all
            without classes.
        command: name of the command that writes.

    Raises:
        OutputError: another hand made the file that is there.
    """
    drawn = {split: report for split, report in reports.items() if report.classes}
    if not drawn:
        return
    classes = max((report.classes for report in drawn.values()), key=len)
    shown = [
        index
        for index in range(len(classes))
        if len(classes) <= _MANY
        or any(report.classes[index][1] for report in drawn.values() if index < len(report.classes))
    ]
    figure = Figure(figsize=(8, max(2.5, 0.28 * len(shown) + 1)))
    axes = figure.subplots()
    height = 0.8 / len(drawn)
    for number, (split, report) in enumerate(drawn.items()):
        total = max(1, sum(count for _, count, _ in report.classes))
        own = [index for index in shown if index < len(report.classes)]
        shares = [100 * report.classes[index][1] / total for index in own]
        places = [index + number * height for index in range(len(shares))]
        label = f'{split} ({report.images} images)'
        bars = axes.barh(places, shares, height=height, label=label)
        texts = [f'{share:.2g}%' if share < 10 else f'{share:.0f}%' for share in shares]
        axes.bar_label(bars, texts, padding=3, fontsize=7)
    middle = height * (len(drawn) - 1) / 2
    places = [index + middle for index in range(len(shown))]
    name_ticks(axes.yaxis, places, [classes[index][0] for index in shown])
    axes.set_ylim(len(shown), -1)  # the first class on top
    axes.set_xlim(0, 1.12 * axes.get_xlim()[1])  # room for the numbers
    axes.set(xlabel=f'% of the {next(iter(drawn.values())).unit}', title='How often classes occur')
    axes.grid(axis='x', alpha=0.3)
    axes.legend(fontsize='small', loc='upper left', bbox_to_anchor=(1, 1))
    figure.tight_layout()
    with write_output(out, command=command) as partial:
        figure.savefig(partial, dpi=110)
