from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

pytest.importorskip("onnx", reason="conversion needs onnx (the extra `convert`, part of `test`)")

from onnx import TensorProto, helper

from classifiers.convert import nodes as module
from classifiers.convert.nodes import Nodes, save

LOTS = np.random.RandomState(3)
WEIGHT = LOTS.standard_normal((24, 96)).astype(np.float32)
X = LOTS.standard_normal((5, 96)).astype(np.float32)


def written(tmp_path, precision="float", **options):
    nodes = Nodes(precision)
    nodes.node("Identity", nodes.linear("x", WEIGHT, **options), name="y")
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])]
        for name, size in (("x", 96), ("y", 24))
    )
    return save(nodes.model("test", inputs, outputs), tmp_path / "model.onnx")


def run(tmp_path):
    session = ort.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": X})[0]


def test_a_product_is_the_product(tmp_path):
    assert written(tmp_path) is None
    assert np.allclose(run(tmp_path), X @ WEIGHT.T, atol=1e-4)


def test_int8_is_off_by_less_than_a_127th_of_a_blocks_largest(tmp_path):
    written(tmp_path, "int8")
    blocks = np.abs(WEIGHT).reshape(24, 3, 32).max(axis=2) / 127 / 2
    most = np.abs(X).reshape(5, 3, 32).sum(axis=2) @ blocks.T

    assert (np.abs(run(tmp_path) - X @ WEIGHT.T) <= most + 1e-5).all()


def test_what_decides_stays_exact(tmp_path):
    written(tmp_path, "int8", exact=True)
    assert np.allclose(run(tmp_path), X @ WEIGHT.T, atol=1e-4)


def test_a_network_too_large_for_one_file_has_its_weights_in_another(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ONE_FILE_BYTES", 1000)
    for _ in range(2):  # writing it again must not add to it
        data = written(tmp_path)

    assert data == tmp_path / "weights.bin"
    assert data.stat().st_size < 2 * WEIGHT.nbytes
    assert data.stat().st_mode == (tmp_path / "model.onnx").stat().st_mode
    assert np.allclose(run(tmp_path), X @ WEIGHT.T, atol=1e-4)
