"""JPEGs decoded at a reduced size before they are shrunk, beside whole ones: difference and time.

    python tools/experiments/reduced_decoding.py DATA/coco_tiny/val2017 --factors 2 3 4 6

An image is shrunk by each factor as the pipelines do it (OpenCV, bilinear), once from the whole
image and once from what the decoder gives at a half, a quarter or an eighth, whichever is the
smallest that is large enough. Differences are in grey levels (0 to 255); `averaged` has those of
both from the image whose pixels are averaged over the area, without aliasing. Milliseconds are the
processor's, of decoding and shrinking.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import parse, positive


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path, help='with *.jpg')
    parser.add_argument('--factors', type=float, nargs='+', default=[2, 3, 4, 6])
    parser.add_argument('--num', type=positive, default=50, help='images at most (default: 50)')
    args = parse(parser, argv)
    if min(args.factors) < 2:
        parser.error(f'--factors {min(args.factors):g}: the decoder begins at a half, give 2')
    return args


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import cv2
import numpy as np

REDUCED = {
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def shrunk(data: np.ndarray, flag: int, size: tuple[int, int], how: int) -> np.ndarray:
    """Decodes an image and resizes it to (W, H)."""
    return cv2.resize(cv2.imdecode(data, flag), size, interpolation=how)


def timed(call: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """A result and the least of the processor's seconds for it of three."""
    found, seconds = call(), []
    for _ in range(3):
        start = time.thread_time()
        call()
        seconds.append(time.thread_time() - start)
    return found.astype(np.int16), min(seconds)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a row for each factor."""
    args = parse_args(argv)
    cv2.setNumThreads(0)
    files = sorted(args.folder.glob('*.jpg'))[: args.num]
    if not files:
        sys.exit(f'error: {args.folder} has no *.jpg')
    print(
        '| factor | decoded at | mean | largest | averaged, whole | averaged, reduced | ms | ms |'
    )
    print('|---' * 8 + '|')
    for factor in args.factors:
        part = max(each for each in REDUCED if each <= factor)
        rows = []
        for file in files:
            data = np.fromfile(file, np.uint8)
            height, width = cv2.imdecode(data, cv2.IMREAD_COLOR).shape[:2]
            size = (round(width / factor), round(height / factor))
            linear, color = cv2.INTER_LINEAR, cv2.IMREAD_COLOR
            whole, slow = timed(lambda: shrunk(data, color, size, linear))  # noqa: B023
            reduced, fast = timed(lambda: shrunk(data, REDUCED[part], size, linear))  # noqa: B023
            averaged = shrunk(data, color, size, cv2.INTER_AREA).astype(np.int16)
            between = np.abs(whole - reduced)
            to_both = [np.abs(each - averaged).mean() for each in (whole, reduced)]
            rows.append([between.mean(), between.max(), *to_both, 1e3 * slow, 1e3 * fast])
        mean, _, of_whole, of_reduced, slow, fast = np.mean(rows, axis=0)
        cells = [f'{each:.2f}' for each in (of_whole, of_reduced, slow, fast)]
        largest = int(np.max(rows, axis=0)[1])
        print(
            '|', ' | '.join([f'{factor:g}', f'1/{part}', f'{mean:.2f}', str(largest), *cells]), '|'
        )
    return 0


if __name__ == '__main__':
    sys.exit(main())
