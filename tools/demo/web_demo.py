"""Opens a page in the browser to try a model on: an image in, what the model sees drawn over it.

    python tools/demo/web_demo.py CONFIG CHECKPOINT
    python tools/demo/web_demo.py CONFIG CHECKPOINT --examples photos
    python tools/demo/web_demo.py coco/mask_rcnn_vitadapter_s

Detectors, segmentors and panoptic models. The page is for this machine alone unless `--host` says
otherwise, needs no internet, and keeps images in memory and in a folder that goes with the server.
Needs the extra `demo`: pip install -e '.[demo]'
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import (
    OptionAction,
    add_checkpoint_argument,
    add_device_argument,
    not_negative,
    parse,
    positive,
    share,
)

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description='Try a model in the browser.')
    parser.add_argument('config', help="configuration file, or a released model's name")
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--examples', type=Path, metavar='FOLDER', help='images to click on (the first 60)'
    )
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to listen on; 0.0.0.0: all of this machine, for everyone who reaches it '
        '(default: %(default)s, this machine alone)',
    )
    parser.add_argument(
        '--port', type=not_negative, default=7860, help='0: any free one (default: %(default)s)'
    )
    parser.add_argument(
        '--score-thr', type=share, default=0.3, help='lowest score at first (default: %(default)s)'
    )
    parser.add_argument(
        '--max-megabytes', type=positive, default=20, help='largest file (default: %(default)s)'
    )
    parser.add_argument(
        '--max-megapixels', type=positive, default=50, help='largest image (default: %(default)s)'
    )
    add_device_argument(parser)
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, metavar='KEY=VALUE')
    args = parse(parser, argv)
    args.data_root = None
    if importlib.util.find_spec('gradio') is None:
        raise SystemExit("error: the page needs Gradio: pip install -e '.[demo]'")
    if args.examples is not None and not args.examples.is_dir():
        raise SystemExit(f'error: There is no folder of examples at {args.examples}.')
    return args


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from vitadapter_dense.command_line.arguments import errors_as_message, read_config
from vitadapter_dense.command_line.run_files import find_checkpoint
from vitadapter_dense.inference.predictor import Predictor


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        OSError: the port is taken, or the address is not one of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise OSError(
            f'cannot listen on {host}, port {port}: {error}. Give another --port (0: any free one) '
            'or --host.'
        ) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Serves the page until it is interrupted; returns the exit status."""
    args = parse_args(argv)
    with errors_as_message():
        listening = listen(args.host, args.port)
        cfg = read_config(args)
        if cfg.get('default_scope') == 'mmpretrain':
            raise ValueError(
                'the page draws what detectors and segmentors find; a classifier is for '
                'tools/demo/image_demo.py'
            )
        predictor = Predictor(cfg, find_checkpoint(args.checkpoint), device=args.device)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # or the folder would stay
    with tempfile.TemporaryDirectory(prefix='web_demo_') as folder:
        os.environ['GRADIO_TEMP_DIR'] = folder
        serve(predictor, listening, args)
    return 0


def serve(predictor: Predictor, listening: socket.socket, args: argparse.Namespace) -> None:
    """Serves the page of a model on a socket."""
    import uvicorn  # comes with gradio

    from vitadapter_dense.inference.web_page import make_app

    files = sorted(args.examples.iterdir()) if args.examples else []
    app = make_app(
        predictor,
        title=Path(args.config).stem,
        examples=[file for file in files if file.suffix.lower() in IMAGE_SUFFIXES],
        score_thr=args.score_thr,
        max_bytes=args.max_megabytes * 2**20,
        max_pixels=args.max_megapixels * 10**6,
    )
    host, port = listening.getsockname()[:2]
    shown = f'[{host}]' if ':' in host else host
    print(f'open http://{shown}:{port} in a browser; Ctrl-C ends it', flush=True)
    config = uvicorn.Config(app, log_level='warning', timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == '__main__':
    sys.exit(main())
