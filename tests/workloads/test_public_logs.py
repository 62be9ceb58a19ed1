"""The public logs: every count of specs/traces.md, section 14, that reading and cleaning decide."""

from __future__ import annotations

import gzip
from collections import Counter

import numpy as np
import pytest

from sysgym.core.errors import InputFileError
from sysgym.workloads import read_trace
from tests.workloads.made_logs import write_log

SDSC, KTH, NASA = "SDSC-SP2-sc15", "KTH-SP2-1996-raw", "NASA-iPSC-1993-3.1-cln"
ATLAS, CURIE = "LLNL-Atlas-2006-2.1-cln", "CEA-Curie-sample-raw"
HPC2N, SDSC_HEAD, LUBLIN = "HPC2N-2002-head3170", "SDSC-SP2-1998-head4961", "lublin_256"

# log: jobs (runs cut) by sc15; jobs (raised, filled estimates) by default
KEPT = {
    SDSC: ((54006, 0), (54006, 0, 0)),
    KTH: ((28481, 475), (28481, 475, 0)),
    NASA: (None, (18066, 0, 18066)),
    ATLAS: ((31248, 3351), (36600, 3351, 5352)),
    CURIE: ((29998, 0), (29998, 0, 0)),
    HPC2N: ((3145, 320), (3145, 320, 0)),
    SDSC_HEAD: ((4606, 309), (4606, 309, 0)),
    LUBLIN: (None, (10000, 0, 10000)),
}

# log: rows, first job, first submit, rows - distinct submits, run < 0, run = 0, users
RAW = {
    SDSC: (54006, 4, 399264, 95, 0, 0, 428),
    KTH: (28489, 1, 0, 332, 0, 8, 214),
    NASA: (18239, 1, 0, 5, 0, 173, 69),
    CURIE: (29998, 477353, 43603464, 3744, 0, 0, 238),
    HPC2N: (3170, 1, 0, 638, 25, 0, 17),
    SDSC_HEAD: (4961, 1, 0, 27, 355, 0, 99),
    LUBLIN: (10000, 1, 5094, 0, 0, 0, 0),
}


def counts(workload):
    return Counter({repair.rule: repair.count for repair in workload.repairs})


@pytest.mark.parametrize("name", KEPT)
def test_kept_by_sc15(logs, name):
    path, expected = logs / f"{name}.swf.gz", KEPT[name][0]
    if expected is None:
        with pytest.raises(InputFileError, match="clean='default'"):
            read_trace(path, clean="sc15")
        return
    workload = read_trace(path, clean="sc15")
    assert (len(workload), counts(workload)["cut_run_time"]) == expected
    assert (workload.run_time <= workload.requested_time).all()


@pytest.mark.parametrize("name", KEPT)
def test_kept_by_default(logs, name):
    workload = read_trace(logs / f"{name}.swf.gz")
    repairs = counts(workload)
    found = (len(workload), repairs["raise_requested_time"], repairs["fill_requested_time"])
    assert found == KEPT[name][1]
    assert (workload.run_time <= workload.requested_time).all()


@pytest.mark.parametrize("name", RAW)
def test_raw_counts(logs, name):
    workload = read_trace(logs / f"{name}.swf.gz", clean="none")
    submit, user = workload.submit_time, workload.user
    found = (
        len(workload),
        workload.job_id[0],
        submit[0],
        len(submit) - len(np.unique(submit)),
        np.isnan(workload.run_time).sum(),
        (workload.run_time == 0).sum(),
        len(np.unique(user[user != -1])),
    )
    assert found == RAW[name]


def test_atlas_has_jobs_that_none_refuses(logs):
    with pytest.raises(InputFileError, match="4571 such rows"):
        read_trace(logs / f"{ATLAS}.swf.gz", clean="none")


def test_curie_depends_on_the_processors_field(logs):
    sums = {
        source: int(read_trace(logs / f"{CURIE}.swf.gz", processors_from=source).processors.sum())
        for source in ("requested", "allocated", "max")
    }
    assert sums["requested"] < sums["allocated"] <= sums["max"]
    requested = read_trace(logs / f"{CURIE}.swf.gz", processors_from="requested").processors
    largest = read_trace(logs / f"{CURIE}.swf.gz", processors_from="max").processors
    assert (requested != largest).sum() == 3751 - 6


def test_wagap_by_its_first_18_fields(logs, tmp_path):
    with gzip.open(logs / "MetaCentrum-wagap-2013-alea.swf.gz", "rt") as handle:
        rows = [" ".join(line.split()[:18]) for line in handle]
    path = write_log(tmp_path / "wagap.swf", rows, ())
    default = read_trace(path, processors=2176)
    assert (len(default), counts(default)["raise_requested_time"]) == (17898, 702)
    sc15 = read_trace(path, clean="sc15", processors=2176)
    assert (len(sc15), counts(sc15)["cut_run_time"]) == (17898, 702)


# log, rule, processors field, jobs: mean gap, run, estimate, processors and offered load (section 7)
STATISTICS = [
    (SDSC, "sc15", "requested", 5000, (1025.217, 8325.888, 21618.38, 12.3764, 0.6754)),
    (SDSC, "sc15", "requested", 54006, (1169.948, 7353.101, 16762.96, 12.2966, 0.8230)),
    (KTH, "sc15", "requested", 5000, (1331.423, 7068.409, 11315.63, 11.3200, 0.6385)),
    (KTH, "sc15", "requested", 28481, (1031.026, 8859.926, 13678.32, 7.6615, 0.6856)),
    (KTH, "default", "requested", 5000, (1331.423, 7094.296, 11341.51, 11.3200, 0.6426)),
    (KTH, "default", "requested", 28481, (1031.026, 8879.035, 13697.43, 7.6615, 0.6877)),
    (SDSC_HEAD, "default", "requested", 4606, (1005.966, 8313.451, 21578.81, 12.5897, 0.6537)),
    (HPC2N, "default", "requested", 3145, (1574.431, 10128.253, 24028.24, 19.8566, 0.4231)),
    (CURIE, "default", "requested", 29998, (66.811, 7418.246, 43120.43, 396.4559, 0.6217)),
    (CURIE, "default", "max", 5000, (78.404, 6934.451, 42637.81, 479.6394, 0.6047)),
    (CURIE, "default", "max", 29998, (66.811, 7418.246, 43120.43, 414.0890, 0.6278)),
    (LUBLIN, "default", "requested", 10000, (770.738, 4862.767, 4862.77, 22.1010, 1.0608)),
    (NASA, "default", "requested", 18066, (440.019, 772.212, 772.21, 16.8072, 0.4661)),
    (ATLAS, "default", "requested", 10000, (735.716, 2926.369, 81705.03, 1038.1104, 0.6206)),
    (ATLAS, "default", "requested", 36600, (455.519, 6010.538, 36125.00, 448.9180, 0.7035)),
]


@pytest.mark.parametrize(("name", "clean", "source", "jobs", "expected"), STATISTICS)
def test_statistics_of_the_cleaned_jobs(logs, name, clean, source, jobs, expected):
    workload = read_trace(logs / f"{name}.swf.gz", clean=clean, processors_from=source).take(slice(jobs))
    found = (
        np.diff(workload.submit_time).mean(),
        workload.run_time.mean(),
        workload.requested_time.mean(),
        workload.processors.mean(),
        workload.offered_load,
    )
    assert [f"{value:.{digits}f}" for value, digits in zip(found, (3, 3, 2, 4, 4), strict=True)] == [
        f"{value:.{digits}f}" for value, digits in zip(expected, (3, 3, 2, 4, 4), strict=True)
    ]
