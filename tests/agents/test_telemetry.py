"""Where the time goes: stages add up, timelines are those of a browser, trackers get the same numbers."""

import itertools
import json
import sys
import types

import pytest

from sysgym import agents
from sysgym.agents.telemetry import STAGES, ChromeTrace, lag_shares, scalars, shares
from sysgym.agents.telemetry.mlflow import MLflowLog
from sysgym.core.errors import OutputError, SettingError

SMALL = {"num_envs": 8, "rollout_steps": 16, "hidden": (8,)}


def trained(**settings):
    seen = []
    agents.train("toy/Cards-v0", frames=1024, on_progress=seen.append, **SMALL, **settings)
    return seen


@pytest.mark.parametrize("algorithm", ["ppo", "reinforce"])
def test_the_stages_of_a_synchronous_run_are_its_time(algorithm):
    settings = {"episodes_per_workload": 4} if algorithm == "reinforce" else {}
    for progress in trained(algorithm=algorithm, **settings):
        assert set(progress.stages) == set(STAGES)
        assert min(progress.stages.values()) >= 0
        assert all(progress.stages[name] > 0 for name in ("environment", "inference", "hand_over", "learn"))
        learner = [span for span in progress.spans if span.track == "learner"]
        passed = learner[-1].ended - learner[0].begun
        assert sum(progress.stages.values()) == pytest.approx(passed, rel=1e-9)
        assert all(before.ended == after.begun for before, after in itertools.pairwise(learner))
    assert sum(progress.total_stages.values()) > sum(progress.stages.values())


def test_actors_and_learner_have_tracks_of_their_own():
    progress = trained(mode="lockstep", actors=2)[-1]
    assert [span.track for span in progress.spans] == ["learner"] * 3 + ["actor 0", "actor 1"]
    assert progress.lags[0] == 1 and sum(progress.lags) == 8 and len(progress.lags) == 2
    assert lag_shares(progress.lags) == {"0": 1 / 8, "1": 7 / 8}


def test_a_timeline_can_be_read_by_a_browser(tmp_path):
    agents.train("toy/Cards-v0", frames=512, on_progress=ChromeTrace(tmp_path / "trace.json"), **SMALL)
    trace = json.loads((tmp_path / "trace.json").read_text())
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    names = {event["args"]["name"] for event in trace["traceEvents"] if event["ph"] == "M"}
    assert names == {"learner", "actor 0"}
    assert len(spans) == 4 * 4 and all(event["dur"] >= 0 for event in spans)
    assert {event["name"] for event in spans} == {"wait", "learn", "publish", "play"}
    with pytest.raises(OutputError):
        ChromeTrace(tmp_path / "trace.json" / "below")


def test_trackers_are_told_of_losses_returns_rates_and_shares():
    progress = trained()[-1]
    told = scalars(progress)
    for name in ("policy_loss", "value_loss", "entropy", "approximate_kl", "approximate_kl_k1", "clip_share",
                 "explained_variance", "policy_gradient_norm", "value_gradient_norm"):  # fmt: skip
        assert f"learner/{name}" in told
    assert sum(told[f"stage/{name}"] for name in STAGES) == pytest.approx(1.0)
    playing = sum(progress.stages[name] for name in ("environment", "inference", "hand_over"))
    assert told["frames_per_second/collect"] == pytest.approx(128 / playing * 1e9)
    assert {"mean_return", "lag", "frames_per_second/learn"} <= told.keys()
    assert shares({}) == {} and lag_shares([]) == {}


class StandIn(types.ModuleType):
    """MLflow as far as a log needs it."""

    def __init__(self):
        super().__init__("mlflow")
        self.calls = []
        for name in ("set_tracking_uri", "set_experiment", "start_run", "log_params", "log_metrics", "end_run"):
            setattr(self, name, lambda *args, called=name, **named: self.calls.append((called, args, named)))


def test_mlflow_gets_parameters_and_metrics(monkeypatch):
    mlflow = StandIn()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    log = MLflowLog("file:runs", "queues", {"seed": 3}, every=0.0)
    agents.train("toy/Cards-v0", frames=256, on_progress=log, **SMALL)
    names = [name for name, *_ in mlflow.calls]
    assert names == ["set_tracking_uri", "set_experiment", "start_run", "log_params", *["log_metrics"] * 2, "end_run"]
    assert mlflow.calls[3][1] == ({"seed": "3"},)
    assert [named["step"] for name, _, named in mlflow.calls if name == "log_metrics"] == [128, 256]
    assert "learner/entropy" in mlflow.calls[4][1][0]


def test_mlflow_writes_a_store_of_its_own(tmp_path):
    mlflow = pytest.importorskip("mlflow")
    log = MLflowLog(f"sqlite:///{tmp_path / 'runs.db'}", "queues", {"seed": 3}, every=0.0)
    agents.train("toy/Cards-v0", frames=256, on_progress=log, **SMALL)
    (run,) = mlflow.search_runs(experiment_names=["queues"], output_format="list")
    assert run.data.params == {"seed": "3"} and run.data.metrics["lag"] == 0.0


def test_mlflow_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(SettingError, match=r"pip install 'sysgym\[mlflow\]'"):
        MLflowLog("file:runs")
