"""A study's runs on Ray: one task a run, on this machine or on a cluster by address.

Every run trains where it is evaluated, and its checkpoints lie in the study's folder; on a cluster that folder has to
be on a file system that all machines share. A task that is lost is not repeated by Ray: its run is recorded as failed,
and the next call of the study goes on from its last checkpoint.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from sysgym.bench.execution import execute, failed
from sysgym.bench.records import Record
from sysgym.bench.study import Run


def run_on_ray(
    runs: Sequence[Run], command: str, resume: bool, address: str | None, jobs: int
) -> Generator[tuple[Run, Record], None, None]:
    """Run on Ray; yields in the order in which runs end. Leaving early ends the tasks.

    Args:
        runs: What is run.
        command: For the records' provenance.
        resume: Whether a training goes on from the checkpoint that it left.
        address: Of the cluster; None: this machine.
        jobs: Most runs at the same time; 1: as many as there are CPUs.

    Raises:
        SettingError: Ray is not installed, or nothing answers at the address.
    """
    from sysgym.agents.distributed import connect  # noqa: PLC0415  loads torch

    ray = connect(address, 1)
    task = ray.remote(execute).options(num_cpus=1, max_retries=0)
    left = list(reversed(runs))
    running: dict[object, Run] = {}
    try:
        while left or running:
            while left and (jobs == 1 or len(running) < jobs):
                run = left.pop()
                running[task.remote(run, command, resume)] = run
            (ended,), _ = ray.wait(list(running))
            run = running.pop(ended)
            try:
                yield run, ray.get(ended)
            except ray.exceptions.RayError as error:
                lost = f"lost on Ray ({type(error).__name__}: out of memory, killed, or its machine is gone); run again"
                yield run, failed(run, command, lost)
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
