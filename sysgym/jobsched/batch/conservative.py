"""Conservative backfilling, readable: every waiting job holds a reservation in a profile of processors.

A job that is submitted is reserved at the earliest start that disturbs nobody. When a job completes it gives back what
it didn't use, and the waiting jobs are *compressed*: in order of submission, each whose start is still to come gives
its reservation up and takes the earliest one, which is never later. One compression makes one round. A job starts when
its reservation comes, which may be at an instant at which nothing else happens.

Under "batch" an instant has all completions, one compression, all arrivals, then the starts that are due; under
"per_event" arrivals come first, and every completion has its own compression. `conservative_kernel` must equal this
file event by event. Source: Mu'alem and Feitelson, IEEE TPDS 12(6), 2001; the ties are those of pyss.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from sysgym.jobsched.batch.model import Jobs, Rules
from sysgym.jobsched.batch.simulator import BatchMachine


class Profile:
    """Free processors from now on: `free[i]` between `times[i]` and `times[i + 1]`, and forever at the end.

    Args:
        now: The first instant.
        processors: All of them, free.
    """

    def __init__(self, now: float, processors: int) -> None:
        self.times, self.free = [now], [processors]

    def advance(self, now: float) -> None:
        """Forget what lies before `now`."""
        past = bisect_right(self.times, now) - 1
        del self.times[:past], self.free[:past]
        self.times[0] = now

    def take(self, begin: float, end: float, processors: int) -> None:
        """Take processors from `begin` to `end`; a negative number gives them back. O(length)."""
        first, last = self._edge(begin), self._edge(end)
        for place in range(first, last):
            self.free[place] -= processors
        for place in (last, first):
            if place > 0 and self.free[place] == self.free[place - 1]:
                del self.times[place], self.free[place]

    def earliest(self, processors: int, duration: float) -> float:
        """First instant from which so many processors are free for so long. O(length)."""
        begin = 0
        for place, free in enumerate(self.free):
            if free < processors:
                begin = place + 1
            elif place + 1 == len(self.times) or self.times[place + 1] >= self.times[begin] + duration:
                break
        return self.times[begin]

    def _edge(self, time: float) -> int:
        """Place of a time among the edges, put there if it is none."""
        place = bisect_left(self.times, time)
        if place == len(self.times) or self.times[place] != time:
            self.times.insert(place, time)
            self.free.insert(place, self.free[place - 1])
        return place


class ConservativeMachine(BatchMachine):
    """A batch machine under conservative backfilling; nobody is asked for a decision.

    Args:
        jobs: Columns of the workload.
        processors: Size of the machine.
        rules: Its pass rule counts.
        first: First job.
        count: Number of jobs.
    """

    def __init__(self, jobs: Jobs, processors: int, rules: Rules, first: int, count: int) -> None:
        super().__init__(jobs, processors, rules, first, count)
        self.reserved: dict[int, float] = {}
        self.profile = Profile(self.submit[first], processors)
        self._compression_is_due = False

    def _after_arrival(self, job: int) -> None:
        self.profile.advance(self.clock.now)
        self._reserve(job)

    def _after_completion(self, job: int) -> None:
        now = self.clock.now
        self.profile.advance(now)
        if self.planned_end[job] > now:
            self.profile.take(now, self.planned_end[job], -self.size[job])
        if self.rules.pass_rule == "per_event":
            self._compress()
        elif not self._compression_is_due:
            self._compression_is_due = True
            self.clock.at(now, self._priorities["compression"], lambda _: self._compress())

    def _compress(self) -> None:
        self._compression_is_due = False
        for job in self.waiting:
            before = self.reserved[job]
            if before > self.clock.now:
                self.profile.take(before, before + self.requested[job], -self.size[job])
                self._reserve(job)
                assert self.reserved[job] <= before, "compression moves nothing to later"

    def _reserve(self, job: int) -> None:
        """Reserve the earliest start for a job; where it has that already, its place among equal ones stays."""
        begin = self.profile.earliest(self.size[job], self.requested[job])
        self.profile.take(begin, begin + self.requested[job], self.size[job])
        if self.reserved.get(job) != begin:
            self.reserved[job] = begin
            self.clock.at(begin, self._priorities["due"], lambda _: self._start_if_due(job, begin))

    def _start_if_due(self, job: int, begin: float) -> None:
        """Start a job whose reservation has come, unless that was moved meanwhile."""
        if self.reserved.get(job) == begin and job not in self.start_time:
            del self.reserved[job]
            self._start(job)
