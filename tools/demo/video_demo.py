"""Draws predictions on a video: a file in, a file of the same size and frame rate out.

    python tools/demo/video_demo.py street.mp4 CONFIG CHECKPOINT --out drawn.mp4

Works with any configuration whose test pipeline reads images from files, detection and segmentation
alike. The file appears under its name when it is whole; a stopped run leaves none. OpenCV writes
even sizes only: an odd last row or column is left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import (
    OptionAction,
    add_checkpoint_argument,
    add_device_argument,
    parse,
    positive,
    share,
)

COMMAND = 'video_demo'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description='Draw predictions on a video.')
    parser.add_argument('video', type=Path, help='video file')
    parser.add_argument('config', help='configuration file')
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--out', type=Path, default=Path('drawn.mp4'), help='video to write (default: %(default)s)'
    )
    parser.add_argument('--max-frames', type=positive, metavar='N', help='stop after N frames')
    parser.add_argument(
        '--score-thr', type=share, default=0.3, help='lowest score that is drawn (default: 0.3)'
    )
    add_device_argument(parser)
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, metavar='KEY=VALUE')
    args = parse(parser, argv)
    args.data_root = None
    return args


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from vitadapter_dense.command_line.arguments import errors_as_message, read_config
from vitadapter_dense.command_line.run_files import find_checkpoint
from vitadapter_dense.inference.predictor import Predictor
from vitadapter_dense.inference.video import draw_frames, open_video, written_whole
from vitadapter_dense.reports.output_files import check_outputs


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo; returns the exit status."""
    args = parse_args(argv)
    with ExitStack() as stack:
        with errors_as_message():
            video = open_video(args.video)
            check_outputs([args.out], command=COMMAND, inputs=[args.video])
            predictor = Predictor(
                read_config(args), find_checkpoint(args.checkpoint), device=args.device
            )
            writer = stack.enter_context(
                written_whole(args.out, size=video.size, rate=video.rate, command=COMMAND)
            )
        expected = min(video.count, args.max_frames or video.count)
        done = draw_frames(video, writer, predictor, count=expected, score_thr=args.score_thr)
    print(f'{done} frames written to {args.out}')
    if done < expected:
        print(f'{args.video} ends after {done} of {expected} frames', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
