"""The exported graph says what the network says, however a text is cut and whoever is beside it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: make test-train")
pytest.importorskip("onnx", reason="onnx is not installed: make test-train")

import onnx
import torch
import yaml

from classifiers.default import export as module
from classifiers.default.architecture import Architecture
from classifiers.default.export import export
from classifiers.default.golden import TOLERANCE
from classifiers.default.graph_float import FloatGraph
from classifiers.default.graph_int8 import Int8Graph, quantise
from classifiers.default.manifest import CUDA_MODEL, MODEL, OPSET, WEIGHTS, uncalibrated
from classifiers.default.model import CausalClassifier
from classifiers.default.parity import in_pieces, probability
from classifiers.default.ranges import ranges
from classifiers.default.scales import HIGHEST_STATE, Scales
from classifiers.default.scoring import PackModel
from guardrail.engine.pack import load_pack

pytestmark = pytest.mark.torch

SMALL = Architecture(vocabulary=300, positions=64, layers=2, heads=4, hidden=64, inner=128)
FLOAT_TOLERANCE = 1e-4
"""Of logits: the same sums in another order."""


@pytest.fixture(scope="module")
def network():
    """A small network with weights of a trained one's size, so that every part matters."""
    torch.manual_seed(3)
    model = CausalClassifier(SMALL).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(torch.randn_like(value) * (0.5 if name.endswith("bias") or "norm" in name else 0.12))
        for name, value in model.named_parameters():
            if "norm.weight" in name:
                value.add_(1)
    return model


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(1)
    return [rng.integers(0, SMALL.vocabulary, size).tolist() for size in (1, 7, 23, 64)]


def scales_of(network, texts):
    return Scales(ranges(network, texts), network.arch)


@pytest.fixture(scope="module")
def graphs(network, texts, tmp_path_factory):
    """The network as graphs of each precision."""
    directory = tmp_path_factory.mktemp("graphs")
    found = {}
    for precision, graph in (
        ("float", FloatGraph(network, None)),
        ("int8", Int8Graph(network, scales_of(network, texts))),
    ):
        path = directory / f"{precision}.onnx"
        onnx.save(graph.build(), str(path))
        found[precision] = PackModel(path, 1, SMALL)
    return found


@pytest.fixture
def own_texts(texts, monkeypatch):
    """Measure on texts that the small network has words for."""
    monkeypatch.setattr(module, "measured_sequences", lambda _: texts)


def torch_logits(network, ids):
    with torch.no_grad():
        return network(torch.tensor([ids]))[0].numpy()


def test_in_float_the_graph_is_the_network(network, graphs, texts):
    for ids in texts:
        expected = torch_logits(network, ids)
        assert np.abs(expected).max() > 1
        assert np.abs(graphs["float"].whole([ids])[0] - expected).max() < FLOAT_TOLERANCE


def test_in_int8_scores_stay_within_what_is_stated(network, graphs, texts):
    gaps = []
    for ids in texts:
        scores = probability(graphs["int8"].whole([ids])[0])
        gaps.append(np.abs(scores - probability(torch_logits(network, ids))).max())
    assert max(gaps) < TOLERANCE
    assert max(gaps) > 1e-6  # it was rounded


def gap(precision, one, other):
    """How far logits are apart; integers have no order of summation, so for them the answer must be: not at all."""
    apart = np.abs(one - other).max()
    return apart if precision == "int8" else max(0, apart - FLOAT_TOLERANCE)


@pytest.mark.parametrize("precision", ["float", "int8"])
@pytest.mark.parametrize("most", [1, 9])
def test_in_pieces_beside_others_over_padded_state_is_the_whole(graphs, texts, precision, most):
    model = graphs[precision]
    rng = np.random.default_rng(most)
    for ids, logits in zip(texts, in_pieces(model, texts, rng, most), strict=True):
        assert len(logits) == len(ids)
        assert gap(precision, logits, model.whole([ids])[0]) == 0


@pytest.mark.parametrize("precision", ["float", "int8"])
def test_alone_is_the_same_as_in_a_batch(graphs, texts, precision):
    model = graphs[precision]
    together = model.whole(texts)
    for row, ids in enumerate(texts):
        assert gap(precision, together[row], model.whole([ids])[0]) == 0


def test_weights_are_rounded_to_a_127th_of_their_rows_largest():
    weight = np.random.default_rng(1).normal(size=(6, 40)).astype(np.float32)
    weight[0] = 0
    rounded, scales = quantise(weight)
    assert (np.abs(rounded[1:]).max(axis=1) == 127).all()
    assert (np.abs(rounded * scales[:, None] - weight) <= scales[:, None] / 2 + 1e-7).all()
    assert not rounded[0].any()


