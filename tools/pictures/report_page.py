"""Takes the picture of a report that the documentation shows, with a real browser.

    python tools/test.py configs/shapes/mask_rcnn_vitadapter_xs.py \
        work_dirs/shapes/mask_rcnn_vitadapter_xs --report
    python tools/pictures/report_page.py \
        work_dirs/shapes/mask_rcnn_vitadapter_xs/report.html report_detector.png

Needs `chromium` (or what `--browser` names). The picture has few colours, so that it stays small.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from new_file import new_file
from PIL import Image
from small_png import save_small

WIDTH = 1280  # of the window, in pixels


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('page', type=Path, help='report.html')
    parser.add_argument('out', type=new_file, help='PNG to write')
    parser.add_argument('--height', type=int, default=2700, help='of the part that is shown')
    parser.add_argument('--browser', default='chromium', help='default: chromium')
    args = parser.parse_args(argv)
    if not shutil.which(args.browser):
        parser.error(f'there is no {args.browser}: install it, or name another --browser')
    if not args.page.is_file():
        parser.error(f'there is no {args.page}: tools/test.py --report writes it')
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder, 'shot.png')
        command = [args.browser, '--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars']
        command += [f'--window-size={WIDTH},{args.height}', f'--screenshot={shot}']
        subprocess.run([*command, args.page.resolve().as_uri()], check=True, capture_output=True)
        save_small(Image.open(shot), args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
