"""Text to expression: an iterative precedence parser that infers sorts, and readers of files.

Strict mode takes an Int for an Int and a Bool for a Bool; `0` and `1` where a Bool is expected are the Bool constants.
Lenient mode wraps: an Int `x` becomes `!(x == 0)`, a Bool `p` becomes `select(p, 1, 0)`. What the grammar lacks is
rewritten: `a > b` to `b < a`, `a >= b` to `b <= a`, `a != b` to `!(a == b)`, `-x` to `(0 - x)`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sysgym.core.errors import InputFileError
from sysgym.exprsimp.model import (
    ARITY,
    CALLS,
    INT64,
    SYMBOLS,
    TAKES_BOOL,
    Builder,
    Expression,
    ExpressionError,
    Op,
    Sort,
)

_TOKEN = re.compile(r"\s*(?:(\d+)|([A-Za-z_]\w*)|(<=|>=|==|!=|&&|\|\||[-+*/%<>!(),]))")
_LEVEL = {"||": 1, "&&": 2, "==": 3, "!=": 3, "<": 4, "<=": 4, ">": 4, ">=": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6}
_UNARY = 7
_OPERATORS = {symbol: op for op, symbol in SYMBOLS.items()}
_FUNCTIONS = {name: op for op, name in CALLS.items()}
_VARIABLE = re.compile(r"v(0|[1-9]\d{0,8})$")
Names = Callable[[str], tuple[Op, int] | None]


def parse(text: str, bools: Iterable[str] = (), *, lenient: bool = False) -> Expression:
    """Read one expression.

    Args:
        text: Such as `(v0 + 3) / 4 <= min(v1, 5)`; parentheses may be left out as in C.
        bools: Names of the variables that are Bool; all others are Int.
        lenient: Whether to convert between Int and Bool where the sorts don't fit, instead of refusing.

    Returns:
        The expression, hash-consed.

    Raises:
        ExpressionError: The text is empty, not in the grammar, ill-typed, names something unknown, or holds a literal
            beyond 64 bits. The message gives the place, and shows it by a caret in the text.

    >>> parse("v0 + 3 * v1").size
    5
    """
    declared = frozenset(bools)

    def names(name: str) -> tuple[Op, int] | None:
        match = _VARIABLE.match(name)
        return (Op.BOOL_VAR if name in declared else Op.VAR, int(match[1])) if match else None

    builder = Builder()
    root = parse_into(builder, text, names, lenient=lenient)
    return builder.expression(root)


def parse_into(builder: Builder, text: str, names: Names, sort: Sort | None = None, *, lenient: bool = False) -> int:
    """Read one expression into a table of terms, with names of the caller's own and perhaps a sort; its number."""
    return _Parser(builder, text, names, lenient).read(sort)


