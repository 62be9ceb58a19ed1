"""A small log, and what a refusal looks like."""

import pytest

from sysgym.workloads import poisson_pareto, write_swf


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "small.swf.gz"
    write_swf(poisson_pareto(jobs=300, processors=32, seed=1), path)
    return path


def refused(result, *words):
    """One line on standard error, exit code 2, nothing on standard output."""
    code, out, err = result
    assert code == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err
    for word in words:
        assert word in err, err
    return True
