"""The table of dense steps: the means over groups after the first and the last step."""

from __future__ import annotations

from pathlib import Path

from vitadapter_dense.continual.step_table import write_steps


def test_groups_are_averaged_over_seeds(tmp_path: Path) -> None:
    def run(method: str, *steps: tuple[float | None, ...], seed: int = 0) -> dict:
        names = ('base', 'old', 'new', 'all')
        tasks = [
            dict(groups=dict(zip(names, step, strict=True)), trained_parameters=1234)
            for step in steps
        ]
        return dict(method=method, seed=seed, tasks=tasks)

    runs = [
        run('none', (40.0, None, 40.0, 40.0), (10.0, 5.0, 30.0, 12.0)),
        run('none', (42.0, None, 42.0, 42.0), (14.0, 5.0, 32.0, 14.0), seed=1),
        run('joint', (50.0, 49.0, 48.0, 47.0)),
    ]
    table, plot = write_steps(runs, tmp_path, metric='mIoU', command='continual_shapes')
    assert table.read_text().splitlines()[2:] == [
        '| joint | 1 | - | 50.0 | 49.0 | 48.0 | 47.0 | 1,234 | - |',
        '| none | 2 | 41.0 (2.0) | 12.0 (4.0) | 5.0 (0.0) | 31.0 (2.0) | 13.0 (2.0) | 1,234 | - |',
    ]
    assert plot.stat().st_size > 1000
