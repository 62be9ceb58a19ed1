"""`sysgym replay PODS --nodes NODES`: rows for people and machines, and one clear line for every mistake."""

import json

import pytest

from sysgym.workloads import poisson_pareto, write_swf
from tests.cli.conftest import refused

PODS = """name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time
p0,2000,1024,1,500,,LS,Succeeded,0,110,10
p1,2000,1024,1,500,{spec},LS,Succeeded,5,60,10
p2,4000,2048,{gpus},1000,,BE,Running,20,400,30
p3,{cpu},1024,0,0,,BE,Succeeded,40,90,40
"""
NODES = """sn,cpu_milli,memory_mib,gpu,model
n0,8000,8192,2,V100M16
n1,8000,8192,2,T4
n2,16000,8192,0,
"""


@pytest.fixture
def lists(tmp_path):
    """Writes both lists, and returns their paths."""

    def write(nodes=NODES, spec="", gpus=2, cpu=1000):
        (tmp_path / "pods.csv").write_text(PODS.format(spec=spec, gpus=gpus, cpu=cpu))
        (tmp_path / "nodes.csv").write_text(nodes)
        return tmp_path / "pods.csv", tmp_path / "nodes.csv"

    return write


def test_every_policy_has_a_row(command, lists):
    pods, nodes = lists(spec="T4|A10")
    code, out, _ = command("replay", pods, "--nodes", nodes)
    assert code == 0 and "4 jobs on 3 nodes with 4 GPUs (nodes.csv)" in out
    assert all(policy in out for policy in ("first_fit", "best_fit", "packing", "clustering", "fgd", "random"))
    code, out, _ = command("replay", pods, "--nodes", nodes, "--policy", "fgd", "--queue", "srtf", "--json")
    row = json.loads(out)
    assert code == 0 and (row["policy"], row["started"], row["nodes"], row["gpus"]) == ("fgd", 4, 3, 4)
    assert row["queue"] == "srtf" and row["mean_wait"] > 0.0 and 0 < row["highest_allocation_rate"] <= 1


def test_a_cluster_is_filled(command, lists):
    pods, nodes = lists()
    code, out, _ = command("replay", pods, "--nodes", nodes, "--inflate", 2, "--policy", "best_fit", "--json")
    row = json.loads(out)
    assert code == 0 and row["lost"] > 0 and row["queue"] == "loss"
    assert row["mean_turnaround"] is None and row["last_allocation_rate"] == row["highest_allocation_rate"]


def test_gangs_on_equal_nodes(command, lists):
    pods, _ = lists(gpus=16)
    log = pods.with_name("philly.csv")
    log.write_text("timestamp,duration,num_gpus,gpu_time,cluster\n2017-10-03 10:00:00,60,16,960,a\n")
    code, out, _ = command("replay", log, "--nodes", "2x8", "--policy", "packing", "--json")
    assert code == 0 and json.loads(out)["nodes_per_gang"] == 2.0
    refused(command("replay", log, "--nodes", "1x8"), "gang of 2 x 8 GPUs", "has room for 1 of them")
    refused(command("replay", log, "--nodes", "1x8", "--drop-impossible"), "no job finds room on the empty cluster")


def test_mistakes_are_one_line(command, lists, tmp_path):
    pods, nodes = lists(spec="H100")
    refused(command("replay", pods, "--nodes", nodes), "line 3", "type H100, which no node has", "T4, V100M16")
    pods, nodes = lists(gpus=64)
    refused(command("replay", pods, "--nodes", nodes), "gang of 32 x 2 GPUs", "leave such jobs out")
    pods, nodes = lists(nodes="sn,cpu_milli,memory_mib,gpu,model\nn0,64000,9000,0,\n")
    refused(command("replay", pods, "--nodes", nodes), "no node has a GPU", "don't belong together")
    pods, nodes = lists(cpu=99000)
    refused(command("replay", pods, "--nodes", nodes, "--clean", "none"), "which no node of", "will do has")
    pods, nodes = lists()
    refused(command("replay", pods, "--nodes", pods), "pods.csv")
    refused(command("replay", nodes, "--nodes", nodes), "is a list of nodes")
    refused(command("replay", pods, "--nodes", tmp_path / "absent.csv"), "absent.csv")
    refused(command("replay", pods, "--nodes", nodes, "--policy", "easy"), "unknown policy 'easy'")
    refused(command("replay", pods, "--nodes", nodes, "--predictor", "last_two"), "--predictor", "one pool")
    refused(command("replay", pods, "--nodes", nodes, "--commit"), "--commit", "one pool")
    refused(command("replay", pods, "--nodes", nodes, "--queue", "lifo"), "unknown queue 'lifo'")
    refused(command("replay", pods, "--nodes", nodes, "--inflate", 2, "--queue", "srtf"), "--inflate")
    write_swf(poisson_pareto(20, 8), tmp_path / "log.swf")
    refused(command("replay", tmp_path / "log.swf", "--nodes", nodes), "'swf'", "how many GPUs")
    refused(command("replay", tmp_path / "log.swf", "--queue", "srtf"), "--queue srtf", "give --nodes too")


def test_tasks_without_resources_are_refused_or_counted(command, lists):
    pods, nodes = lists()
    pods.write_text(pods.read_text().replace("p3,1000,1024,0,0", "p3,0,0,0,0").replace("p0,2000", "p0,0"))
    refused(command("replay", pods, "--nodes", nodes, "--clean", "none"), "line 5")
    row = json.loads(command("replay", pods, "--nodes", nodes, "--policy", "fgd", "--json")[1])
    assert row["jobs"] == 3 and row["repairs"]["drop_nonpositive_processors"] == 1  # p0 asks for a GPU, and stays
