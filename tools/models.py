"""Lists the released models, downloads them, and writes the table of docs/models.md.

    python tools/models.py 'ade20k/*'
    python tools/models.py coco/mask_rcnn_vitadapter_s --download
    python tools/models.py --page docs/models.md

Every tool that takes a checkpoint takes such a name, and downloads what is not here yet.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[1] / 'ops'))

from vitadapter_cli import find_model, list_models, released_checkpoint
from vitadapter_cli.released_models import MODELS_OF_THE_ORIGINAL, ReleasedModel

MARKS = ('<!-- table: tools/models.py -->', '<!-- end of table -->')
COLUMNS = 'name | weights | schedule | published | #Param | checkpoint | SHA-256'


def row(model: ReleasedModel) -> str:
    """The table's line of one model."""
    shown = f'[`{model.name}`](../{model.config})'
    file = f'[{model.address.rpartition("/")[2]}]({model.address})'
    cells = [shown, model.weights, model.schedule, model.published, model.parameters, file]
    return f'| {" | ".join([*cells, model.sha256 or ""])} |'


def table() -> str:
    """The table of docs/models.md."""
    lines = [f'| {COLUMNS} |', '|---' * (COLUMNS.count('|') + 1) + '|']
    lines += [row(model) for model in MODELS_OF_THE_ORIGINAL]
    return '\n'.join(lines)


def write_page(page: Path) -> None:
    """Writes the table between its marks.

    Raises:
        ValueError: the page has no such marks.
    """
    before, found, rest = page.read_text().partition(MARKS[0])
    _, found_end, after = rest.partition(MARKS[1])
    if not (found and found_end):
        raise ValueError(f'{str(page)!r} has no table between {MARKS[0]} and {MARKS[1]}')
    page.write_text(f'{before}{MARKS[0]}\n\n{table()}\n\n{MARKS[1]}{after}')


def state(model: ReleasedModel) -> str:
    """What is known of a model's file on this machine."""
    from vitadapter_dense.checkpoints.downloads import kept_at, recorded

    if not kept_at(model.address).is_file():
        return ''
    record = recorded(model.address)
    if not record:
        return 'here'
    return f'here, {record["size"] / 1e6:.0f} MB, SHA-256 {record["sha256"]}'


def download(models: Sequence[ReleasedModel]) -> None:
    """Downloads what is not here yet.

    Raises:
        OSError: one is without a configuration.
        ValueError: one cannot be had.
    """
    from vitadapter_dense.checkpoints import WeightsError
    from vitadapter_dense.command_line.run_files import find_checkpoint

    for model in models:
        released_checkpoint(model.name)
    try:
        for model in models:
            find_checkpoint(model.name)
    except WeightsError as error:
        raise ValueError(str(error)) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    parser = argparse.ArgumentParser(description='List the released models, or download them.')
    parser.add_argument(
        'names', nargs='*', default=['*'], help='names, short names or patterns (default: all)'
    )
    parser.add_argument('--download', action='store_true', help='download what is listed')
    parser.add_argument('--page', type=Path, help='write the table of this page: docs/models.md')
    args = parser.parse_args(argv)

    try:
        if args.page:
            write_page(args.page)
            print(f'wrote the table of {args.page}: {len(list_models())} models')
            return 0
        listed = [name for given in args.names for name in list_models(given) or [given]]
        models = [find_model(name) for name in dict.fromkeys(listed)]
        if args.download:
            download(models)
    except (LookupError, OSError, ValueError) as error:
        raise SystemExit(f'error: {error.args[0]}') from None
    for model in models:
        print(f'{model.name:<48} {model.published:<12} {state(model)}'.rstrip())
    return 0


if __name__ == '__main__':
    sys.exit(main())
