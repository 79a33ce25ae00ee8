"""How seconds and memory of a training step grow with image, encoder, batch and processes.

    OMP_NUM_THREADS=1 python tools/experiments/scaling_laws.py --repeats 3

Seconds are the processor's of this process with one thread, the fewest of some repeats, because
other programs may run on the machine. Memory is that of the tensors that are alive, counted as
tools/analysis/plan_memory.py does, during one forward and backward pass. Weights are random. Every
point leaves a file in `--out`: a call that was stopped goes on with those that are missing, and one
with more `--repeats` adds to all. `table.md` and the plots are written at the end.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import config_path, load_config, parse, positive

COMMAND = 'scaling_laws'
SIDES = (256, 384, 512, 640, 768, 1024)
PATCH = 16
CONFIGS = {  # global attention; windows of 14 tokens but for every third block
    'step T': 'ade20k/upernet_vitadapter_t',
    'step S': 'ade20k/upernet_vitadapter_s',
    'step B': 'ade20k/upernet_vitadapter_b',
    'step T, windows': 'coco/mask_rcnn_vitadapter_t',
}
PARTS = ('deformable attention', 'block with windows', 'block with global attention')
SMALL = 'step T'  # what is also tried with several images and processes


class Point(NamedTuple):
    """What is measured."""

    what: str
    side: int
    batch: int = 1

    @property
    def file(self) -> str:
        """The name of its file."""
        return f'{self.what.replace(",", "").replace(" ", "_")}_{self.side}_{self.batch}.json'


#: the largest side of each, and the degree of its law
LIMITS = {
    'deformable attention': (1024, 1),
    'block with windows': (1024, 1),
    'block with global attention': (1024, 2),
    'step T, windows': (1024, 2),
    'step T': (1024, 2),
    'step S': (640, 2),
    'step B': (640, 2),
}
BATCHES = (1, 2, 4, 8)
POINTS = [Point(SMALL, SIDES[0], batch) for batch in BATCHES]
POINTS += [
    Point(what, side)
    for side in SIDES
    for what, (limit, _) in LIMITS.items()
    if side <= limit and (what, side) != (SMALL, SIDES[0])
]
#: kind, processes, and how many times the weights each of them sends, by the law of a ring
EXCHANGES = [('all-reduce', count, 2 * (count - 1) / count) for count in (2, 3, 4)]
EXCHANGES += [('all-gather', 4, 3 / 4), ('reduce-scatter', 4, 3 / 4)]
EXCHANGES += [('DDP', 2, 2 / 2), ('sharded', 2, 3 / 2)]
TABLE, TIMES, MEMORY = 'table.md', 'seconds.png', 'memory.png'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--repeats', type=positive, default=3, help='of each point (default: 3)')
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/scaling_laws'), help='where results go'
    )
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

import vitadapter_dense  # noqa: F401  (registers)
from msda import MSDeformAttn
from vitadapter_dense.checkpoints.files import atomic_write
from vitadapter_dense.command_line.arguments import errors_as_message
from vitadapter_dense.reports.flops import count_all_flops
from vitadapter_dense.reports.laws import Law, draw_laws, fit_law
from vitadapter_dense.reports.memory import run_passes, stored
from vitadapter_dense.reports.memory_plan import LiveBytes
from vitadapter_dense.reports.output_files import claim_folder
from vitadapter_dense.training.sharding import wrap_sharded


class Extraction(nn.Module):
    """The deformable attention of T's extractors: of three maps to the tokens' grid."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.attention = MSDeformAttn(192, n_levels=1, n_heads=6, n_points=4)
        self.grid = side // PATCH

    def forward(self, images: Tensor) -> list[Tensor]:
        """Attends; of the images it takes their number alone."""
        tokens = self.grid**2
        queries = 4 * tokens + tokens + tokens // 4
        query, feat = (
            torch.rand(len(images), count, 192, requires_grad=True) for count in (queries, tokens)
        )
        places = torch.rand(1, queries, 1, 2)
        return [self.attention(query, places, feat, [(self.grid, self.grid)])]


