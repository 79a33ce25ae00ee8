"""Times the forms of a model: each in a process of its own, and all of them in turns.

Turns make that other work on the machine is shared by all; processes, that each has a peak of
memory of its own, without what an export or another form has left behind.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vitadapter_cli import load_config
from vitadapter_dense.command_line.console import quiet_imports
from vitadapter_dense.export.forms import (
    FORMATS,
    Call,
    Case,
    Form,
    as_arrays,
    eager_or_compiled,
    inputs_of_case,
    of_file,
    random_graph,
    write_form,
)
from vitadapter_dense.inference.predictor import build_model_on_meta
from vitadapter_dense.reports.memory import peak_of

_WARM_UP = 3  # calls
_LONGEST_END = 2.0  # seconds
_REST = 0.005  # seconds between two turns, for threads that wait for more to do


class BenchmarkError(ValueError):
    """A form that does not run."""


@dataclass(frozen=True)
class Timing:
    """What was measured of a form.

    Args:
        seconds: of each call.
        peak: bytes at most while it runs, weights included, without the libraries; None where
            nothing counts them.
        deviation: largest difference from the eager outputs, of the largest number of each; None
            for detectors, whose objects may change places.
        made_in: seconds to compile, or to trace and write.
        breaks: parts that were not compiled.
    """

    seconds: tuple[float, ...]
    peak: int | None
    deviation: float | None
    made_in: float
    breaks: int = 0


def time_forms(
    case: Case,
    forms: Sequence[Form],
    *,
    repeats: int,
    folder: Path,
    say: Callable[[str], None] = lambda line: None,
) -> dict[Form, Timing]:
    """Times the forms of a case.

    Args:
        case: what to time.
        forms: the first is what the others' outputs are compared with.
        repeats: calls of each that count.
        folder: for files that are needed for the time being.
        say: is told what is done.

    Raises:
        BenchmarkError: a form does not run; the message names it.
    """
    with ExitStack() as stack:
        ask, made, breaks = {}, {}, {}
        for form in forms:
            say(f'{form}, {case}: getting ready')
            path = folder / f'{form}.{"onnx" if FORMATS.get(form) == "onnx" else "pt2"}'
            if form in FORMATS:
                with _process(form, _write, case, form, path) as answer:
                    made[form], graph = answer()
                serving = _process(form, _serve_file, case, form, path, graph)
            else:
                serving = _process(form, _serve_model, case, form)
            ask[form] = stack.enter_context(serving)
            compiling, breaks[form] = ask[form]()
            made.setdefault(form, compiling)
        deviations = {form: ask[form]('compare', folder / 'outputs.npz') for form in forms}
        say(f'{case}: {repeats} turns')
        times: dict[Form, list[float]] = {form: [] for form in forms}
        for repeat in range(repeats):
            for turn in range(len(forms)):  # who begins changes
                form = forms[(repeat + turn) % len(forms)]
                times[form].append(ask[form]('time', repeat))
                time.sleep(_REST)
        peaks = {form: ask[form]('peak', 0) for form in forms}
    return {
        form: Timing(tuple(times[form]), peaks[form], deviations[form], made[form], breaks[form])
        for form in forms
    }


@contextmanager
def _process(form: str, target: Callable[..., None], *arguments: Any) -> Iterator[Callable]:
    """Starts a process; what is yielded sends a question, if there is any, and waits for an answer.

    Raises:
        BenchmarkError: it failed, or died.
    """
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    process = context.Process(target=_guarded, args=(theirs, target, *arguments), daemon=True)
    process.start()
    theirs.close()

    def ask(*question: Any) -> Any:
        try:
            if question:
                ours.send(question)
            failed, answer = ours.recv()
        except (EOFError, OSError) as error:
            process.join()
            raise BenchmarkError(
                f'{form}: its process ended with status {process.exitcode}; -9 is a want of memory'
            ) from error
        if failed:
            raise BenchmarkError(f'{form}: {answer}')
        return answer

    try:
        yield ask
    finally:
        ours.close()  # which ends it, once it has nothing to compute
        process.join(_LONGEST_END)
        process.terminate()
        process.join()


def _guarded(connection: Connection, target: Callable[..., None], *arguments: Any) -> None:
    """The process: an interrupt of the terminal is its parent's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    quiet_imports()
    try:
        target(connection, *arguments)
    except EOFError:
        return  # the parent needs no more
    except Exception as error:
        name = '' if isinstance(error, ValueError) else f'{type(error).__name__}: '
        connection.send((True, f'{name}{str(error)[:500]}'))


def _write(connection: Connection, case: Case, form: Form, path: Path) -> None:
    start = time.perf_counter()
    graph = write_form(case, form, path)
    connection.send((False, (time.perf_counter() - start, graph)))


def _serve_file(
    connection: Connection, case: Case, form: Form, path: Path, graph: tuple[str, Sequence[str]]
) -> None:
    torch.set_num_threads(case.threads)
    libraries = peak_of(_nothing, torch.device('cpu'))
    call = of_file(case, form, path)
    connection.send((False, (0.0, 0)))
    counted = case.device == 'cpu' or FORMATS[form] != 'onnx'
    _answer(connection, case, call, graph, libraries if counted else None)


def _serve_model(connection: Connection, case: Case, form: Form) -> None:
    torch.set_num_threads(case.threads)
    build_model_on_meta(load_config(case.config, options=case.options))  # imports what it needs
    libraries = peak_of(_nothing, torch.device('cpu'))
    graph = random_graph(case)
    call = eager_or_compiled(case, form, graph)
    start = time.perf_counter()
    call(inputs_of_case(case, graph.input_names)[0])
    compiling = time.perf_counter() - start if form == 'compiled' else 0.0
    breaks = sum(torch._dynamo.utils.counters['graph_break'].values()) if compiling else 0
    connection.send((False, (compiling, breaks)))
    _answer(connection, case, call, (graph.task, graph.input_names), libraries)


def _answer(
    connection: Connection,
    case: Case,
    call: Call,
    graph: tuple[str, Sequence[str]],
    libraries: int | None,
) -> None:
    """Answers questions about a form, until there are no more."""
    task, names = graph
    device, inputs = torch.device(case.device), inputs_of_case(case, names)
    for number in range(_WARM_UP):
        call(inputs[number % len(inputs)])
    while True:
        question, about = connection.recv()
        answer = None
        if question == 'time':
            answer = _seconds(call, inputs[about % len(inputs)], device)
        elif question == 'compare' and task != 'instances':
            answer = _compared(as_arrays(call(inputs[0])), about)
        elif question == 'peak' and libraries is not None:
            peak = peak_of(lambda: call(inputs[0]), device)
            answer = peak - libraries if device.type == 'cpu' else peak
        connection.send((False, answer))


def _nothing() -> None:
    """The peak of it is what the process holds."""


def _seconds(call: Call, inputs: Sequence[torch.Tensor], device: torch.device) -> float:
    """Wall-clock time of a call, until the device is done."""
    if device.type != 'cpu':
        torch.accelerator.synchronize()
    start = time.perf_counter()
    call(inputs)
    if device.type != 'cpu':
        torch.accelerator.synchronize()
    return time.perf_counter() - start


def _compared(outputs: Sequence[np.ndarray], path: Path) -> float:
    """The largest difference from the outputs in a file, of the largest number of each."""
    if not path.exists():
        np.savez(path, *outputs)
        return 0.0
    with np.load(path) as first:
        return max(
            float(np.abs(one - first[name]).max() / (np.abs(first[name]).max() or 1.0))
            for one, name in zip(outputs, first.files, strict=True)
        )
