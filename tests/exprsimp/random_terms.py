"""Random well-typed expressions over all operators, hard divisors among them, for the tests of this folder."""

from sysgym.exprsimp.model import Builder, Op

INTS = (0, 1, -1, 2, -2, 3, 4, -5, 8, 100, -128)
BINARY = (Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.MOD, Op.MIN, Op.MAX)
COMPARISONS = (Op.LT, Op.LE, Op.EQ)


def draw(generator, depth, is_bool=False, variables=3, builder=None):
    """One expression; the root is added to `builder` and its number returned, where one is given."""
    table = builder or Builder()
    root = _draw(table, generator, depth, is_bool, variables)
    return root if builder else table.expression(root)


def _draw(table, generator, depth, is_bool, variables):
    def below(sort):
        return _draw(table, generator, depth - 1, sort, variables)

    if depth <= 1 or generator.random() < 0.15:
        if is_bool:
            return table.add(Op.TRUTH, value=int(generator.integers(2)))
        if generator.random() < 0.5:
            return table.add(Op.INT, value=int(generator.choice(INTS)))
        return table.add(Op.VAR, value=int(generator.integers(variables)))
    if generator.random() < 0.1:
        return table.add(Op.SELECT, below(True), below(is_bool), below(is_bool))
    if not is_bool:
        return table.add(int(generator.choice(BINARY)), below(False), below(False))
    if generator.random() < 0.6:
        return table.add(int(generator.choice(COMPARISONS)), below(False), below(False))
    op = int(generator.choice((Op.AND, Op.OR, Op.NOT)))
    return table.add(op, below(True)) if op == Op.NOT else table.add(op, below(True), below(True))


def instance(generator, rule, pattern, builder):
    """A term that a pattern matches: its slots filled with small random terms, constants with numbers."""
    bound = {}
    for op, _, _, _, value in rule.lhs.nodes.tolist():
        if op == Op.CONSTANT and value not in bound:
            bound[value] = builder.add(Op.INT, value=int(generator.integers(-6, 7)))
        elif op in (Op.VAR, Op.BOOL_VAR) and value not in bound:
            bound[value] = draw(generator, int(generator.integers(1, 4)), op == Op.BOOL_VAR, builder=builder)
    made = []
    for op, a, b, c, value in pattern.nodes.tolist():
        children = [made[child] for child in (a, b, c) if child >= 0]
        leaf = op in (Op.VAR, Op.BOOL_VAR, Op.CONSTANT)
        made.append(bound[value] if leaf else builder.add(op, *children, value=value))
    return made[-1]
