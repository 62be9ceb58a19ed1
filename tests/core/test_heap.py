"""The heap of the kernels against Python's own, pushes and pops mixed, with keys that are often equal."""

from heapq import heappop, heappush

import numpy as np

from sysgym.core.heap import rise, sink

BEGIN = 3


def test_items_come_by_their_keys_and_then_by_their_number():
    generator = np.random.default_rng(4)
    first, second = generator.integers(0, 5, (2, 200)).astype(np.float64)
    heap, size, expected = np.full(BEGIN + 200, -1), 0, []
    for item in generator.permutation(200).tolist():
        rise(heap, BEGIN, size, item, first, second)
        heappush(expected, (first[item], second[item], item))
        size += 1
        while size and generator.random() < 0.45:
            assert heap[BEGIN] == heappop(expected)[2]
            size -= 1
            sink(heap, BEGIN, size, heap[BEGIN + size], first, second)
        assert heap[BEGIN] == expected[0][2] if size else not expected
    assert size > 5 and (heap[:BEGIN] == -1).all()


def test_what_takes_the_place_of_the_first_sinks_to_its_own():
    first, second = np.arange(40, dtype=np.float64), np.zeros(40)
    heap = np.arange(40)
    for _ in range(100):
        item = heap[0]
        first[item] += 17.0
        sink(heap, 0, 40, item, first, second)
        assert heap[0] == min(range(40), key=lambda place: (first[place], place))
