"""tools/demo/video_demo.py: what is no video is an error, and half a video leaves no file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_detection import TinyTask, run_tool

from vitadapter_dense.inference.video import open_video, written_whole
from vitadapter_dense.reports.output_files import OutputError

DEMO = 'demo/video_demo.py'


def write_video(path: Path, *, frames: int, size: tuple[int, int] = (80, 64)) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 8.0, size)
    for number in range(frames):
        writer.write(np.full((*size[::-1], 3), 20 * number, np.uint8))
    writer.release()


def test_frames_rate_and_size_are_kept(tiny_task: TinyTask, tmp_path: Path) -> None:
    write_video(tmp_path / 'in.avi', frames=3)
    out = tmp_path / 'new' / 'out.avi'
    command = [tiny_task.config, tiny_task.work_dir, '--device', 'cpu', '--out', out]
    status, printed = run_tool(DEMO, tmp_path / 'in.avi', *command, '--max-frames', 2)
    assert status == 0
    assert '2 frames' in printed
    video = open_video(out)
    assert (video.size, video.rate) == ((80, 64), 8.0)
    assert len(list(video.frames())) == 2
    assert [path.name for path in out.parent.glob('[!.]*')] == ['out.avi']
    with pytest.raises(SystemExit, match='is what is read here'):
        run_tool(DEMO, out, *command)


def test_what_is_no_video_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'no video .*missing\.mp4'):
        open_video(tmp_path / 'missing.mp4')
    (tmp_path / 'text.mp4').write_text('not a video')
    with pytest.raises(ValueError, match=r'text\.mp4 cannot be read as a video'):
        open_video(tmp_path / 'text.mp4')
    with (
        pytest.raises(ValueError, match=r"\.mp4, .* not 'out\.gif'"),
        written_whole(tmp_path / 'out.gif', size=(80, 64), rate=8.0, command='test'),
    ):
        pass


def test_stopped_run_leaves_the_old_file(tmp_path: Path) -> None:
    out = tmp_path / 'out.avi'

    def draw(*, stop: bool) -> None:
        with written_whole(out, size=(80, 64), rate=8.0, command='test') as writer:
            writer.write(np.full((64, 80, 3), 255 * stop, np.uint8))
            if stop:
                raise KeyboardInterrupt

    draw(stop=False)
    before = out.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        draw(stop=True)
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ['.vitadapter_dense', 'out.avi']
    out.write_bytes(b'a film of the user')
    with pytest.raises(OutputError, match=r'out\.avi'):
        draw(stop=False)
    assert out.read_bytes() == b'a film of the user'
