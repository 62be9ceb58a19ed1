"""Search for proofs of single claims: cases by need, inequalities by a linear program.

Each case is a linear program over the rationals. If it has no solution, the multipliers that show so are rounded to
integers and checked. If it has one, the solution shows which `min`, which disjunction, or which fraction to split on.
Floating point guides the search alone; `witness.verify` decides what counts as a proof.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.exprsimp.model import Expression
from sysgym.exprsimp.witness import ONE, Branch, Linear, Meaning, Proof, combine

_TOLERANCE = 1e-7
_DENOMINATOR = 20_000
_MOST_ROWS = 400
_LARGEST = 2**50
Source = tuple[int, ...]


def find_proof(claim: Expression, budget: int = 60, cuts: int = 2) -> Proof | None:
    """A proof that a Bool expression is always true, or None where the search ends without one.

    Args:
        claim: The expression.
        budget: Linear programs that may be solved.
        cuts: Splits on fractions that may follow one another.
    """
    search = _Search(Meaning(claim), budget)
    start = Branch()
    search.meaning.assume(start, [(len(claim.nodes) - 1, False)])
    return search.refute(start, frozenset(), cuts)


class _Search:
    """One claim's search; recursion is as deep as the splits of one branch, which the budget bounds."""

    def __init__(self, meaning: Meaning, budget: int) -> None:
        self.meaning, self.budget = meaning, budget
        self._axioms: dict[int, list[Linear]] = {}

    def refute(  # noqa: PLR0911  every way to give up
        self, branch: Branch, done: frozenset[int], cuts: int
    ) -> Proof | None:
        """A proof that a case cannot be."""
        forms, sources, atoms = self._system(branch)
        for form, source in zip(forms, sources, strict=True):
            if form.get(ONE, 0) > 0 and len(form) == 1:
                return {"sum": [[1, *source]]}
        if self.budget <= 0 or len(forms) > _MOST_ROWS:
            return None
        self.budget -= 1
        status, multipliers, point = _solve(forms, atoms)
        if status > 0:
            return _leaf(forms, sources, multipliers)
        if status < 0:
            return None
        split = self._split(branch, dict(zip(atoms, point.tolist(), strict=True)), done, cuts)
        if split is None:
            return None
        if split[0] == "atom":
            done = done | {int(split[1])}
        cuts -= split[0] == "cut"
        cases = []
        for case in (0, 1):
            proof = self.refute(self.meaning.choose(branch, split, case), done, cuts)
            if proof is None:
                return None
            cases.append(proof)
        return {"split": list(split), "cases": cases}

    def _system(self, branch: Branch) -> tuple[list[Linear], list[Source], list[int]]:
        """Facts of the case and axioms of every atom that they lead to."""
        forms: list[Linear] = list(branch.facts)
        sources: list[Source] = [(place,) for place in range(len(forms))]
        seen: dict[int, None] = {}
        at = 0
        while at < len(forms):
            for atom in forms[at]:
                if atom != ONE and atom not in seen:
                    seen[atom] = None
                    if atom not in self._axioms:
                        self._axioms[atom] = self.meaning.axioms(atom)
                    for place, form in enumerate(self._axioms[atom]):
                        forms.append(form)
                        sources.append((atom, place))
            at += 1
        return forms, sources, list(seen)

    def _split(
        self, branch: Branch, point: dict[int, float], done: frozenset[int], cuts: int
    ) -> tuple[str, int] | tuple[str, int, int] | None:
        """The split that the solution of the linear program violates most."""
        worst, gap = -1, 1e-6
        for atom, reached in point.items():
            kind, *parts = self.meaning.atoms[atom]
            if atom in done or kind not in ("below", "select"):
                continue
            form = parts[0] if kind == "below" else parts[1]
            value = sum(number * (1.0 if part == ONE else point.get(part, 0.0)) for part, number in form)
            missing = min(0.0, value) - reached if kind == "below" else 1.0
            if missing > gap:
                worst, gap = atom, missing
        for number, choice in enumerate(branch.choices):
            if choice:
                return ("choice", number)
        if worst >= 0:
            return ("atom", worst)
        if cuts > 0:
            for atom, value in point.items():
                if abs(value - round(value)) > 1e-6 and abs(value) < 1e9:
                    return ("cut", atom, math.floor(value))
        return None


