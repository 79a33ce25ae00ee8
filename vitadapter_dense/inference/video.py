"""Videos, frame by frame: read, predicted on, drawn on and written whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vitadapter_dense.inference.predictor import Predictor
from vitadapter_dense.reports.output_files import write_output
from vitadapter_dense.reports.pictures import render_prediction
from vitadapter_dense.reports.progress import track

CODES = {'.mp4': 'mp4v', '.m4v': 'mp4v', '.mov': 'mp4v', '.avi': 'MJPG', '.mkv': 'MJPG'}


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
def written_whole(
    path: Path, *, size: tuple[int, int], rate: float, command: str
) -> Iterator[cv2.VideoWriter]:
    """Gives a writer of a video that gets its name when all frames are in it.

    Raises:
        ValueError: for a suffix without a known coding, or when OpenCV cannot write there.
        OutputError: when another hand made the file that is there.
    """
    code = CODES.get(path.suffix.lower())
    if code is None:
        raise ValueError(f'A video is written to {", ".join(CODES)}, not {path.name!r}.')
    with write_output(path, command=command) as partial:
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
