"""The table of a comparison: means and ranges over seeds, the best method first."""

from __future__ import annotations

from pathlib import Path

from vitadapter_dense.continual.method_table import write_methods
from vitadapter_dense.continual.results import results_of


def test_methods_are_sorted_and_seeds_averaged(tmp_path: Path) -> None:
    def run(method: str, *rows: list[float], joint: bool = False, seed: int = 0) -> dict:
        tasks = [dict(row=row, trained_parameters=1234, delta_bytes=5 * 1024) for row in rows]
        return dict(results_of(tasks, joint=joint), method=method, seed=seed)

    runs = [
        run('none', [90.0], [10.0, 80.0]),
        run('none', [90.0], [30.0, 80.0], seed=1),
        run('joint', [80.0, 100.0], joint=True),
        run('pooled_lwf_0.3', [60.0], [60.0, 60.0]),
    ]
    table, plot = write_methods(runs, tmp_path, command='continual_shapes')
    lines = table.read_text().splitlines()[2:]
    assert lines == [
        '| joint | 1 | 90.0 | - | - | - | - | 1,234 | 5 |',
        '| pooled_lwf_0.3 | 1 | 60.0 | 60.0 | 0.0 | 0.0 | 0.0 | 1,234 | 5 |',
        f'| none | 2 | 50.0 (10.0) | 85.0 (0.0) {"| 70.0 (20.0) " * 3}| 1,234 | 5 |',
    ]
    assert plot.stat().st_size > 1000