def _leaf(forms: list[Linear], sources: list[Source], multipliers: NDArray[np.float64]) -> Proof | None:
    """Multipliers as integers, if they still add up to a contradiction."""
    used = [place for place in range(len(forms)) if multipliers[place] > _TOLERANCE]
    fractions = [Fraction(float(multipliers[place])).limit_denominator(_DENOMINATOR) for place in used]
    common = math.lcm(*(part.denominator for part in fractions))
    if common > _LARGEST:
        return None
    whole = [int(part * common) for part in fractions]
    total: Linear = {}
    for place, number in zip(used, whole, strict=True):
        total = combine(total, forms[place], number)
    if set(total) - {ONE} or total.get(ONE, 0) <= 0:
        return None
    return {"sum": [[number, *sources[place]] for place, number in zip(used, whole, strict=True)]}


def _solve(forms: list[Linear], atoms: list[int]) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Solve `forms <= 0`: 1 and multipliers where there is no solution, 0 and a point where there is one, else -1."""
    column = {atom: place for place, atom in enumerate(atoms)}
    width = len(atoms)
    column[ONE] = width
    table = np.zeros((len(forms), width + 1))
    for row, form in enumerate(forms):
        line = table[row]
        for atom, number in form.items():
            line[column[atom]] = -number
    multipliers, point = np.zeros(len(forms)), np.zeros(width)
    return solve_table(table, multipliers, point), multipliers, point


@compiled
def solve_table(  # noqa: PLR0912  one simplex
    table: NDArray[np.float64], multipliers: NDArray[np.float64], point: NDArray[np.float64]
) -> int:
    """Dual simplex without costs over free variables.

    Args:
        table: float64 (rows, variables + 1): coefficients and constant of expressions that must be at least 0; spoilt.
        multipliers: float64 (rows,), zeros; filled where there is no solution.
        point: float64 (variables,); filled where there is one.

    Returns:
        1 without a solution, 0 with one, -1 where the search is given up.
    """
    rows, width = table.shape[0], table.shape[1] - 1
    basic = np.arange(rows) + width  # what each row stands for: variables below `width`, slacks from there
    other = np.arange(width)  # what each column stands for
    for column in range(width):
        best, row = 1e-9, -1
        for candidate in range(rows):
            if basic[candidate] >= width and abs(table[candidate, column]) > best:
                best, row = abs(table[candidate, column]), candidate
        if row >= 0:
            _pivot(table, row, column)
            basic[row], other[column] = other[column], basic[row]
    most = 6 * (rows + width) + 50
    for turn in range(most):
        row, lowest = -1, -1e-7
        for candidate in range(rows):
            if basic[candidate] >= width and table[candidate, width] < lowest:
                row = candidate
                lowest = table[candidate, width] if 2 * turn < most else -1e300
                if 2 * turn >= most:
                    break
        if row < 0:
            for candidate in range(rows):
                if basic[candidate] < width:
                    point[basic[candidate]] = table[candidate, width]
            return 0
        column, best = -1, 1e-9
        for candidate in range(width):
            if other[candidate] >= width and table[row, candidate] > best:
                column = candidate
                best = table[row, candidate]
                if 2 * turn >= most:
                    break
        if column < 0:
            multipliers[basic[row] - width] = 1.0
            for candidate in range(width):
                if other[candidate] >= width and table[row, candidate] < -1e-9:
                    multipliers[other[candidate] - width] = -table[row, candidate]
            return 1
        _pivot(table, row, column)
        basic[row], other[column] = other[column], basic[row]
    return -1


@compiled
def _pivot(table: NDArray[np.float64], row: int, column: int) -> None:
    """Exchange what a row and a column stand for."""
    width = table.shape[1]
    scale = 1.0 / table[row, column]
    for place in range(width):
        table[row, place] *= -scale
    table[row, column] = scale
    for line in range(table.shape[0]):
        factor = table[line, column]
        if line != row and factor != 0.0:
            table[line, column] = 0.0
            for place in range(width):
                table[line, place] += factor * table[row, place]
