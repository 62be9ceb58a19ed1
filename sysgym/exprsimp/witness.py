"""Proofs of single claims, and the little that must be trusted about them.

A claim is a Bool expression that is said to be true whatever its variables are. Its proof is a tree: every node splits
into two cases that leave nothing out, and every leaf adds up inequalities of its case, each times a positive number,
to `1 <= 0` or worse (Farkas). `verify` follows the tree in exact integers; how the tree was found is no concern here.

Integer terms are read as linear forms over atoms. `min(a, b)` is `a + below(b - a)` with the atom
`below(d) = min(0, d)`, so that what is added to both sides cancels; `max` follows from it, `x % k` from the atom of
`x / k`. An inequality over integers is divided by the common divisor of its coefficients, its constant rounded up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import Any

from sysgym.exprsimp.model import INT64, Expression, Op

ONE = -1
"""Key of the constant in a linear form."""

Linear = dict[int, int]
Key = tuple[Any, ...]
Proof = dict[str, Any]
_MOST_TERMS = 64


def combine(left: Linear, right: Linear, factor: int = 1) -> Linear:
    """`left + factor * right`."""
    total = dict(left)
    for atom, number in right.items():
        value = total.get(atom, 0) + factor * number
        if value:
            total[atom] = value
        else:
            total.pop(atom, None)
    return total


def tightened(form: Linear) -> Linear:
    """`form <= 0` over integers, divided by the common divisor of its coefficients."""
    common = gcd(*(number for atom, number in form.items() if atom != ONE))
    if common <= 1:
        return form
    made = {atom: number // common for atom, number in form.items() if atom != ONE}
    constant = -(-form.get(ONE, 0) // common)
    if constant:
        made[ONE] = constant
    return made


def _constant(form: Linear) -> int | None:
    return form.get(ONE, 0) if not form or (len(form) == 1 and ONE in form) else None


def _key(form: Linear) -> Key:
    return tuple(sorted(form.items()))


@dataclass
class Branch:
    """One case: what is assumed in it.

    Attributes:
        facts: Linear forms that are at most 0.
        choices: Disjunctions still open, each two lists of (term, truth).
    """

    facts: list[Linear] = field(default_factory=list)
    choices: list[list[list[tuple[int, bool]]]] = field(default_factory=list)

    def copy(self) -> Branch:
        """A case of its own that starts from this one."""
        return Branch(list(self.facts), list(self.choices))


class Meaning:
    """An expression's terms as linear forms over numbered atoms, in the order of its rows.

    Attributes:
        forms: Linear form by row; empty for Bool rows.
        atoms: What each atom is: a kind and what it is made of.
    """

    def __init__(self, expression: Expression) -> None:
        self.rows: list[list[int]] = expression.nodes.tolist()
        self.forms: list[Linear] = []
        self.atoms: list[Key] = []
        self._numbers: dict[Key, int] = {}
        for row in self.rows:
            self.forms.append(self._read(*row))

    def atom(self, key: Key) -> Linear:
        """The form of one atom, made if it is new."""
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.atoms)
            self.atoms.append(key)
        return {number: 1}

    def _read(self, op: int, a: int, b: int, c: int, value: int) -> Linear:  # noqa: PLR0911  one line an operator
        if op == Op.INT:
            return {ONE: value} if value else {}
        if op == Op.VAR:
            return self.atom(("variable", value))
        if op == Op.ADD:
            return combine(self.forms[a], self.forms[b])
        if op == Op.SUB:
            return combine(self.forms[a], self.forms[b], -1)
        if op == Op.MUL:
            return self._product(self.forms[a], self.forms[b])
        if op in (Op.DIV, Op.MOD):
            return self._division(op, self.forms[a], self.forms[b])
        if op == Op.MIN:
            return combine(self.forms[a], self._below(combine(self.forms[b], self.forms[a], -1)))
        if op == Op.MAX:
            return combine(self.forms[b], self._below(combine(self.forms[b], self.forms[a], -1)), -1)
        if op == Op.SELECT and b >= 0 and not self._is_bool(b):
            difference = combine(self.forms[b], self.forms[c], -1)
            return combine(self.forms[c], self.atom(("select", a, _key(difference))) if difference else {})
        return {}

    def _is_bool(self, row: int) -> bool:
        while self.rows[row][0] == Op.SELECT:
            row = self.rows[row][2]
        return self.rows[row][0] in (Op.TRUTH, Op.BOOL_VAR) or self.rows[row][0] in range(Op.LT, Op.NOT + 1)

    def _product(self, left: Linear, right: Linear) -> Linear:
        if len(left) * len(right) > _MOST_TERMS and _constant(left) is None and _constant(right) is None:
            return self.atom(("product", *sorted((_key(left), _key(right)))))
        total: Linear = {}
        for atom, number in left.items():
            for other, factor in right.items():
                if ONE in (atom, other):
                    part = {max(atom, other): 1}
                else:
                    part = self.atom(("power", *sorted(self._factors(atom) + self._factors(other))))
                total = combine(total, part, number * factor)
        return total

    def _factors(self, atom: int) -> list[int]:
        kind, *parts = self.atoms[atom]
        return parts if kind == "power" else [atom]

    def _division(self, op: int, form: Linear, divisor: Linear) -> Linear:
        size = _constant(divisor)
        if size is None:
            return self.atom(("/" if op == Op.DIV else "%", _key(form), _key(divisor)))
        if size == 0:
            return {}
        quotient = self._quotient(form, abs(size))
        if op == Op.MOD:
            return combine(form, quotient, -abs(size))
        return quotient if size > 0 else combine({}, quotient, -1)

    def _quotient(self, form: Linear, divisor: int) -> Linear:
        """`form / divisor` for a positive divisor: whole multiples come out, common divisors cancel."""
        whole = {atom: number // divisor for atom, number in form.items() if atom == ONE or number % divisor == 0}
        rest = combine(form, whole, -divisor)
        whole = combine({}, whole)
        common = gcd(divisor, *(number for atom, number in rest.items() if atom != ONE))
        rest = {atom: number // common for atom, number in rest.items() if number // common}
        if divisor == common or _constant(rest) is not None:
            return combine(whole, rest) if divisor == common else whole
        return combine(whole, self.atom(("quotient", _key(rest), divisor // common)))

    def _below(self, form: Linear) -> Linear:
        """`min(0, form)`."""
        constant = _constant(form)
        if constant is not None:
            return {ONE: constant} if constant < 0 else {}
        common = gcd(*form.values())
        sign = 1 if form[min(atom for atom in form if atom != ONE)] > 0 else -1
        part = {atom: sign * number // common for atom, number in form.items()}
        made = combine({}, self.atom(("below", _key(part))), common)
        return made if sign > 0 else combine(form, made)

    def axioms(self, atom: int) -> list[Linear]:
        """What always holds of an atom, as forms that are at most 0."""
        kind, *parts = self.atoms[atom]
        if kind == "quotient":
            form, divisor = dict(parts[0]), parts[1]
            lower = combine({atom: divisor}, form, -1)
            return [lower, combine(combine({}, lower, -1), {ONE: 1 - divisor})]
        if kind == "below":
            return [{atom: 1}, combine({atom: 1}, dict(parts[0]), -1)]
        return [{atom: -1}] if kind == "%" else []

    def assume(self, branch: Branch, literals: Sequence[tuple[int, bool]]) -> None:
        """Add that terms are true or false: facts and open disjunctions, in the order of the terms."""
        pending = list(reversed(literals))
        while pending:
            term, truth = pending.pop()
            op, a, b, c, value = self.rows[term]
            if op == Op.TRUTH:
                branch.facts.append({} if bool(value) == truth else {ONE: 1})
            elif op == Op.BOOL_VAR:
                form = self.atom(("variable", value))
                branch.facts.append(combine({ONE: 1}, form, -1) if truth else form)
            elif op == Op.NOT:
                pending.append((a, not truth))
            elif op in (Op.AND, Op.OR):
                if truth == (op == Op.AND):
                    pending.extend(((b, truth), (a, truth)))
                else:
                    branch.choices.append([[(a, truth)], [(b, truth)]])
            elif op == Op.SELECT:
                branch.choices.append([[(a, True), (b, truth)], [(a, False), (c, truth)]])
            else:
                self._compare(branch, op, combine(self.forms[a], self.forms[b], -1), truth, term)

    @staticmethod
    def _compare(branch: Branch, op: int, difference: Linear, truth: bool, term: int) -> None:
        opposite = combine({}, difference, -1)
        if op == Op.EQ:
            if truth:
                branch.facts.extend((tightened(difference), tightened(opposite)))
            else:
                branch.choices.append([[(~term, True)], [(~term, False)]])
            return
        strict = (op == Op.LT) == truth
        form = difference if truth else opposite
        branch.facts.append(tightened(combine(form, {ONE: 1}) if strict else form))

    def choose(self, branch: Branch, split: Sequence[Any], case: int) -> Branch:
        """One of the two cases of a split.

        Args:
            branch: Where the split is made.
            split: ("choice", number of an open disjunction), ("atom", number), or ("cut", atom, k) for the cases that
                an atom is at most k or at least k + 1.
            case: 0 or 1.
        """
        kind, number, *rest = split
        made = branch.copy()
        if kind == "choice":
            literals = made.choices[number][case]
            made.choices[number] = []
            if literals[0][0] < 0:  # two sides that differ: the first is smaller, or larger
                _, a, b, *_ = self.rows[~literals[0][0]]
                left, right = (a, b) if literals[0][1] else (b, a)
                made.facts.append(tightened(combine(combine(self.forms[left], self.forms[right], -1), {ONE: 1})))
            else:
                self.assume(made, literals)
        elif kind == "cut":
            bound = rest[0]
            if type(bound) is not int:  # between two integers, none may be left out
                raise ValueError(bound)
            atom = {self._known(number): 1}
            below, above = combine(atom, {ONE: -bound}), combine({ONE: bound + 1}, atom, -1)
            made.facts.append(below if case == 0 else above)
        else:
            self._choose_atom(made, self._known(number), case)
        return made

    def _known(self, number: int) -> int:
        if not 0 <= number < len(self.atoms):
            raise IndexError(number)
        return number

    def _choose_atom(self, made: Branch, number: int, case: int) -> None:
        kind, *parts = self.atoms[number]
        if kind == "below":
            form = dict(parts[0])
            if case == 0:
                made.facts.extend(({number: -1}, tightened(combine({}, form, -1))))
            else:
                made.facts.extend((combine(form, {number: 1}, -1), tightened(form)))
        elif kind == "select":
            form = dict(parts[1]) if case == 0 else {}
            made.facts.extend((combine({number: 1}, form, -1), combine(form, {number: 1}, -1)))
            self.assume(made, [(parts[0], case == 0)])
        else:
            raise IndexError(number)


def verify(claim: Expression, proof: Proof) -> bool:
    """Whether a proof shows that a claim is always true; exact, and without search.

    Args:
        claim: A Bool expression.
        proof: `{"split": [...], "cases": [proof, proof]}` or `{"sum": [part, ...]}` with a
            part `[multiplier, fact]` or `[multiplier, atom, axiom]`.
    """
    meaning = Meaning(claim)
    start = Branch()
    meaning.assume(start, [(len(claim.nodes) - 1, False)])
    pending = [(proof, start)]
    try:
        while pending:
            node, branch = pending.pop()
            if "split" in node:
                first, second = node["cases"]
                pending.extend(
                    (case, meaning.choose(branch, node["split"], place)) for place, case in ((0, first), (1, second))
                )
            elif not _contradicts(meaning, branch, node["sum"]):
                return False
    except (IndexError, KeyError, TypeError, ValueError):
        return False
    return True


def _contradicts(meaning: Meaning, branch: Branch, parts: Sequence[Sequence[int]]) -> bool:
    total: Linear = {}
    for multiplier, number, *axiom in parts:
        if not (type(multiplier) is int and 0 < multiplier < INT64 and number >= 0):
            return False
        form = meaning.axioms(number)[axiom[0]] if axiom else branch.facts[number]
        total = combine(total, form, multiplier)
    constant = _constant(total)
    return constant is not None and constant > 0