def test_keys_and_values_use_what_was_measured_and_no_more(network, graphs, texts):
    model = graphs["int8"]
    _, *state = model.step([texts[3]], [0], model.geometry.keys(1, 1), model.geometry.values(1, 1))
    for (part,) in state:
        assert part.dtype == np.int8
        assert np.abs(part).max() in range(HIGHEST_STATE - 1, HIGHEST_STATE + 1)


def test_ranges_are_the_highest_over_all_texts(network, texts):
    together, apart = ranges(network, texts), [ranges(network, [ids]) for ids in texts]
    sizes = {"states": (SMALL.layers, 3, SMALL.hidden), "inputs": (SMALL.layers, 2, SMALL.hidden)}
    for name, shape in sizes.items():
        each = [getattr(one, name) for one in apart]
        assert np.array_equal(getattr(together, name), np.max(each, axis=0))
        assert each[0].shape == shape
        assert (each[0] > 0).all()


def test_what_comes_in_is_measured_where_it_comes_in(network, texts):
    with torch.no_grad():
        hidden = network.embedding_norm(
            network.words(torch.tensor([texts[2]])) + network.positions.weight[:23]
        )
    first = ranges(network, [texts[2]]).inputs[0, 0]
    assert np.allclose(first, hidden[0].abs().amax(0).numpy(), rtol=1e-4)


def test_operators_are_the_ones_stated(network, texts):
    plain = FloatGraph(network, None).build()
    onnx.checker.check_model(plain, full_check=True)
    assert [(entry.domain, entry.version) for entry in plain.opset_import] == [("", OPSET)]
    assert {node.domain for node in plain.graph.node} == {""}
    integers = Int8Graph(network, scales_of(network, texts)).build()
    assert {node.op_type for node in integers.graph.node if node.domain} == {"MatMulIntegerToFloat"}


@pytest.mark.usefixtures("own_texts")
def test_an_exported_pack_is_one_that_the_engine_reads(network, texts, graphs, pack_directory, tmp_path):
    export(network, pack_directory, tmp_path / "pack", uncalibrated())
    pack = load_pack(tmp_path / "pack")
    assert (pack.layers, pack.heads, pack.head_dim, pack.max_positions) == (2, 4, 16, 64)
    logits = PackModel(tmp_path / "pack" / "model.onnx", 1, SMALL).whole([texts[2]])[0]
    assert np.array_equal(logits, graphs["int8"].whole([texts[2]])[0])
    assert yaml.safe_load((tmp_path / "pack" / "manifest.yaml").read_text("utf-8"))["model"]["opset"] == OPSET
    on_cuda = PackModel(pack.cuda_model_path, 1, SMALL).whole([texts[2]])[0]
    assert np.abs(probability(on_cuda) - probability(logits)).max() < TOLERANCE


@pytest.mark.usefixtures("own_texts")
def test_a_pack_that_is_too_large_is_refused(network, pack_directory, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="a pack may have 1000"):
        export(network, pack_directory, tmp_path, uncalibrated())


def test_what_was_exported_from_the_shipped_pack_is_the_shipped_pack(pack_directory, encoder, tmp_path):
    """Rounding what was rounded stays within what rounding may change."""
    from classifiers.default.model import from_pack

    export(from_pack(pack_directory).eval(), pack_directory, tmp_path, uncalibrated())
    ids = [
        encoder.start_id,
        encoder.markers["user"],
        *encoder.pieces("I can't go on anymore, and nobody knows."),
    ]
    # The scales are measured again, on rounded weights, and so these are rounded to other steps.
    for name, most in (("model_cuda.onnx", 0.02), ("model.onnx", 0.1)):
        first, again = (PackModel(path / name, 1).whole([ids])[0] for path in (pack_directory, tmp_path))
        assert np.abs(probability(first) - probability(again)).max() < most


def test_graphs_of_a_pack_share_their_weights(pack_directory):
    """What is large stands in one file, once, and both graphs are the same network."""
    stored = []
    for name in (MODEL, CUDA_MODEL):
        graph = onnx.load(str(pack_directory / name), load_external_data=False).graph
        places = [{entry.key: entry.value for entry in t.external_data} for t in graph.initializer]
        stored.append({(int(p["offset"]), int(p["length"])) for p in places if p})
        assert sum(len(t.raw_data) for t in graph.initializer) < 100_000
    assert all(length > 1000 for _, length in stored[0] | stored[1])
    shared = sum(length for _, length in stored[0] & stored[1])
    size = (pack_directory / WEIGHTS).stat().st_size
    assert sum(length for _, length in stored[0] | stored[1]) == size
    assert shared > 0.99 * size