def read_expressions(path: str | Path, field: str = "expr") -> list[str]:
    """Texts of a file: JSON Lines with a field (`.jsonl`), else one expression a line; empty lines are left out.

    Raises:
        InputFileError: The file is missing or has no expression, or a line is not JSON or lacks the field.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(path, f"cannot be read as UTF-8 text: {error}") from error
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    texts = list(_fields(path, numbered, field)) if path.suffix == ".jsonl" else [line for _, line in numbered]
    if not texts:
        raise InputFileError(path, "holds no expression; expected one a line")
    return texts


def _fields(path: Path, lines: Iterator[tuple[int, str]] | Iterable[tuple[int, str]], field: str) -> Iterator[str]:
    for number, line in lines:
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputFileError(path, f"not JSON: {error.msg}", line=number, column=error.colno) from error
        if not isinstance(record, dict) or not isinstance(record.get(field), str):
            raise InputFileError(path, f'has no text in the field "{field}"; name another with --field', line=number)
        yield record[field]


class _Parser:
    """Two stacks: finished terms, and what waits for its right operand, its comma or its parenthesis."""

    def __init__(self, builder: Builder, text: str, names: Names, lenient: bool) -> None:
        self.builder, self.text, self.names, self.lenient = builder, text, names, lenient
        self.terms: list[int] = []
        self.waiting: list[tuple[str, int, int]] = []  # symbol, place in the text, arguments so far
        self.place = self.after = 0
        self.token = ""

    def read(self, sort: Sort | None) -> int:
        expect_operand = True
        while self._next():
            expect_operand = self._operand() if expect_operand else self._operator()
        if expect_operand:
            raise self._error(
                "the expression ends where an operand is expected" if self.text.strip() else "it is empty"
            )
        self._reduce(0)
        if self.waiting:
            raise self._error("a closing parenthesis is missing", self.waiting[-1][1])
        return self.terms[-1] if sort is None else self._to(self.terms[-1], sort, 0)

    def _next(self) -> bool:
        match = _TOKEN.match(self.text, self.after)
        if match is None:
            rest = self.text[self.after :].lstrip()
            self.place = len(self.text) - len(rest) if rest else len(self.text)
            if rest:
                raise self._error(f"unknown operator or sign {rest[0]!r}")
            return False
        self.token, self.after = match[match.lastindex or 0], match.end()
        self.place = self.after - len(self.token)
        return True

    def _operand(self) -> bool:
        """Take a token where an operand must begin; whether one is still expected."""
        token = self.token
        if token in ("(", "!", "-"):
            negative = re.compile(r"\s*\d+").match(self.text, self.after) if token == "-" else None
            if negative:
                self.after = negative.end()
                self._number(f"-{negative[0].strip()}")
                return False
            self.waiting.append(("0-" if token == "-" else token, self.place, 0))
            return True
        if token in _FUNCTIONS:
            self.waiting.append((token, self.place, 1))
            if not self._next() or self.token != "(":
                raise self._error(f"expected ( after {token}")
            return True
        if token[0].isdigit():
            self._number(token)
        elif token[0].isalpha() or token[0] == "_":
            self._name(token)
        else:
            raise self._error(f"expected an operand before {token}")
        return False

    def _number(self, digits: str) -> None:
        value = int(digits) if len(digits) <= 20 else INT64
        if not -INT64 <= value < INT64:
            raise self._error(f"the integer {digits[:24]} is beyond 64 bits")
        self.terms.append(self.builder.add(Op.INT, value=value))

    def _name(self, name: str) -> None:
        if name in ("true", "false"):
            self.terms.append(self.builder.add(Op.TRUTH, value=int(name == "true")))
            return
        found = self.names(name)
        if found is None:
            raise self._error(f"unknown name {name!r}; variables are v0, v1, ..., functions min, max and select")
        self.terms.append(self.builder.add(found[0], value=found[1]))

    def _operator(self) -> bool:
        """Take a token after an operand; whether an operand is expected next."""
        token = self.token
        if token in _LEVEL:
            self._reduce(_LEVEL[token])
            self.waiting.append((token, self.place, 0))
            return True
        if token not in (",", ")"):
            raise self._error(f"expected an operator before {token}")
        self._reduce(0)
        symbol, begin, arguments = self.waiting[-1] if self.waiting else ("", 0, 0)
        wanted = ARITY[_FUNCTIONS[symbol]] if symbol in _FUNCTIONS else 0
        if token == ",":
            if arguments in (0, wanted):
                raise self._error(f"{symbol} takes {wanted} arguments" if wanted else "a comma outside a function")
            self.waiting[-1] = (symbol, begin, arguments + 1)
            return True
        if not self.waiting:
            raise self._error("a closing parenthesis without an opening one")
        if arguments != wanted:
            raise self._error(f"{symbol} takes {wanted} arguments, not {arguments}")
        self.waiting.pop()
        if wanted:
            self._apply(_FUNCTIONS[symbol], wanted, begin)
        return False

    def _reduce(self, level: int) -> None:
        """Finish the operators that bind at least as tightly as `level`."""
        while self.waiting:
            symbol, place, _ = self.waiting[-1]
            binds = _UNARY if symbol in ("!", "0-") else _LEVEL.get(symbol, 0)
            if binds == 0 or binds < level:
                return
            self.waiting.pop()
            self._finish(symbol, place)

    def _finish(self, symbol: str, place: int) -> None:
        if symbol == "!":
            self._apply(Op.NOT, 1, place)
        elif symbol == "0-":
            self.terms.insert(-1, self.builder.add(Op.INT, value=0))
            self._apply(Op.SUB, 2, place)
        elif symbol in (">", ">="):
            self.terms[-2:] = self.terms[:-3:-1]
            self._apply(Op.LT if symbol == ">" else Op.LE, 2, place)
        elif symbol == "!=":
            self._apply(Op.EQ, 2, place)
            self._apply(Op.NOT, 1, place)
        else:
            self._apply(_OPERATORS[symbol], 2, place)

    def _apply(self, op: Op, arity: int, place: int) -> None:
        given = self.terms[-arity:]
        del self.terms[-arity:]
        sorts = self.builder.sorts
        if op == Op.SELECT:
            arm = Sort(max(sorts[given[1]], sorts[given[2]]))
            wanted = [Sort.BOOL, arm, arm]
        else:
            wanted = [Sort.BOOL if op in TAKES_BOOL else Sort.INT] * arity
        children = [self._to(term, sort, place) for term, sort in zip(given, wanted, strict=True)]
        self.terms.append(self.builder.add(op, *children))

    def _to(self, term: int, sort: Sort, place: int) -> int:
        """The term as the sort that its place asks for."""
        builder = self.builder
        if builder.sorts[term] == sort:
            return term
        if sort == Sort.BOOL:
            truth = self._truth(term)
            if truth is not None:
                return truth
        if not self.lenient:
            named = ("an Int", "a Bool")
            raise self._error(f"expected {named[sort]} operand, got {named[1 - sort]}", place)
        if sort == Sort.BOOL:
            return builder.add(Op.NOT, builder.add(Op.EQ, term, builder.add(Op.INT, value=0)))
        return builder.add(Op.SELECT, term, builder.add(Op.INT, value=1), builder.add(Op.INT, value=0))

    def _truth(self, term: int) -> int | None:
        """A term over the constants 0 and 1, perhaps behind `select`, as a Bool; None where it is no such term."""
        builder, made = self.builder, dict[int, int]()
        for below in builder.order(term):
            op, a, b, c, value = builder.rows[below]
            if op == Op.INT and value in (0, 1):
                made[below] = builder.add(Op.TRUTH, value=value)
            elif op == Op.SELECT and (b in made or builder.sorts[b]) and (c in made or builder.sorts[c]):
                made[below] = builder.add(Op.SELECT, a, made.get(b, b), made.get(c, c))
        return made.get(term)

    def _error(self, problem: str, place: int | None = None) -> ExpressionError:
        at = self.place if place is None else place
        begin, end = max(0, at - 40), min(len(self.text), at + 40)
        left = ("..." if begin else "") + self.text[begin:at]
        right = self.text[at:end] + ("..." if end < len(self.text) else "")
        return ExpressionError(f"character {at + 1}, at the caret: {problem}: {left}^{right}")
