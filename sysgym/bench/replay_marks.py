"""What a page may say of records that were played again: only what was found while it was made.

No record carries a mark of its own, since whoever writes a record could write the mark too. A page is told the verdicts
of the run of `verification` that went before it, and names how many records it has seen agree, differ, or not played.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from sysgym.bench.contests import Entry
from sysgym.bench.verification import Verdict


class Replays:
    """The verdicts of records by their identity.

    Args:
        verdicts: From `verification.verify`; none where nothing was played again.
    """

    def __init__(self, verdicts: Sequence[Verdict]) -> None:
        self._found = {verdict.record.record_id: verdict for verdict in verdicts}

    @property
    def made(self) -> bool:
        """Whether records were played again at all."""
        return bool(self._found)

    @property
    def agreed(self) -> int:
        """Records whose event logs and scores came out the same."""
        return sum(verdict.verified for verdict in self._found.values())

    @property
    def faults(self) -> list[tuple[str, str, str]]:
        """Environment, policy and first difference of records that differ."""
        return [
            (verdict.record.environment.name, verdict.record.policy.name, verdict.fault)
            for verdict in self._found.values()
            if verdict.fault
        ]

    @property
    def skipped(self) -> list[tuple[str, int]]:
        """Why records were not played, and how many."""
        return Counter(verdict.skipped for verdict in self._found.values() if verdict.skipped).most_common()

    def of_entries(self, entries: Iterable[Entry]) -> dict[str, tuple[int, int, int]]:
        """By policy: records that agreed, records that differ, all its records; empty where nothing was played."""
        found: dict[str, tuple[int, int, int]] = {}
        for entry in entries if self.made else ():
            verdicts = [self._found.get(record.record_id) for record in entry.records]
            agreed = sum(verdict is not None and verdict.verified for verdict in verdicts)
            differ = sum(verdict is not None and bool(verdict.fault) for verdict in verdicts)
            before = found.get(entry.name, (0, 0, 0))
            found[entry.name] = before[0] + agreed, before[1] + differ, before[2] + len(verdicts)
        return found
