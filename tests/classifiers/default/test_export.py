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
from classifiers.default.graph import BLOCK, OPSET, StepGraph, quantise
from classifiers.default.manifest import uncalibrated
from classifiers.default.model import CausalClassifier
from classifiers.default.parity import in_pieces, probability
from classifiers.default.scoring import PackModel
from guardrail.engine.pack import load_pack

pytestmark = pytest.mark.torch

SMALL = Architecture(vocabulary=300, positions=64, layers=2, heads=4, hidden=64, inner=128)
FLOAT_TOLERANCE = 1e-4
"""Of logits: the same sums in another order."""
ENGINE_TOLERANCE = 1e-3
"""Of scores, invariant 11."""


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


@pytest.fixture(scope="module")
def graphs(network, tmp_path_factory):
    """The network as graphs of each precision."""
    directory = tmp_path_factory.mktemp("graphs")
    found = {}
    for precision in ("float", "int8"):
        path = directory / f"{precision}.onnx"
        onnx.save(StepGraph(network, precision).build(), str(path))
        found[precision] = PackModel(path, 1, SMALL)
    return found


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


@pytest.mark.parametrize("precision", ["float", "int8"])
@pytest.mark.parametrize("most", [1, 9])
def test_in_pieces_beside_others_over_padded_state_is_the_whole(graphs, texts, precision, most):
    model = graphs[precision]
    rng = np.random.default_rng(most)
    for ids, logits in zip(texts, in_pieces(model, texts, rng, most), strict=True):
        assert len(logits) == len(ids)
        assert np.abs(probability(logits) - probability(model.whole([ids])[0])).max() < ENGINE_TOLERANCE


@pytest.mark.parametrize("precision", ["float", "int8"])
def test_alone_is_the_same_as_in_a_batch(graphs, texts, precision):
    model = graphs[precision]
    together = model.whole(texts)
    for row, ids in enumerate(texts):
        gap = probability(together[row, : len(ids)]) - probability(model.whole([ids])[0])
        assert np.abs(gap).max() < ENGINE_TOLERANCE


def test_weights_are_rounded_to_a_128th_of_their_blocks_largest():
    weight = np.random.default_rng(1).normal(size=(6, 2 * BLOCK)).astype(np.float32)
    weight[0, :BLOCK] = 0
    rounded, scales = quantise(weight, BLOCK)
    assert rounded.shape == (6, 2, BLOCK)
    assert np.abs(rounded).max() == 127
    gap = np.abs((rounded * scales).reshape(weight.shape) - weight)
    assert (gap <= np.repeat(scales[:, :, 0], BLOCK, axis=1) / 2 + 1e-7).all()
    assert not rounded[0, 0].any()


def test_only_plain_operators_are_used(network):
    for precision in ("float", "int8"):
        graph = StepGraph(network, precision).build()
        onnx.checker.check_model(graph, full_check=True)
        assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", OPSET)]
        assert {node.domain for node in graph.graph.node} == {""}


def test_an_exported_pack_is_one_that_the_engine_reads(network, texts, graphs, pack_directory, tmp_path):
    export(network, pack_directory, tmp_path / "pack", "int8", uncalibrated())
    pack = load_pack(tmp_path / "pack")
    assert (pack.layers, pack.heads, pack.head_dim, pack.max_positions) == (2, 4, 16, 64)
    logits = PackModel(tmp_path / "pack" / "model.onnx", 1, SMALL).whole([texts[2]])
    assert np.array_equal(logits, graphs["int8"].whole([texts[2]]))
    assert yaml.safe_load((tmp_path / "pack" / "manifest.yaml").read_text("utf-8"))["model"]["opset"] == OPSET


def test_a_pack_that_is_too_large_is_refused(network, pack_directory, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="a pack may have 1000"):
        export(network, pack_directory, tmp_path, "int8", uncalibrated())


def test_what_was_exported_from_the_shipped_pack_is_the_shipped_pack(pack_directory, encoder, tmp_path):
    """Rounding what was rounded changes nothing that a score shows."""
    from classifiers.default.model import from_pack

    export(from_pack(pack_directory).eval(), pack_directory, tmp_path, "int8", uncalibrated())
    ids = [
        encoder.start_id,
        encoder.markers["user"],
        *encoder.pieces("I can't go on anymore, and nobody knows."),
    ]
    first, again = (PackModel(path / "model.onnx", 1).whole([ids]) for path in (pack_directory, tmp_path))
    assert np.abs(probability(first) - probability(again)).max() < ENGINE_TOLERANCE
