"""The compiled cluster: the moves of `dynamics` until nothing is left to happen, in arrays that grow as they fill."""

from __future__ import annotations

from sysgym.core.events import EventLog
from sysgym.jobsched.gpu.dynamics import let_time_pass
from sysgym.jobsched.gpu.episodes import grown, log_of, machine_of, need_of, placements_of, samples_of
from sysgym.jobsched.gpu.fragmentation import Typical
from sysgym.jobsched.gpu.model import Cluster, Jobs, Placements, Rules, Samples


def run_compiled(cluster: Cluster, jobs: Jobs, typical: Typical, rules: Rules) -> tuple[EventLog, Placements, Samples]:
    """Play all jobs to the end of the last that ends; see `simulator.run_simulated`."""
    machine, need = machine_of(cluster, jobs, typical, rules), need_of(jobs)
    while not let_time_pass(machine, need):
        machine = grown(machine, need)
    return log_of(machine.run), placements_of(machine.run), samples_of(machine.run, machine.typical)
