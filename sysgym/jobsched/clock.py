"""The clock of the simulators: SimPy's environment, with events at absolute times."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappush

import simpy
from simpy.events import EventPriority


class Clock(simpy.Environment):
    """SimPy's environment with events at absolute times, so that no instant is rounded on its way."""

    def at(self, time: float, priority: EventPriority, callback: Callable[[simpy.Event], None]) -> None:
        """Call back at `time`; at one instant, a smaller priority comes first, then the order of scheduling."""
        event = simpy.Event(self)
        event._ok, event._value, event.callbacks = True, None, [callback]
        heappush(self._queue, (time, priority, next(self._eid), event))