class Blocks(nn.Module):
    """One block of T's encoder, with its patch embedding."""

    def __init__(self, window: int | None) -> None:
        super().__init__()
        options = dict(model_name='vit_tiny_patch16_224', depth=1, window_sizes=[window])
        self.encoder = MODELS.build(dict(type='TimmViT', pretrained=False, **options))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Runs it."""
        return [self.encoder.run(self.encoder.embed(images), 0, 1).x]


def model_of(point: Point) -> nn.Module:
    """What is measured, with random weights."""
    torch.manual_seed(0)
    if point.what == PARTS[0]:
        return Extraction(point.side)
    if point.what in PARTS:
        return Blocks(14 if point.what == PARTS[1] else None)
    cfg = load_config(config_path(CONFIGS[point.what])).model.backbone
    cfg.encoder.pretrained = False
    return MODELS.build(cfg)


def measure(point: Point, repeats: int) -> dict[str, float]:
    """Seconds, bytes and operations of a point."""
    model = model_of(point).train()
    images = torch.rand(point.batch, 3, point.side, point.side)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6)
    live = LiveBytes([images, *model.parameters(), *model.buffers()])
    with live:
        flops = count_all_flops(partial(run_passes, model, images))
    seconds, stepping = [], []
    for _ in range(repeats):
        optimizer.step()  # of the pass before, so that each pass has had one
        optimizer.zero_grad()
        start = time.process_time()
        run_passes(model, images)
        seconds.append(time.process_time() - start)
        start = time.process_time()
        optimizer.step()
        stepping.append(time.process_time() - start)
    best = dict(seconds=min(seconds), optimiser=min(stepping), peak=live.peak[0])
    return dict(best, flops=flops, weights=stored(model).weights)


# ------------------------------------------------------------------ several processes


def sent_bytes() -> int:
    """What this process's connections have sent and the other side has seen."""
    total = 0
    for entry in Path('/proc/self/fd').iterdir():
        try:
            if not str(entry.readlink()).startswith('socket:'):
                continue
            with socket.fromfd(int(entry.name), socket.AF_INET, socket.SOCK_STREAM) as each:
                info = each.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            total += struct.unpack_from('Q', info, 120)[0]  # tcpi_bytes_acked
        except OSError:  # gone, or of another family
            continue
    return total


#: of a whole tensor and its first part
COLLECTIVES: dict[str, Callable[[Tensor, Tensor], object]] = {
    'all-reduce': lambda whole, _: torch.distributed.all_reduce(whole),
    'all-gather': lambda whole, part: torch.distributed.all_gather_into_tensor(whole, part.clone()),
    'reduce-scatter': lambda whole, part: torch.distributed.reduce_scatter_tensor(
        part.clone(), whole
    ),
}


