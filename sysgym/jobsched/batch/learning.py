"""The predictor `learned`: a regression over the history of a job's user, learned as jobs end.

It predicts log(run time / requested time), which is never above 0, as a linear function of the features below, and
learns by AdaGrad from each job when that has ended, with the features of its submission: nothing is known before it
has happened. At first the weights repeat the mean of the user's last two runs, so it begins as `last_two`, and half of
the logarithm stays with that (`BLEND`).

The loss is asymmetric, as in Gaussier et al. (SC 2015): with e = predicted - true logarithm it is e^2 / 2 for a
prediction that is too long and `UNDER` |e| for one that is too short, times 1 + `AREA_WEIGHT` log(run time n) / 10. A
prediction below `FLOOR` of the request is raised to that: what is far too short lets others in before a wide job,
whose reservation then moves. Departures from the paper: logarithms instead of seconds, the history of jobs that are
alike (same user, request and processors) beside the user's, no products of features.

How the constants were chosen, and on what, stands in docs/schedulers.md.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted

LEARNING_RATE = 0.03
UNDER = 0.5
AREA_WEIGHT = 2.0
BLEND = 0.5
FLOOR = 0.05
FORGETTING = 0.3
"""Weight of the newest job in the running mean of a history."""

ENDED, LAST, BEFORE, THIRD, MEAN, RUNNING, SUBMITTED, LAST_END, LAST_SUBMIT = range(9)
"""Columns of a history: counts of ended, running and submitted jobs; seconds of the last three runs; running mean of
log(run time / requested time); instants of the last end and submission."""

FEATURES = 26
_DAY = 86_400.0


@uncounted
def begin_weights(weights: NDArray[np.float64]) -> None:
    """The weights that repeat the mean of the last two runs."""
    weights[:] = 0.0
    weights[1] = 1.0


@uncounted
def note_submission(history: NDArray[np.float64], now: float) -> None:
    """A job of this history has been submitted."""
    history[SUBMITTED] += 1.0
    history[LAST_SUBMIT] = now


@uncounted
def note_end(history: NDArray[np.float64], run: float, requested: float, now: float) -> None:
    """A job of this history has ended."""
    share = math.log(run / requested)
    history[MEAN] = share if history[ENDED] == 0 else (1 - FORGETTING) * history[MEAN] + FORGETTING * share
    history[THIRD], history[BEFORE], history[LAST] = history[BEFORE], history[LAST], run
    history[ENDED] += 1.0
    history[RUNNING] -= 1.0
    history[LAST_END] = now


@uncounted
def mean_of_two(history: NDArray[np.float64], requested: float) -> float:
    """Mean of the last two runs, rounded down to seconds, at most what is requested; that without two of them."""
    if history[ENDED] < 2:
        return requested
    mean: float = math.floor((history[LAST] + history[BEFORE]) / 2)
    return min(requested, max(1.0, mean))


@uncounted
def _share(history: NDArray[np.float64], which: int, requested: float, otherwise: float) -> float:
    """log(run / requested) of the last, second last or third last job, at most 0."""
    if history[ENDED] < which:
        return otherwise
    return math.log(min(requested, history[which]) / requested)


@uncounted
def describe(
    features: NDArray[np.float64],
    user: NDArray[np.float64],
    alike: NDArray[np.float64],
    requested: float,
    processors: int,
    now: float,
) -> None:
    """Write the features of a job that is submitted now.

    Args:
        features: float64, shape (FEATURES,).
        user: History of its user's jobs.
        alike: History of the jobs that are alike.
        requested: Its requested time, seconds.
        processors: Its processors.
        now: Its submission, seconds.
    """
    two = math.log(mean_of_two(user, requested) / requested)
    last = _share(user, LAST, requested, 0.0)
    before = _share(user, BEFORE, requested, last)
    last_alike = _share(alike, LAST, requested, two)
    before_alike = _share(alike, BEFORE, requested, last_alike)
    repeated = 1.0 if alike[ENDED] >= 2 else 0.0
    crowd = math.log(1.0 + user[RUNNING])
    features[0] = 1.0
    features[1] = two
    features[2] = last
    features[3] = before
    features[4] = _share(user, THIRD, requested, before)
    features[5] = user[MEAN]
    features[6] = last_alike
    features[7] = before_alike
    features[8] = alike[MEAN] if alike[ENDED] > 0 else two
    features[9] = repeated
    features[10] = min(last, before)
    features[11] = math.log(requested) / 10.0 - 1.0
    features[12] = math.log2(processors) / 7.0
    features[13] = crowd
    features[14] = math.log(1.0 + now - user[LAST_END]) / 10.0 if user[ENDED] > 0 else 1.0
    features[15] = math.sin(2.0 * math.pi * now / _DAY) / 2.0
    features[16] = math.cos(2.0 * math.pi * now / _DAY) / 2.0
    features[17] = 1.0 if last < -3.0 else 0.0
    features[18] = 1.0 if last > -0.05 else 0.0
    features[19] = repeated * two
    features[20] = 1.0 if user[ENDED] < 2 else 0.0
    features[21] = 1.0 if alike[RUNNING] > 0 else 0.0
    features[22] = math.log(1.0 + now - user[LAST_SUBMIT]) / 10.0 if user[SUBMITTED] > 0 else 1.0
    features[23] = crowd * two
    features[24] = abs(last - before)
    features[25] = abs(last_alike - before_alike)


@uncounted
def logarithm(weights: NDArray[np.float64], features: NDArray[np.float64]) -> float:
    """What the weights say of log(run time / requested time)."""
    total = 0.0
    for i in range(FEATURES):
        total += weights[i] * features[i]
    return total


@uncounted
def planned_seconds(weights: NDArray[np.float64], features: NDArray[np.float64], requested: float) -> float:
    """The planned time of a job with these features."""
    predicted = (1.0 - BLEND) * logarithm(weights, features) + BLEND * features[1]
    floor: float = math.floor(requested * max(FLOOR, math.exp(min(0.0, predicted))))
    return min(requested, max(1.0, floor))


@uncounted
def learn_from(
    weights: NDArray[np.float64],
    squares: NDArray[np.float64],
    features: NDArray[np.float64],
    run: float,
    requested: float,
    processors: int,
) -> None:
    """One step of AdaGrad on the loss of a job that has ended; `squares` are the summed squares of the gradient."""
    true = math.log(run / requested)
    error = min(0.0, logarithm(weights, features)) - true
    if abs(error) < 1e-9:
        return
    slope = error if error > 0 else -UNDER
    slope *= 1.0 + AREA_WEIGHT * math.log(max(1.0, run * processors)) / 10.0
    for i in range(FEATURES):
        gradient = slope * features[i]
        squares[i] += gradient * gradient
        weights[i] -= LEARNING_RATE * gradient / math.sqrt(squares[i] + 1e-8)
