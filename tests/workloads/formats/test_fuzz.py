"""Whatever bytes a file holds, a reader gives a workload or one clear line, and soon."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sysgym.core.errors import SysgymError
from sysgym.workloads import FORMATS, read_trace
from tests.spoiling import spoilt
from tests.workloads.formats import made_tables as made
from tests.workloads.made_logs import swf_row

SWF = "; MaxProcs: 8\n" + "\n".join(swf_row(job) for job in range(1, 4))
SOUND = {name: text.encode() for name, (text, _) in made.TEXTS.items()} | {
    "swf": SWF.encode(),
    "openb_nodes": made.NODES.encode(),
    "csv": b"submit_time,run_time,processors,user\n0,10,2,ann\n4.5,1,1,bob\n",
}


def read_or_refuse(path, content, format):
    path.write_bytes(content)
    try:
        workload = read_trace(path, format=format)
    except SysgymError as error:
        assert "\n" not in str(error) and str(error)
    else:
        assert len(workload) <= workload.provenance.rows


def parquet_contents():
    pytest.importorskip("pyarrow")
    return {"opendc": made.parquet_bytes(made.OPENDC), "wta": made.parquet_bytes(made.WTA)}


@pytest.mark.parametrize("format", sorted(FORMATS))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_spoilt_file_never_ends_in_a_traceback(tmp_path, format, data):
    content = SOUND[format] if format in SOUND else parquet_contents()[format]
    read_or_refuse(tmp_path / "log", data.draw(spoilt(content)), data.draw(st.sampled_from(["auto", format])))


@pytest.mark.parametrize("format", sorted(FORMATS))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_never_end_in_a_traceback(tmp_path, format, content):
    read_or_refuse(tmp_path / "log", content, format)