class Whole(nn.Module):
    """A model that has nothing but its backbone."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> list[Tensor]:
        """Runs the backbone."""
        return self.backbone(images)


def one_process(rank: int, processes: int, kind: str, repeats: int, place: str) -> dict[str, float]:
    """Seconds of a step and bytes sent, of one of several processes."""
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{place}', rank=rank, world_size=processes
    )
    if kind in COLLECTIVES:
        buffer = torch.zeros(1 << 22)
        step: Callable[[], object] = partial(COLLECTIVES[kind], buffer, buffer.chunk(processes)[0])
        payload = buffer.nbytes
    else:
        model = Whole(model_of(Point(SMALL, SIDES[0]))).train()
        payload = stored(model).trained
        images = torch.rand(1, 3, SIDES[0], SIDES[0])
        if kind == 'DDP':
            model = nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)
        else:
            model = wrap_sharded(model, dict(type='FullySharded'))
            model.shard()
        step = partial(run_passes, model, images)
    step()
    seconds, sent = [], []
    for _ in range(repeats):
        torch.distributed.barrier()
        start, before = time.process_time(), sent_bytes()
        step()
        seconds.append(time.process_time() - start)
        torch.distributed.barrier()
        sent.append(sent_bytes() - before)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    return dict(seconds=min(seconds), sent=min(sent), payload=payload)


def exchanged(processes: int, kind: str, repeats: int) -> dict[str, float]:
    """The same of the process that sent the most."""
    with tempfile.TemporaryDirectory() as folder:
        ranks = [(rank, processes, kind, repeats, f'{folder}/meet') for rank in range(processes)]
        with multiprocessing.get_context('fork').Pool(processes) as pool:
            found = pool.starmap(one_process, ranks, chunksize=1)
    return max(found, key=lambda each: each['sent'])


# ------------------------------------------------------------------ the report


def kept(path: Path, repeats: int, measured: Callable[[int], Any]) -> Any:
    """What a file says, measured first where it is missing or has fewer repeats."""
    found = json.loads(path.read_text()) if path.is_file() else dict(repeats=0)
    if found['repeats'] < repeats:
        print(path.stem, flush=True)
        new = measured(repeats - found['repeats'])
        if found['repeats']:
            for name, value in found['best'].items():
                new[name] = min(new[name], value)
        found = dict(repeats=repeats, best=new)
        with atomic_write(path) as file:
            file.write(json.dumps(found, indent=1).encode())
    return found['best']


def curve(
    points: Sequence[Point], results: dict[Point, dict[str, float]], key: str, degree: int
) -> tuple[list[float], list[float], Law]:
    """Sizes, values and law of some points: by images where these change, else by tokens."""
    by_batch = len({point.batch for point in points}) > 1
    sizes = [each.batch if by_batch else (each.side // PATCH) ** 2 for each in points]
    values = [results[each][key] for each in points]
    return sizes, values, fit_law(sizes, values, degree=degree)


def row(name: str, sizes: Sequence[float], values: Sequence[float], law: Law, scale: float) -> str:
    """A row of the table."""
    shown = ', '.join(f'{value / scale:.4g}' for value in values)
    left = ', '.join(f'{100 * each:+.1f}' for each in law.residuals)
    foretold = '-' if law.largest is None else f'{100 * law.largest:+.1f}'
    scaled = law._replace(coefficients=tuple(c / scale for c in law.coefficients))
    return f'| {name} | {", ".join(map(str, sizes))} | {shown} | {scaled} | {left} | {foretold} |'


def report(
    results: dict[Point, dict[str, float]], exchanges: dict[tuple[str, int], dict[str, float]]
) -> tuple[str, dict[str, dict]]:
    """The tables, and what is drawn of them by picture."""
    lines, drawn = [], {TIMES: {}, MEMORY: {}}
    series = {what: [p for p in results if p.what == what and p.batch == 1] for what in LIMITS}
    series[f'{SMALL}, images of {SIDES[0]}'] = [p for p in results if p in POINTS[: len(BATCHES)]]
    for title, key, scale, picture in (
        ('s, forward and backward', 'seconds', 1, TIMES),
        ('MB alive', 'peak', 1e6, MEMORY),
    ):
        lines += ['', f'| {title} | N | measured | law | residuals, % | largest, foretold, % |']
        lines += ['|---' * 6 + '|']
        for name, points in series.items():
            degree = LIMITS[name][1] if name in LIMITS and key == 'seconds' else 1
            found = curve(points, results, key, degree)
            lines.append(row(name, *found, scale))
            if name in LIMITS:
                drawn[picture][name] = found
    lines += ['', '| side, images | GFLOPs a step | GFLOP/s | optimiser, s |', '|---|---|---|---|']
    for point, result in results.items():
        if point.what.startswith('step'):
            speed = result['flops'] / result['seconds'] / 1e9
            cells = f'{result["flops"] / 1e9:.1f} | {speed:.1f} | {result["optimiser"]:.3f}'
            lines.append(f'| {point.what}, {point.side}, {point.batch} | {cells} |')
    lines += ['', '| kind | processes | MB | sent / law | s a process |', '|---|---|---|---|---|']
    for kind, processes, times in EXCHANGES:
        result = exchanges[kind, processes]
        share = result['sent'] / (times * result['payload'])
        cells = f'{result["payload"] / 1e6:.1f} | {share:.4f} | {result["seconds"]:.3f}'
        lines.append(f'| {kind} | {processes} | {cells} |')
    return '\n'.join(lines[1:]) + '\n', drawn


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what is missing and writes the report."""
    args = parse_args(argv)
    torch.set_num_threads(1)
    with errors_as_message():
        claim_folder(args.out, command=COMMAND)
    exchanges = {
        (kind, count): kept(
            args.out / f'{kind}_{count}.json', args.repeats, partial(exchanged, count, kind)
        )
        for kind, count, _ in EXCHANGES
    }
    results = {
        point: kept(args.out / point.file, args.repeats, partial(measure, point))
        for point in POINTS
    }
    table, drawn = report(results, exchanges)
    for picture, value in ((TIMES, 'seconds of one core'), (MEMORY, 'bytes alive')):
        axis = 'tokens of the grid: (side / 16)²'
        draw_laws(drawn[picture], args.out / picture, size=axis, value=value)
    (args.out / TABLE).write_text(table)
    print(table)
    return 0


if __name__ == '__main__':
    sys.exit(main())
