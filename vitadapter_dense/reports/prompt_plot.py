"""Which prompt serves which class, as a heat map a task, and as bars for one class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from PIL import Image

from vitadapter_dense.reports.plots import name_ticks, plot_text
from vitadapter_dense.reports.prompt_counts import PromptCounts

_PICTURE = 0.32  # inches of a prompt's side


def heat_map(tasks: Sequence[PromptCounts]) -> Figure:
    """A map for each task: classes by prompts, with the prompts' pictures above the columns.

    Classes that no task's evaluation has seen are left out.
    """
    seen = np.flatnonzero(sum(task.counts.sum(axis=1) for task in tasks))
    prompts = tasks[0].counts.shape[1]
    width, height = 0.4 * prompts + 0.6, 0.24 * len(seen)
    figure = Figure(figsize=(width * len(tasks) + 3, height + 2), layout='constrained')
    axes = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for plot, task in zip(axes, tasks, strict=True):
        shown = plot.imshow(task.shares[seen], cmap='Blues', vmin=0, vmax=100)
        plot.set_aspect('auto')
        plot.set_xlabel('prompt')
        title = f'after task {task.task}' if task.task >= 0 else 'choices'
        plot.set_title(title, pad=8 if not task.pictures else 14 + 72 * _PICTURE)
        plot.set_xticks(range(prompts))
        for column, picture in enumerate(task.pictures):
            image = Image.open(picture).convert('RGB')
            zoom = 72 * _PICTURE / max(image.size)
            box = OffsetImage(np.asarray(image), zoom=zoom, dpi_cor=True)
            place = (column, len(seen) and -0.5)
            offset = (0, 6 + 36 * _PICTURE)
            plot.add_artist(
                AnnotationBbox(box, place, offset, boxcoords='offset points', frameon=False)
            )
    names = [tasks[0].classes[label] for label in seen]
    name_ticks(axes[0].yaxis, range(len(seen)), names)
    figure.colorbar(shown, ax=list(axes), label='% of the images', pad=0.01)
    return figure


def class_bars(tasks: Sequence[PromptCounts], name: str) -> Figure:
    """How often each prompt served a class, a bar a task.

    Raises:
        ValueError: there is no such class, or no evaluation has seen it.
    """
    classes = tasks[0].classes
    if name not in classes:
        raise ValueError(f'there is no class {name!r}; choose of {", ".join(classes)}')
    label = classes.index(name)
    tasks = [task for task in tasks if task.counts[label].any()]
    if not tasks:
        raise ValueError(f'no evaluation has seen an image of {name!r}')
    prompts = tasks[0].counts.shape[1]
    figure = Figure(figsize=(0.5 * prompts + 3, 3.6), layout='constrained')
    plot = figure.subplots()
    width = 0.8 / len(tasks)
    for number, task in enumerate(tasks):
        places = np.arange(prompts) + (number - (len(tasks) - 1) / 2) * width
        plot.bar(places, task.shares[label], width, label=f'after task {task.task}')
    plot.set_xticks(range(prompts))
    plot.set_xlabel('prompt')
    plot.set_ylabel('% of its images')
    plot.set_title(plot_text(name))
    if len(tasks) > 1:
        plot.legend()
    return figure
