"""What methods say, from their definitions: slow, for few features, without a line of the library."""

from __future__ import annotations

from itertools import combinations
from math import factorial
from typing import Any

import numpy as np

from fuzz.questions import Problem, Unknown

Table = np.ndarray[Any, Any]
MOST = 6  # features of which all coalitions are asked


def gradient(problem: Problem) -> Table:
    return problem.pool(problem.each(lambda i: problem.slope(problem.x[i], i)))


def input_x_gradient(problem: Problem) -> Table:
    slopes = problem.each(lambda i: problem.slope(problem.x[i], i))
    return problem.pool(slopes * problem.x.numpy())


def absolute(problem: Problem) -> Table:
    return np.abs(gradient(problem))


def _one_baseline(problem: Problem) -> Any:
    if problem.absent.shape[1] != 1:
        raise Unknown("several replacements")
    return problem.absent[:, 0]


def times_input(problem: Problem) -> Table:
    slopes = problem.each(lambda i: problem.slope(problem.x[i], i))
    return problem.pool(slopes * (problem.x - _one_baseline(problem)).numpy())


def integrated(problem: Problem, steps: int) -> Table:
    absent = _one_baseline(problem)
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    shares = (nodes + 1) / 2

    def of(i: int) -> Table:
        way = problem.x[i] - absent[i]
        slopes = [problem.slope(absent[i] + share * way, i) for share in shares]
        total = sum(weight / 2 * slope for weight, slope in zip(weights, slopes))
        return np.asarray(total * way)

    return problem.pool(problem.each(of))


def occlusion(problem: Problem) -> Table:
    def of(i: int) -> Table:
        whole = problem.f(problem.x[i], i)
        others = ~np.eye(problem.count, dtype=bool)
        return np.array([whole - problem.value(mask, i) for mask in others])

    return problem.each(of)


def shapley(problem: Problem) -> Table:
    count = problem.count
    if count > MOST:
        raise Unknown("too many features")

    def of(i: int) -> Table:
        game = {}
        for size in range(count + 1):
            for coalition in combinations(range(count), size):
                mask = np.zeros(count, bool)
                mask[list(coalition)] = True
                game[frozenset(coalition)] = problem.value(mask, i)
        credit = np.zeros(count)
        for coalition, value in game.items():
            size = len(coalition)
            for j in set(range(count)) - coalition:
                weight = factorial(size) * factorial(count - size - 1) / factorial(count)
                credit[j] += weight * (game[coalition | {j}] - value)
        return credit

    return problem.each(of)
