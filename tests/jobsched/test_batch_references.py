"""Published and measured references: whole logs, to six decimals, in both engines.

The rows are those of the reference sheet: average bounded slowdown and mean wait in seconds of the first N jobs after
cleaning. SimPy plays the prefixes; the kernel plays everything.
"""

import pytest

from sysgym.jobsched import replay
from sysgym.jobsched.batch.replay import SCHEDULERS
from sysgym.workloads import read_trace

COLUMNS = (
    ("fcfs", "batch"),
    ("sjf", "batch"),
    ("sjf_commit", "batch"),
    ("easy", "batch"),
    ("easy", "per_event"),
    ("easy_sjbf", "batch"),
    ("easy_sjbf", "per_event"),
)
SDSC, KTH, HPC2N = "SDSC-SP2-sc15", "KTH-SP2-1996-raw", "HPC2N-2002-head3170"
CURIE, LUBLIN, ATLAS = "CEA-Curie-sample-raw", "lublin_256", "LLNL-Atlas-2006-2.1-cln"
ROWS = [
    (SDSC, "sc15", 5000, "181.659247/20710.6462 36.916958/7188.8822 74.030691/10727.1920 17.911825/4044.2928 "
     "17.911630/4044.2842 17.285296/4001.0428 17.260550/4060.3916"),
    (SDSC, "sc15", 54006, "13823.533882/1535568.6223 400.645566/177136.6756 529.727873/215015.3484 "
     "87.805503/20570.8754 87.870324/20497.7610 82.995715/20419.6877 84.888945/20793.5946"),
    (KTH, "sc15", 5000, "4971.762520/199337.5858 231.218577/18805.6430 600.712292/32666.6982 138.078456/9462.2484 "
     "136.478101/9443.2600 112.171766/8243.9326 112.171766/8243.9326"),
    (KTH, "sc15", 28481, "6814.973310/353776.4091 135.295906/13333.2285 373.173272/25401.7147 92.687654/6834.5873 "
     "92.576540/6836.8721 69.393636/5903.6864 69.405401/5904.0766"),
    (KTH, "default", 28481, "7507.096549/389669.8839 126.474086/13649.8851 373.243596/27856.1751 90.714557/6802.0927 "
     "90.683473/6801.8389 69.516366/5934.1390 69.527966/5934.5233"),
    (HPC2N, "default", 3145, "47.124419/5601.3514 29.176143/3330.0086 37.313281/3846.2579 16.858850/3478.5644 "
     "16.232166/3472.1644 16.120943/3324.1911 16.106736/3323.5650"),
    (CURIE, "default", 29998, "186.155039/4245.4645 130.179261/2427.2924 144.887867/2989.6080 5.071185/390.6884 "
     "5.107077/391.8149 4.106826/348.6925 4.254062/353.5932"),
    (LUBLIN, "default", 10000, "66502.475529/2388443.7601 53.543485/275304.2226 261.830362/215314.9468 "
     "590.053777/97155.9945 590.053777/97155.9945 219.557621/73394.3755 219.557621/73394.3755"),
    (ATLAS, "default", 36600, "2.034962/20.9967 1.398042/9.5325 1.893331/16.7013 1.365040/8.5194 1.365040/8.5194 "
     "1.365009/8.5025 1.365009/8.5025"),
]  # fmt: skip


@pytest.mark.parametrize(("log", "clean", "count", "figures"), ROWS, ids=[f"{r[0]}-{r[1]}-{r[2]}" for r in ROWS])
def test_reference_rows(log, clean, count, figures, shared_data):
    workload = read_trace(shared_data(f"traces/swf/{log}.swf.gz"), clean=clean).take(slice(0, count))
    assert len(workload) == count
    for (policy, pass_rule), figure in zip(COLUMNS, figures.split(), strict=True):
        slowdown, wait = map(float, figure.split("/"))
        summary = replay(workload, policy, pass_rule).summary()
        assert summary["mean_bounded_slowdown"] == pytest.approx(slowdown, abs=5.1e-7), (policy, pass_rule)
        assert summary["mean_wait"] == pytest.approx(wait, abs=5.1e-5), (policy, pass_rule)


@pytest.mark.parametrize("policy", sorted(SCHEDULERS))
@pytest.mark.parametrize("pass_rule", ["batch", "per_event"])
@pytest.mark.parametrize(("log", "clean"), [(SDSC, "sc15"), (KTH, "sc15"), (HPC2N, "default")])
def test_simpy_plays_the_prefixes_event_by_event_as_the_kernel_does(policy, pass_rule, log, clean, shared_data):
    workload = read_trace(shared_data(f"traces/swf/{log}.swf.gz"), clean=clean).take(slice(0, 2000))
    simpy, compiled = (replay(workload, policy, pass_rule, engine) for engine in ("simpy", "compiled"))
    assert simpy.events.sha256() == compiled.events.sha256()


def test_the_median_and_tail_rows(shared_data):
    workload = read_trace(shared_data(f"traces/swf/{KTH}.swf.gz"), clean="sc15")
    for policy, expected in {"fcfs": (147.38, 44964.47, 71058.82), "easy_sjbf": (1.00, 241.74, 1775.53)}.items():
        summary = replay(workload, policy).summary()
        found = [summary[f"{name}_bounded_slowdown"] for name in ("median", "p95", "p99")]
        assert found == pytest.approx(expected, abs=0.0051)
