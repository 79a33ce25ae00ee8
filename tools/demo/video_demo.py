"""Draws predictions on a video: a file in, a file of the same size and frame rate out.

    python tools/demo/video_demo.py street.mp4 CONFIG CHECKPOINT --out drawn.mp4

Works with any configuration whose test pipeline reads images from files, detection and segmentation
alike. The file appears under its name when it is whole; a stopped run leaves none. OpenCV writes
even sizes only: an odd last row or column is left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

import cv2
import numpy as np
import torch
from mmengine.config import DictAction

from vitadapter_dense.command_line.arguments import errors_as_message, read_config
from vitadapter_dense.command_line.run_files import find_checkpoint
from vitadapter_dense.inference.predictor import Predictor
from vitadapter_dense.reports.output_files import check_outputs, write_output
from vitadapter_dense.reports.pictures import render_prediction
from vitadapter_dense.reports.progress import track

COMMAND = 'video_demo'
CODES = {'.mp4': 'mp4v', '.m4v': 'mp4v', '.mov': 'mp4v', '.avi': 'MJPG', '.mkv': 'MJPG'}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description='Draw predictions on a video.')
    parser.add_argument('video', type=Path, help='video file')
    parser.add_argument('config', help='configuration file')
    parser.add_argument('checkpoint', help='checkpoint, or a work directory (its best or last one)')
    parser.add_argument(
        '--out', type=Path, default=Path('drawn.mp4'), help='video to write (default: %(default)s)'
    )
    parser.add_argument('--max-frames', type=int, metavar='N', help='stop after N frames')
    parser.add_argument(
        '--score-thr', type=float, default=0.3, help='lowest score that is drawn (default: 0.3)'
    )
    parser.add_argument(
        '--device',
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='where to compute (default: %(default)s)',
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    args = parser.parse_args(argv)
    args.data_root = None
    return args


@dataclass
class Video:
    """An open video; `count` is what its header says, which need not be true."""

    capture: cv2.VideoCapture
    path: Path
    size: tuple[int, int]
    rate: float
    count: int

    def frames(self) -> Iterator[np.ndarray]:
        """Yields (H, W, 3) uint8 frames in BGR until the file ends."""
        while True:
            there, frame = self.capture.read()
            if not there:
                return
            yield frame


def open_video(path: Path) -> Video:
    """Opens a video file.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it cannot be decoded.
    """
    if not path.is_file():
        raise FileNotFoundError(f'There is no video {path}.')
    capture = cv2.VideoCapture(str(path))
    width, height = (
        int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    )
    if not capture.isOpened() or not width or not height:
        raise ValueError(f'{path} cannot be read as a video: OpenCV knows no decoder for it.')
    rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    if count <= 0:  # a stream's header does not say
        count = sum(1 for _ in iter(capture.grab, False))
        capture = cv2.VideoCapture(str(path))
    return Video(capture, path, (width, height), rate, count)


@contextmanager
def written_whole(path: Path, *, size: tuple[int, int], rate: float) -> Iterator[cv2.VideoWriter]:
    """Gives a writer of a video that gets its name when all frames are in it.

    Raises:
        ValueError: for a suffix without a known coding, or when OpenCV cannot write there.
        OutputError: when another hand made the file that is there.
    """
    code = CODES.get(path.suffix.lower())
    if code is None:
        raise ValueError(f'--out must end with {", ".join(CODES)}, got {path.name!r}.')
    with write_output(path, command=COMMAND) as partial:
        writer = cv2.VideoWriter(str(partial), cv2.VideoWriter_fourcc(*code), rate, size)
        if not writer.isOpened():
            raise ValueError(f'OpenCV cannot write {path} ({code}): try another suffix or folder.')
        try:
            yield writer
        finally:
            writer.release()


def draw_frames(
    video: Video,
    writer: cv2.VideoWriter,
    predictor: Predictor,
    *,
    count: int,
    score_thr: float,
) -> int:
    """Writes the first `count` frames with predictions; returns how many there were.

    Raises:
        SystemExit: when there was none.
    """
    visualizer = predictor.make_visualizer()
    frames, done = video.frames(), 0
    for _ in track(range(count), 'frames'):
        frame = next(frames, None)
        if frame is None:
            break
        sample = predictor.predict(predictor.prepare_array(frame))
        image = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        drawn = render_prediction(visualizer, image, sample=sample, score_thr=score_thr)
        writer.write(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
        done += 1
    if not done:
        raise SystemExit(f'error: {video.path} holds no frame that can be decoded.')
    return done


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
            writer = stack.enter_context(written_whole(args.out, size=video.size, rate=video.rate))
        expected = min(video.count, args.max_frames or video.count)
        done = draw_frames(video, writer, predictor, count=expected, score_thr=args.score_thr)
    print(f'{done} frames written to {args.out}')
    if done < expected:
        print(f'{args.video} ends after {done} of {expected} frames', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
