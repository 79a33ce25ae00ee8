"""Times the msda operators on the shapes of ViT-Adapter, and checks them in the same run.

    python ops/benchmark.py                                    # the table: some minutes on 2 cores
    python ops/benchmark.py --device cuda --csv out.csv --chart out.png
    python ops/benchmark.py --backbone                         # ViT-Adapter-S, ours and reference

Columns: ours (the fused operator, softmax and locations inside), our PyTorch reference (the same
work), mmcv's PyTorch function and, on a GPU, mmcv's compiled operator. Both of mmcv's are timed
without softmax and locations, that is with less to do than ours. `error` is the largest deviation
of our output from the float64 oracle, relative to the largest output. Times are medians in
milliseconds over rotating inputs.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent))

import msda
from msda import reference

HEADS = {'T': (6, 32), 'S': (6, 64), 'B': (12, 32), 'L': (16, 32)}  # M, D
DTYPES = {
    'float32': torch.float32,
    'bfloat16': torch.bfloat16,
    'float16': torch.float16,
    'float64': torch.float64,
}
POINTS = 4
COPIES = 3  # inputs take turns, so that no run finds its own in the cache

Run = Callable[[], Any]


class Case(NamedTuple):
    """One row of the table."""

    size: str
    image: str
    operator: str
    dtype: str

    def maps(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Sizes of the sampled maps, and of the maps whose pixels are the queries."""
        height, width = (int(side) for side in self.image.split('x'))
        pyramid = [(height // s, width // s) for s in (8, 16, 32)]
        tokens = [(height // 16, width // 16)]
        return (pyramid, tokens) if self.operator == 'injector' else (tokens, pyramid)

    def inputs(self, batch: int, device: str, seed: int) -> list[Any]:
        """Arguments of the fused operator, and a gradient of its output."""
        torch.manual_seed(seed)
        maps, queries = self.maps()
        heads, channels = HEADS[self.size]
        dtype = DTYPES[self.dtype]
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        rows, count = (sum(h * w for h, w in sizes) for sizes in (maps, queries))
        value = torch.randn(batch, rows, heads, channels)
        centres = torch.cat([pixel_centres(h, w) for h, w in queries])[None, :, None]
        # two pixels wide: between the start of a training and its end
        offsets = torch.randn(batch, count, heads, len(maps), POINTS, 2) * 2
        logits = torch.randn(batch, count, heads, len(maps) * POINTS)
        grad = torch.randn(batch, count, heads * channels)
        flat = [side for size in maps for side in size]
        tensors = [t.to(device, dtype) for t in (value, offsets, logits, grad)]
        value, offsets, logits, grad = tensors
        return [value, flat, centres.to(device, wide), offsets, logits, grad]


def pixel_centres(height: int, width: int) -> Tensor:
    """`(H * W, 2)`, normalised (x, y)."""
    y, x = ((torch.arange(n) + 0.5) / n for n in (height, width))
    return torch.stack(torch.meshgrid(y, x, indexing='ij')[::-1], -1).reshape(-1, 2)


def contenders(device: str) -> dict[str, Callable[[list[Any]], tuple[Callable[..., Tensor], list]]]:
    """What is timed: a function from inputs to (function, its arguments)."""

    def fused(function: Callable[..., Tensor]):
        return lambda i: (lambda v, o, a: function(v, i[1], i[2], o, a), [i[0], i[3], i[4]])

    def unfused(function: Callable[..., Tensor]):
        def prepare(i: list[Any]):
            locations = reference.sampling_locations(i[1], i[2], i[3]).to(i[0].dtype)
            weights = i[4].softmax(-1).view(i[3].shape[:-1])
            shapes = torch.tensor(i[1], device=i[0].device).view(-1, 2)
            return lambda v, x, w: function(v, shapes, x, w), [i[0], locations, weights]

        return prepare

    found = {
        'ours': fused(torch.ops.msda.ms_deform_attn_fused),
        'reference': fused(reference.attend_fused),
    }
    try:
        from mmcv.ops import multi_scale_deform_attn as mmcv
    except ImportError:
        return found
    found['mmcv_pytorch'] = unfused(mmcv.multi_scale_deformable_attn_pytorch)
    if device == 'cuda':

        def compiled(v: Tensor, shapes: Tensor, x: Tensor, w: Tensor) -> Tensor:
            starts = torch.cat([shapes.new_zeros(1), shapes.prod(1).cumsum(0)[:-1]])
            return mmcv.MultiScaleDeformableAttnFunction.apply(v, shapes, starts, x, w, 64)

        found['mmcv_compiled'] = unfused(compiled)
    return found


def forward_of(function: Callable[..., Tensor], arguments: list[Tensor], grad: Tensor) -> Run:
    """Without autograd."""

    def run() -> Tensor:
        with torch.no_grad():
            return function(*arguments)

    return run


def both_of(function: Callable[..., Tensor], arguments: list[Tensor], grad: Tensor) -> Run:
    """Forward and the gradients of all arguments."""
    leaves = [a.detach().requires_grad_() for a in arguments]

    def run() -> Tensor:
        return torch.autograd.grad(function(*leaves), leaves, grad)[0]

    return run


def median_ms(runs: list[Run], repeats: int, device: str) -> float:
    """The median of `repeats` runs, the inputs taking turns, after one warm-up of each."""
    for run in runs:
        run()
    times = []
    for i in range(repeats):
        run = runs[i % len(runs)]
        if device == 'cuda':
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            run()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end))
        else:
            start = time.perf_counter()
            run()
            times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def error_of(inputs: list[Any]) -> float:
    """Deviation of our output from the oracle."""
    arguments = inputs[:5]
    out = torch.ops.msda.ms_deform_attn_fused(*arguments)
    wide = [a.double() if isinstance(a, Tensor) else a for a in arguments]
    expected = reference.attend_fused(*wide)
    return ((out.double() - expected).abs().max() / expected.abs().max()).item()


def copy_bandwidth(device: str) -> float:
    """Bytes a millisecond that the device reads and writes, measured with a large copy."""
    source = torch.empty(1 << 28, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / median_ms([lambda: target.copy_(source)], 20, device)


def minimal_bytes(inputs: list[Any], with_backward: bool) -> int:
    """What must be moved at least: every input and output once."""
    value, _, _, offsets, logits, grad = inputs
    forward = sum(t.nbytes for t in (value, offsets, logits, grad))
    backward = 2 * (value.nbytes + offsets.nbytes + logits.nbytes) + grad.nbytes
    return forward + (backward if with_backward else 0)


def measure(case: Case, options: argparse.Namespace) -> Iterable[dict[str, Any]]:
    """Two rows: forward, forward and backward."""
    inputs = [case.inputs(options.batch, options.device, seed) for seed in range(COPIES)]
    error = error_of(inputs[0])
    for name, prepare in (('forward', forward_of), ('both', both_of)):
        row: dict[str, Any] = {**case._asdict(), 'pass': name, 'error': error}
        for contender, arguments_of in contenders(options.device).items():
            slow = options.device == 'cpu' and contender != 'ours'
            try:
                runs = [prepare(*arguments_of(i), i[5]) for i in inputs]
                repeats = max(3, options.repeats // 4) if slow else options.repeats
                row[contender] = median_ms(runs, repeats, options.device)
            except (RuntimeError, NotImplementedError) as failure:
                if isinstance(failure, torch.OutOfMemoryError):
                    raise
                row[contender] = None  # no kernel for this dtype
        for contender in ('reference', 'mmcv_pytorch', 'mmcv_compiled'):
            if row.get(contender):
                row[f'{contender}/ours'] = row[contender] / row['ours']
        if options.device == 'cuda':
            row['roofline'] = minimal_bytes(inputs[0], name == 'both') / options.bandwidth
            row['ours/roofline'] = row['ours'] / row['roofline']
        yield row


def text_of(number: Any) -> str:
    """A cell of the table."""
    if isinstance(number, float):
        return f'{number:.1e}' if 0 < number < 1e-2 else f'{number:.2f}'
    return '-' if number is None else str(number)


def show(row: dict[str, Any], columns: list[str]) -> None:
    """Prints a row."""
    print('| ' + ' | '.join(text_of(row.get(c)).rjust(len(c)) for c in columns) + ' |', flush=True)


def summarise(rows: list[dict[str, Any]], columns: list[str]) -> None:
    """Geometric means of the ratios, for each dtype and pass."""
    for dtype in dict.fromkeys(row['dtype'] for row in rows):
        for name in ('forward', 'both'):
            chosen = [r for r in rows if (r['dtype'], r['pass']) == (dtype, name)]
            for column in (c for c in columns if '/' in c):
                ratios = [r[column] for r in chosen if r.get(column)]
                if ratios:
                    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
                    print(f'geometric mean of {column}, {dtype}, {name}: {mean:.2f}')


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Bars: times relative to ours, for each row."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    names = [n for n in ('reference', 'mmcv_pytorch', 'mmcv_compiled') if any(n in r for r in rows)]
    figure, axes = pyplot.subplots(figsize=(max(6, len(rows) * 0.45), 5))
    for i, name in enumerate(names):
        heights = [row.get(f'{name}/ours') or 0 for row in rows]
        places = [j + i / (len(names) + 1) for j in range(len(rows))]
        axes.bar(places, heights, width=1 / (len(names) + 1), label=name)
    labels = [' '.join(r[k] for k in ('size', 'image', 'operator', 'dtype', 'pass')) for r in rows]
    axes.set_xticks(range(len(rows)), labels, rotation=90, fontsize=7)
    axes.axhline(1, color='black', linewidth=0.8)
    axes.set_ylabel('time / ours')
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--sizes', nargs='+', choices=HEADS, default=['S', 'B'])
    parser.add_argument('--images', nargs='+', default=['512x512', '800x1344'])
    parser.add_argument('--dtypes', nargs='+', choices=DTYPES, default=['float32', 'bfloat16'])
    parser.add_argument('--batch', type=int, default=2)
    parser.add_argument('--threads', type=int, default=2, help='on the CPU')
    parser.add_argument('--repeats', type=int, default=20)
    parser.add_argument('--csv', type=Path)
    parser.add_argument('--chart', type=Path, help='PNG')
    parser.add_argument('--backbone', action='store_true', help='ViT-Adapter-S instead')
    return parser.parse_args()


def main() -> None:
    """Prints the table."""
    options = parse()
    if options.backbone:
        from benchmark_backbone import compare

        compare(options.threads, options.repeats)
        return
    torch.set_num_threads(options.threads)
    print(f'torch {torch.__version__}, msda on {options.device}: {msda.backend(options.device)}')
    if options.device == 'cuda':
        options.bandwidth = copy_bandwidth('cuda')
        name = torch.cuda.get_device_name()
        print(f'{name}: a copy moves {options.bandwidth / 1e6:.0f} GB/s; roofline relative to that')
    else:
        print(f'{options.threads} threads')
    columns = ['size', 'image', 'operator', 'dtype', 'pass', 'error', *contenders(options.device)]
    columns += [f'{c}/ours' for c in contenders(options.device) if c != 'ours']
    columns += ['roofline', 'ours/roofline'] if options.device == 'cuda' else []
    print('| ' + ' | '.join(columns) + ' |')
    print('|' + '---|' * len(columns))
    rows = []
    for dtype in options.dtypes:
        for size in options.sizes:
            for image in options.images:
                for operator in ('injector', 'extractor'):
                    for row in measure(Case(size, image, operator, dtype), options):
                        rows.append(row)
                        show(row, columns)
    summarise(rows, columns)
    if options.csv:
        with options.csv.open('w', newline='') as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
    if options.chart:
        draw(rows, options.chart)


if __name__ == '__main__':
    main()
