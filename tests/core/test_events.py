import numpy as np

from sysgym.core.events import EventKind, EventLog, EventRecorder


def recorded(*rows):
    recorder = EventRecorder()
    for row in rows:
        recorder.append(*row)
    return recorder.log()


def test_a_log_keeps_order_and_filters_by_kind():
    log = recorded((0.0, EventKind.SUBMIT, 3, 2.0), (0.5, EventKind.START, 3, 2.0), (9.0, EventKind.FINISH, 3, 2.0))
    assert list(log)[1] == (0.5, EventKind.START, 3, 2.0) and len(log) == 3
    assert log.of(EventKind.FINISH).time.tolist() == [9.0]
    assert len(recorded()) == 0


def test_the_hash_tells_any_two_logs_apart():
    base = (1.0, EventKind.START, 3, 2.0)
    changes = [(1.5, EventKind.START, 3, 2.0), (1.0, EventKind.FINISH, 3, 2.0), (1.0, EventKind.START, 4, 2.0),
               (1.0, EventKind.START, 3, 2.5)]  # fmt: skip
    assert len({recorded(row).sha256() for row in [base, *changes]}) == 5
    log = recorded(base)
    same = EventLog(log.time.astype(np.float64), log.kind.astype(np.int8), log.subject.copy(), log.amount.copy())
    assert same.sha256() == log.sha256()
