"""Logistic regression with a small ridge, by Newton's method: numpy alone, and a value that a file can hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

ROUNDS, CLOSE = 50, 1e-9
RIDGE = 1.0  # of inputs with a standard deviation of about 1; as scikit-learn has it by default


@dataclass(frozen=True, eq=False)
class Logistic:
    """A weight for each input, float64 (input,), and what is added: the log odds of the positive class."""

    weights: NDArray[np.float64]
    intercept: float

    @classmethod
    def fit(cls, inputs: ArrayLike, labels: ArrayLike, *, ridge: float = RIDGE) -> Self:
        """Fit it by penalised maximum likelihood.

        ``labels``: bool (case,). With no case of one of the answers, the share of the positives (drawn in by half a
        case) whatever the input.
        """
        matrix, truth = np.atleast_2d(np.asarray(inputs, np.float64)), np.asarray(labels, np.float64)
        if not len(truth):
            raise ValueError("a logistic regression needs at least one case; found none.")
        share = (truth.sum() + 0.5) / (len(truth) + 1)
        start = np.zeros(matrix.shape[1] + 1)
        start[-1] = np.log(share / (1 - share))
        if truth.min() == truth.max():
            return cls(start[:-1], float(start[-1]))
        found = _newton(np.column_stack([matrix, np.ones(len(matrix))]), truth, start, ridge)
        return cls(found[:-1], float(found[-1]))

    def log_odds(self, inputs: ArrayLike) -> NDArray[np.float64]:
        """Give the log odds of the positive class.

        Returns float64 (case,).
        """
        return np.asarray(inputs, np.float64) @ self.weights + self.intercept

    def of(self, inputs: ArrayLike) -> NDArray[np.float64]:
        """Give the probability of the positive class.

        Returns float64 (case,), in [0, 1].
        """
        return expit(self.log_odds(inputs))


def expit(log_odds: ArrayLike) -> NDArray[np.float64]:
    """Turn log odds into probabilities, without overflow.

    Returns float64, of that shape.
    """
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(log_odds, np.float64)))


def _newton(
    matrix: NDArray[np.float64], truth: NDArray[np.float64], start: NDArray[np.float64], ridge: float
) -> NDArray[np.float64]:
    """Weights and intercept, float64 (input + 1,); a step is halved as long as it would raise the loss."""
    penalty = np.append(np.full(matrix.shape[1] - 1, ridge), 0.0)
    found, loss = start, _loss(matrix, truth, start, penalty)
    for _ in range(ROUNDS):
        said = expit(matrix @ found)
        slope = matrix.T @ (said - truth) + penalty * found
        curve = (matrix * (said * (1 - said))[:, None]).T @ matrix + np.diag(penalty + CLOSE)
        step = np.linalg.solve(curve, slope)
        while (new := _loss(matrix, truth, found - step, penalty)) > loss and np.abs(step).max() > CLOSE:
            step = step / 2
        if loss - new < CLOSE * max(1.0, abs(loss)):
            return found
        found, loss = found - step, new
    return found


def _loss(
    matrix: NDArray[np.float64], truth: NDArray[np.float64], weights: NDArray[np.float64], penalty: NDArray[np.float64]
) -> float:
    """Penalised negative log likelihood."""
    odds = matrix @ weights
    return float((np.logaddexp(0, odds) - truth * odds).sum() + 0.5 * (penalty * weights**2).sum())
