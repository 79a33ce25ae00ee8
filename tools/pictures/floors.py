"""Draws the rooms of the project on floors, from what its modules import.

    python tools/pictures/floors.py floors.png

A room stands one floor above the highest room that it imports from.
"""

from __future__ import annotations

import argparse
import re
from graphlib import TopologicalSorter
from pathlib import Path

import matplotlib.pyplot as plt
from new_file import new_file

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {
    'msda': 'deformable attention',
    'mmcv_ops': "mmcv's operators",
    'vitadapter_cli': 'the command line',
    'adapter': "the paper's modules",
    'checkpoints': 'files of weights',
    'datasets': 'reading, checking',
    'encoders': 'what is pre-trained',
    'tuning': 'few parameters, deltas',
    'backbones': 'image to maps',
    'heads': 'losses the toolboxes lack',
    'training': 'runner, resume, hooks',
    'reports': 'pictures, tables',
    'continual': 'task after task',
    'command_line': 'what tools share',
    'inference': 'a model at work',
    'export': 'a model as a file',
    'integrations': 'in other frameworks',
}


def imported_rooms(room: str) -> set[str]:
    """The rooms that a room's files import from."""
    bases = (ROOT / 'ops', ROOT, ROOT / 'vitadapter_dense')
    base = next(base for base in bases if (base / room / '__init__.py').is_file())
    text = '\n'.join(path.read_text() for path in (base / room).rglob('*.py'))
    found = re.findall(r'^\s*(?:from|import) (?:vitadapter_dense\.)?(\w+)', text, re.MULTILINE)
    return {*found} & ROOMS.keys() - {room}


def floors() -> list[list[str]]:
    """The rooms of each floor, from the ground up."""
    below = {room: imported_rooms(room) for room in ROOMS}
    height: dict[str, int] = {}
    for room in TopologicalSorter(below).static_order():
        height[room] = 1 + max((height[other] for other in below[room]), default=-1)
    return [[r for r in ROOMS if height[r] == floor] for floor in range(max(height.values()) + 1)]


def draw(path: Path) -> None:
    """Draws the floors as rows of boxes, the ground at the bottom."""
    rows = floors()
    figure, axes = plt.subplots(figsize=(8, 0.62 * len(rows)), layout='constrained')
    for floor, rooms in enumerate(rows):
        width = 12 / len(rooms)
        for place, room in enumerate(rooms):
            apart = room in ('msda', 'mmcv_ops', 'vitadapter_cli')
            box = plt.Rectangle(
                (place * width + 0.06, floor + 0.06),
                width - 0.12,
                0.88,
                facecolor='#fde7c8' if apart else '#d8e7f5',
                edgecolor='#555555',
            )
            axes.add_patch(box)
            centre = place * width + width / 2
            axes.text(centre, floor + 0.63, room, ha='center', va='center', weight='bold')
            axes.text(centre, floor + 0.3, ROOMS[room], ha='center', va='center', fontsize=8)
    axes.set(xlim=(0, 12), ylim=(0, len(rows)))
    axes.axis('off')
    figure.savefig(path, dpi=110, facecolor='white')


def main() -> None:
    """Draws the picture that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', type=new_file, help='the picture to write')
    draw(parser.parse_args().out)


if __name__ == '__main__':
    main()
