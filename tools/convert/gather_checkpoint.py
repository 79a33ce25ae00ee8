"""Writes the weights of a sharded run's checkpoint as one plain file.

    python tools/convert/gather_checkpoint.py work_dirs/coco/my_run/epoch_12.pth weights.pth

`epoch_12.pth` names the folder beside it, which holds the tensors. The plain file has the weights
(of a run with `EMAHook` their average) and what describes them; a resume needs the checkpoint.
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint', help='the .pth file of a sharded run')
    parser.add_argument('out', help='where the plain file goes')
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from vitadapter_dense.checkpoints.gathering import gather_checkpoint
from vitadapter_dense.command_line.arguments import errors_as_message
from vitadapter_dense.reports.output_files import check_outputs, write_output

COMMAND = 'gather_checkpoint'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    with errors_as_message():
        check_outputs([args.out], command=COMMAND, inputs=[args.checkpoint])
        with write_output(args.out, command=COMMAND) as partial:
            count = gather_checkpoint(args.checkpoint, partial)
    print(f'{args.out}: {count} tensors')
    return 0


if __name__ == '__main__':
    sys.exit(main())
