"""Takes the pictures of the page of tools/demo/web_demo.py that the documentation shows.

    python tools/demo/web_demo.py configs/shapes/mask_rcnn_vitadapter_xs.py \
        work_dirs/shapes/mask_rcnn_vitadapter_xs --examples data/shapes/val
    python tools/pictures/web_page.py http://127.0.0.1:7860 data/shapes/val/000006.jpg \
        web_demo_detector.png

The second in another terminal; needs `chromium`. It drops the image on the page. The picture has
few colours, so that it stays small.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from chromium import chromium
from new_file import new_file
from PIL import Image
from small_png import save_small

DROP = '#image input[type=file]'
SIZE = (1280, 870)  # of the window, in pixels


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('address', help='of the page')
    parser.add_argument('image', type=Path, help='what is dropped on it')
    parser.add_argument('out', type=new_file, help='PNG to write')
    args = parser.parse_args(argv)
    with chromium() as browser:
        page = browser.open_page(args.address, size=SIZE)
        page.wait_for(f"!!document.querySelector('{DROP}')")
        page.give_file(DROP, args.image)
        page.wait_for("!!document.querySelector('#result img')?.naturalWidth")
        time.sleep(1)  # what fades in
        save_small(Image.open(io.BytesIO(page.screenshot())), args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
