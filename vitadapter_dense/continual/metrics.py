"""What a matrix R[t, i], the score on task i after task t, says of learning and forgetting.

Three formulas go by the name of forgetting, and differ:

- `forgetting_from_best`: what the best score of a task, at whatever time, has over the last
  (Chaudhry et al., ECCV 2018; the code of L2P).
- `forgetting_by_step`: what each task loses from step to step, averaged over earlier tasks and then
  over steps (the code of CODA-Prompt).
- `forgetting_from_first`: what a task's score right after learning it has over the last
  (LibContinual, by its docstring). It is backward transfer (Lopez-Paz and Ranzato, 2017), turned
  around.
"""

from __future__ import annotations

import numpy as np


def average_curve(scores: np.ndarray) -> np.ndarray:
    """(T,), the mean over the tasks seen so far, after each task."""
    return np.array([np.mean(row[: task + 1]) for task, row in enumerate(scores)])


def forgetting_from_best(scores: np.ndarray) -> float:
    """Mean over all tasks but the last of max_t R[t, i] - R[T - 1, i]."""
    learnt = np.tril(np.ones_like(scores, bool))
    best = np.where(learnt, scores, -np.inf).max(axis=0)
    return _mean((best - scores[-1])[:-1])


def forgetting_by_step(scores: np.ndarray) -> float:
    """Mean over t > 0 of the mean over i < t of R[t - 1, i] - R[t, i]."""
    drops = [np.mean(scores[t - 1, :t] - scores[t, :t]) for t in range(1, len(scores))]
    return _mean(np.array(drops))


def forgetting_from_first(scores: np.ndarray) -> float:
    """Mean over all tasks but the last of R[i, i] - R[T - 1, i]."""
    return _mean((np.diag(scores) - scores[-1])[:-1])


def backward_transfer(scores: np.ndarray) -> float:
    """Mean over all tasks but the last of R[T - 1, i] - R[i, i]."""
    return -forgetting_from_first(scores)


def summarize(scores: np.ndarray) -> dict[str, float]:
    """Every figure by its name; NaN where there is nothing to compare.

    Args:
        scores: (T, T), of which what lies above the diagonal is not looked at.
    """
    curve = average_curve(scores)
    return dict(
        average=float(curve[-1]),
        average_over_time=float(np.mean(curve)),
        when_learnt=float(np.mean(np.diag(scores))),
        forgetting_from_best=forgetting_from_best(scores),
        forgetting_by_step=forgetting_by_step(scores),
        forgetting_from_first=forgetting_from_first(scores),
        backward_transfer=backward_transfer(scores),
    )


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float('nan')
