"""Draws which prompts of a pool the images of each class got, task by task.

    python tools/analysis/prompt_choices.py work_dirs/continual/shapes_l2p --class ring

Reads what `PromptCountsHook` (custom_hooks of the configuration) has written in the evaluations
below the work directory, and writes a heat map, with the prompts above its columns where they are
images, a CSV of the counts, and, with --class, bars for that class.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import parse


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description='Draw which prompts serve which class.')
    parser.add_argument('work_dir', help='work directory of a run, or of a sequence of tasks')
    parser.add_argument('--class', dest='chosen', help='class to draw bars for')
    parser.add_argument('--out', help='picture to write (default: prompt_choices.png there)')
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import csv

from vitadapter_dense.reports.output_files import OutputError, write_output
from vitadapter_dense.reports.plots import check_plot
from vitadapter_dense.reports.prompt_counts import read_counts
from vitadapter_dense.reports.prompt_plot import class_bars, heat_map

COMMAND = 'prompt_choices'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    out = Path(args.out or Path(args.work_dir) / 'prompt_choices.png')
    bars, table = out.with_stem(f'{out.stem}_class'), out.with_suffix('.csv')
    try:
        check_plot(out, table, *([bars] if args.chosen else []), command=COMMAND)
        tasks = read_counts(args.work_dir)
        figures = {out: heat_map(tasks)}
        if args.chosen:
            figures[bars] = class_bars(tasks, args.chosen)
    except (FileNotFoundError, OutputError, ValueError) as error:
        raise SystemExit(f'error: {error}') from error
    for path, figure in figures.items():
        with write_output(path, command=COMMAND) as partial:
            figure.savefig(partial, dpi=100, format=path.suffix[1:])
    with write_output(table, command=COMMAND) as partial, partial.open('w', newline='') as stream:
        writer = csv.writer(stream)
        writer.writerow(('task', 'class', 'prompt', 'count'))
        for task in tasks:
            for name, row in zip(task.classes, task.counts.tolist(), strict=True):
                writer.writerows((task.task, name, slot, count) for slot, count in enumerate(row))
    print(f'Written: {", ".join(map(str, [*figures, table]))}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
