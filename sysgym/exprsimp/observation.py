"""What a rewriting policy sees, for both engines: the expression's table, a row a term, padded.

Row i holds the i-th unique term, children before parents, the root last; padding is 0.

| column | meaning |
|---|---|
| 0 | operator + 1, as in `model.Op`; 0 where there is no term |
| 1 to 3 | row + 1 of each operand, 0 where there is none |
| 4 | value of a constant, held within 32 bits, or number of a variable |
| 5, 6 | nodes and characters of the term |
| 7 | how often it occurs in the tree |

The last row tells of the episode: steps left, thousandths of the modelled time left (1000 without a limit), size and
length now, of the best expression, and of the input.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted_inline
from sysgym.core.protocols import ArraySpec

COLUMNS = 8
_LARGEST = 2**31 - 1


def spec_of(max_nodes: int) -> ArraySpec:
    """The table of up to `max_nodes` terms and the row of the episode."""
    return ArraySpec((max_nodes + 1, COLUMNS), np.int32, -_LARGEST - 1, _LARGEST)


@uncounted_inline
def write_terms(
    nodes: NDArray[np.int64], count: int, sizes: NDArray[np.int64], lengths: NDArray[np.int64],
    occurrences: NDArray[np.int64], view: NDArray[np.int32],
) -> None:  # fmt: skip
    """Write the rows of an expression's terms, and zeros behind them.

    Args:
        nodes: int64 (count or more, 5), the table.
        count: Its terms.
        sizes: int64, nodes of each term.
        lengths: int64, characters of each.
        occurrences: int64, how often each occurs.
        view: int32 (max_nodes + 1, 8).
    """
    for row in range(count):
        view[row, 0] = nodes[row, 0] + 1
        for child in range(1, 4):
            view[row, child] = nodes[row, child] + 1
        view[row, 4] = min(max(nodes[row, 4], -_LARGEST - 1), _LARGEST)
        view[row, 5], view[row, 6], view[row, 7] = sizes[row], lengths[row], occurrences[row]
    view[count:] = 0


@uncounted_inline
def write_episode(
    view: NDArray[np.int32], steps_left: int, time_left: float, now: tuple[int, int], best: tuple[int, int],
    of_input: tuple[int, int],
) -> None:  # fmt: skip
    """Write the last row; `time_left` is a share, pairs are size and length."""
    last = view[view.shape[0] - 1]
    last[0], last[1] = steps_left, int(1000 * time_left)
    last[2], last[3], last[4], last[5] = now[0], now[1], best[0], best[1]
    last[6], last[7] = of_input[0], of_input[1]


@uncounted_inline
def count_occurrences(nodes: NDArray[np.int64], count: int, occurrences: NDArray[np.int64]) -> None:
    """How often each term of a table occurs in the tree."""
    occurrences[:count] = 0
    occurrences[count - 1] = 1
    for row in range(count - 1, -1, -1):
        for child in range(1, 4):
            if nodes[row, child] >= 0:
                occurrences[nodes[row, child]] += occurrences[row]
