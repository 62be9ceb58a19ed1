"""Rates of reading, validating and replaying a log of a million jobs; peak memory of a process of its own."""

import subprocess
import sys
import tempfile
from pathlib import Path

from sysgym.workloads import poisson_pareto, write_swf

JOBS = 1_000_000
_WORK = """
import resource, sys, time
from sysgym.jobsched import replay
from sysgym.workloads import poisson_pareto, read_trace, validate
replay(poisson_pareto(1000, 64), "easy")
begin = time.perf_counter()
report = validate(sys.argv[1])
validated = time.perf_counter()
jobs = read_trace(sys.argv[1])
replay(jobs, "easy")
end = time.perf_counter()
print(len(jobs), validated - begin, end - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def million_job_rows(rows):
    """One log of a million jobs, validated, read, cleaned and replayed under EASY: goal 60 s and 4 GB."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "million.swf.gz"
        write_swf(poisson_pareto(JOBS, 256, load=0.9, seed=1), path)
        done = subprocess.run([sys.executable, "-c", _WORK, path], capture_output=True, text=True, check=True)
    jobs, validating, everything, gigabytes = map(float, done.stdout.split())
    note = f"{everything:.1f} s in all, goal 60; {gigabytes:.2f} GB, goal 4"
    rows.append(("validate a million jobs (.swf.gz), rows/s", jobs / validating, None, ""))
    rows.append(("validate, read, replay under EASY, a million jobs, jobs/s", jobs / everything, JOBS // 60, note))
