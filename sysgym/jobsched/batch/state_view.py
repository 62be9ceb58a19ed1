"""One episode of the compiled machine as the state that policies and encoders read."""

from __future__ import annotations

from sysgym.core.compiled import counted_inline
from sysgym.jobsched.batch.dynamics import available
from sysgym.jobsched.batch.episodes import Episodes, Flags
from sysgym.jobsched.batch.model import Jobs, KnownJobs, QueueState


@counted_inline
def state_of(s: Episodes, b: int, jobs: Jobs, flags: Flags) -> QueueState:
    """The state of one episode, as views."""
    waiting, running = s.waiting[b, : s.waiting_count[b]], s.running[b, : s.running_count[b]]
    free, last = available(s, b, jobs, flags), s.first[b] + s.arrived[b]
    known = KnownJobs(jobs.submit_time[:last], jobs.requested_time[:last], jobs.processors[:last], jobs.user[:last])
    return QueueState(s.time[b], free, waiting, s.visible[b], running, s.first[b], s.start_time[b], known)
