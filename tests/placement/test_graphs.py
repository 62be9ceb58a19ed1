"""Files of graphs: what the readers read, and what they refuse."""

import gzip
import json

import pytest

from sysgym.core.errors import GraphError, InputFileError, SettingError
from sysgym.placement.graphs import read_graph, read_split

THROUGHPUT = {
    "layer_bert24_inference": (32, 55, 32), "layer_bert24_training": (64, 110, 32),
    "layer_gnmt_inference": (96, 122, 96), "layer_gnmt_training": (192, 244, 96),
    "layer_resnet50_inference": (177, 193, 177), "layer_resnet50_training": (354, 386, 177),
    "operator_bert_l3_inference": (235, 250, 128), "operator_bert_l3_training": (600, 817, 142),
    "operator_bert_l12_inference": (783, 843, 424), "operator_bert_l12_training": (2012, 2751, 456),
    "operator_resnet50_inference": (604, 619, 176), "operator_resnet50_training": (1243, 1806, 193),
}  # fmt: skip


@pytest.mark.parametrize("name", THROUGHPUT)
def test_tarnawski_graphs_have_the_counts_of_their_readme(shared_data, name):
    graph = read_graph(shared_data(f"graphs/tarnawski/throughput/{name}.json.gz"))
    assert (len(graph), len(graph.edges), int(graph.colour.max()) + 1) == THROUGHPUT[name]
    kinds = [device.kind for device in graph.cluster.devices]
    assert kinds == ["accelerator"] * (3 if "bert_l3" in name else 6) + ["cpu"]
    assert graph.cluster.memory[0] == 17_185_374_208
    assert graph.is_backward.any() == ("training" in name)


@pytest.mark.parametrize(
    ("name", "nodes", "edges"),
    [("alexnet", 23, 23), ("gnmt", 48, 58), ("nasnetalarge", 1251, 1468), ("resnet50", 177, 193), ("vgg16", 41, 41)],
)
def test_pipedream_profiles_have_the_counts_of_their_readme(shared_data, name, nodes, edges):
    graph = read_graph(shared_data(f"graphs/pipedream/{name}.graph.txt.gz"))
    assert (len(graph), len(graph.edges), graph.cluster) == (nodes, edges, None)
    assert (graph.backward_part <= graph.cost["gpu"]).all()


def test_bracketed_activations_are_summed(shared_data):
    graph = read_graph(shared_data("graphs/pipedream/gnmt.graph.txt.gz"))
    assert graph.outputs_total[graph.node_ids.index("node7")] == 6291456 + 131072 + 131072


@pytest.mark.parametrize(("name", "nodes", "edges"), [("bert32a100", 37, 67), ("gnmt", 78, 104)])
def test_piper_graphs_have_the_counts_of_their_readme(shared_data, name, nodes, edges):
    graph = read_graph(shared_data(f"graphs/piper/{name}.json.gz"))
    assert (len(graph), len(graph.edges), len(graph.cluster)) == (nodes, edges, 10)
    assert graph.time_unit == "s"


def _tarnawski(**changes):
    node = {"supportedOnFpga": 1, "cpuLatency": 4.0, "fpgaLatency": 1.0, "isBackwardNode": 0, "size": 8.0}
    content = {
        "maxFPGAs": 2, "maxCPUs": 1, "maxSizePerFPGA": 16.0,
        "nodes": [node | {"id": name} for name in "abc"],
        "edges": [{"sourceId": "a", "destId": "b", "cost": 1.0}, {"sourceId": "b", "destId": "c", "cost": 2.0}],
    }  # fmt: skip
    return content | changes


def _edge(source, target, cost=1.0):
    return {"sourceId": source, "destId": target, "cost": cost}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"edges": [_edge("a", "b"), _edge("b", "c"), _edge("c", "b")]}, "cycle, 'b' -> 'c' -> 'b'"),
        ({"edges": [_edge("a", "z")]}, "there is no node 'z'"),
        ({"edges": [_edge("a", "b", 1.0), _edge("a", "c", 2.0)]}, "must be equal"),
        ({"edges": [_edge("a", "b", -1.0)]}, "cost -1"),
        ({"edges": [_edge("a", "b", float("nan"))]}, "cost nan"),
        ({"nodes": [{"id": "a", "fpgaLatency": -2.0, "cpuLatency": 1.0, "size": 1.0}], "edges": []}, "'a' has cost"),
        ({"nodes": [{"id": "a", "fpgaLatency": 2.0, "cpuLatency": float("nan"), "size": 1}], "edges": []}, "nan"),
        ({"nodes": [{"id": "a", "cpuLatency": 1.0, "size": 1.0}], "edges": []}, "fpgaLatency"),
        ({"nodes": [], "edges": []}, "0 operations"),
        ({"maxFPGAs": 0, "maxCPUs": 0}, "at least 1 device"),
        ({"nodes": _tarnawski()["nodes"] * 2}, "listed twice"),
    ],
)
def test_faults_of_a_graph_are_named(tmp_path, changes, words):
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(_tarnawski(**changes)))
    with pytest.raises((GraphError, SettingError), match=words):
        read_graph(path)


def test_malformed_json_is_reported_with_line_and_column(tmp_path):
    path = tmp_path / "graph.json"
    path.write_text('{"maxFPGAs": 2,\n "nodes": [}')
    with pytest.raises(InputFileError, match="line 2, column 12"):
        read_graph(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{}", "neither maxFPGAs"),
        (b"[1]", "expected an object"),
        (b"n1 -- Conv -- forward_compute_time=x, y=2", "line 1"),
        (b"hello", "line 1"),
        (b"\xff\xfe\x00", "not text"),
        (gzip.compress(b"{}", mtime=0)[:-5], "cannot be unpacked"),
    ],
)
def test_files_that_are_no_graphs_are_refused(tmp_path, content, words):
    path = tmp_path / "graph"
    path.write_bytes(content)
    with pytest.raises(InputFileError, match=words):
        read_graph(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputFileError, match="absent"):
        read_graph(tmp_path / "absent.json")


def test_a_split_names_unknown_nodes_and_missing_ones(tmp_path):
    path, split = tmp_path / "graph.json", tmp_path / "split.json"
    path.write_text(json.dumps(_tarnawski()))
    graph = read_graph(path)
    for nodes, words in ((["a", "z"], "'z' is not in"), (["a", "b"], "'c' is missing"), (["a", "a"], "twice")):
        split.write_text(json.dumps({"fpgas": [{"nodes": nodes}], "cpus": []}))
        with pytest.raises(InputFileError, match=words):
            read_split(split, graph, graph.cluster)
