"""Times the msda operators on the shapes of ViT-Adapter, and checks them in the same run.

    python ops/benchmark.py                                    # the table: some minutes on 2 cores
    python ops/benchmark.py --device cuda --csv out.csv --chart out.png
    python ops/benchmark.py --device cuda --graphs
    python ops/benchmark.py --backbone                         # ViT-Adapter-S, ours and reference

Columns: ours (the fused operator, softmax and locations inside), our PyTorch reference (the same
work), mmcv's PyTorch function and, on a GPU, mmcv's compiled operator and the CUDA and Triton
kernels of the package deformops, where they are installed. All of mmcv's and deformops' are timed
without softmax and locations, that is with less to do than ours. On a GPU, `reductions` and `tiles`
are ours with the values' gradient summed in global memory alone, or by tiles of queries first;
`ours` takes one of them. `error` is the largest deviation of our output (in the pass `both` of our
gradient of the values, too) from the float64 oracle, relative to the largest number. Times are
medians in milliseconds over rotating inputs.

With `--graphs` a GPU's own time is told: each run is captured as a CUDA graph and replayed, so that
Python, autograd and launches, which take most of the time at small sizes, are left out.

With `--module`, a third row for each case times forward and backward of the whole attention module,
projections included, against mmcv's module.
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
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent))

from benchmark_cases import DTYPES, HEADS, METHODS, Case, contenders, methods, modules
from benchmark_chart import CHART_MARK, CONTENDERS, draw, is_foreign

import msda
from msda import reference

# what a file of ours begins with; no other is written over
CSV_MARK = 'size,image,operator,dtype,pass'
COPIES = 3  # inputs take turns, so that no run finds its own in the cache

Run = Callable[[], Any]


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


def module_of(function: Callable[..., Tensor], arguments: list[Tensor], grad: Tensor) -> Run:
    """Forward and the gradients of inputs and parameters."""
    leaves = [a.detach().requires_grad_() for a in arguments]
    grad_of_tokens = torch.ones_like(leaves[0])

    def run() -> None:
        function(*leaves).backward(grad_of_tokens)

    return run


def replay_of(run: Run) -> Run:
    """The same on the GPU alone. A run's earlier graph of autograd must be gone by now."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


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


def errors_of(inputs: list[Any]) -> tuple[float, float]:
    """Deviations of our output, and of it and our gradient of the values, from the oracle."""
    *arguments, grad = inputs
    wide = [a.double() if isinstance(a, Tensor) else a for a in inputs]
    ops = torch.ops.msda
    pairs = (
        (ops.ms_deform_attn_fused(*arguments), reference.attend_fused(*wide[:5])),
        (
            ops.ms_deform_attn_fused_backward(grad, *arguments)[0],
            reference.attend_fused_backward(wide[5], *wide[:5])[0],
        ),
    )
    output, gradient = (
        ((got.double() - wanted).abs().max() / wanted.abs().max()).item() for got, wanted in pairs
    )
    return output, max(output, gradient)


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
    """Two rows: forward, forward and backward; a third for the module if it is asked for."""
    inputs = [case.inputs(options.batch, options.device, seed) for seed in range(COPIES)]
    errors = errors_of(inputs[0])
    passes = [
        ('forward', forward_of, contenders(options.device), errors[0]),
        ('both', both_of, contenders(options.device), errors[1]),
    ]
    if options.module:
        passes.append(('module', module_of, modules(case, options.device), None))
    for name, prepare, found, error in passes:
        row: dict[str, Any] = {**case._asdict(), 'pass': name, 'error': error}
        if options.device == 'cuda' and name == 'both':
            found = {**found, **methods()}
        for contender, arguments_of in found.items():
            slow = contender in ('reference', 'mmcv_pytorch') or (
                options.device == 'cpu' and contender != 'ours'
            )
            try:
                runs = [prepare(*arguments_of(i), i[5]) for i in inputs]
                if options.graphs:
                    runs = [replay_of(run) for run in runs]
                repeats = max(3, options.repeats // 4) if slow else options.repeats
                row[contender] = median_ms(runs, repeats, options.device)
            except (RuntimeError, NotImplementedError) as failure:
                if isinstance(failure, torch.OutOfMemoryError):
                    raise
                row[contender] = None  # no kernel for this dtype
                options.failures.setdefault(contender, str(failure).partition('\n')[0])
        for contender in (*CONTENDERS, *METHODS):
            if row.get(contender):
                row[f'{contender}/ours'] = row[contender] / row['ours']
        if options.device == 'cuda' and name != 'module':
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
        for name in ('forward', 'both', 'module'):
            chosen = [r for r in rows if (r['dtype'], r['pass']) == (dtype, name)]
            for column in (c for c in columns if '/' in c):
                ratios = [r[column] for r in chosen if r.get(column)]
                if ratios:
                    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
                    print(f'geometric mean of {column}, {dtype}, {name}: {mean:.2f}')


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
    parser.add_argument('--graphs', action='store_true', help="the GPU's own time")
    parser.add_argument('--module', action='store_true', help='the whole module, too')
    parser.add_argument('--backbone', action='store_true', help='ViT-Adapter-S instead')
    options = parser.parse_args()
    if options.graphs and options.device != 'cuda':
        parser.error('--graphs is there for --device cuda')
    options.failures = {}  # why what was not timed was not
    for path, mark in ((options.csv, CSV_MARK), (options.chart, CHART_MARK)):
        if path and is_foreign(path, mark):
            parser.error(f'{path} was not made here, and is not written over: give another name')
    return options


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
    names = [*contenders(options.device), *(METHODS if options.device == 'cuda' else ())]
    columns = [*CSV_MARK.split(','), 'error', *names]
    columns += [f'{name}/ours' for name in names if name != 'ours']
    columns += ['roofline', 'ours/roofline'] if options.device == 'cuda' else []
    print('| ' + ' | '.join(columns) + ' |')
    print('|' + '---|' * len(columns))
    cases = [
        Case(size, image, operator, dtype)
        for dtype in options.dtypes
        for size in options.sizes
        for image in options.images
        for operator in ('injector', 'extractor')
    ]
    rows = []
    try:
        for case in cases:
            for row in measure(case, options):
                rows.append(row)
                show(row, columns)
    except KeyboardInterrupt:
        print(f'interrupted: {len(cases)} cases were wanted')
        raise
    finally:
        report(rows, columns, options)


def report(rows: list[dict[str, Any]], columns: list[str], options: argparse.Namespace) -> None:
    """Means, the file and the chart, of what was measured."""
    summarise(rows, columns)
    for name in list(CONTENDERS)[2:] if options.device == 'cuda' else ():
        if not any(row.get(name) for row in rows):
            print(f'{name} was not timed: {options.failures.get(name, "it is not installed")}')
    if options.csv:
        with options.csv.open('w', newline='') as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
    if options.chart and rows:
        draw(rows, options.chart)


if __name__ == '__main__':
    main()
