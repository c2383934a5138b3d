from __future__ import annotations

import json

import numpy as np
import pytest

from classifiers.convert.errors import ConversionError
from classifiers.convert.weights import INDEX, ONE_FILE, Weights
from tests.classifiers.convert.tiny import write_safetensors

ARRAYS = {
    "a": np.array([[1.5, -2.0, 0.25], [3.0, 1e-3, -7.0]], np.float32),
    "b.weight": np.linspace(-1, 1, 5, dtype=np.float32),
}


@pytest.mark.parametrize(("kind", "bits"), [("F32", 24), ("F16", 11), ("BF16", 8)])
def test_every_type_of_float_is_read(kind, bits, tmp_path):
    write_safetensors(tmp_path / ONE_FILE, ARRAYS, kind)
    weights = Weights(tmp_path)

    assert weights.names == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert weights[name].dtype == np.float32
        assert weights[name].shape == array.shape
        assert np.abs(weights[name] - array).max() <= np.abs(array).max() * 2.0 ** (1 - bits)


def test_a_checkpoint_may_be_in_several_files(tmp_path):
    where = {name: f"model-0000{number}-of-00002.safetensors" for number, name in enumerate(ARRAYS, start=1)}
    for name, file in where.items():
        write_safetensors(tmp_path / file, {name: ARRAYS[name]})
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": where}), encoding="utf-8")

    assert (Weights(tmp_path)["b.weight"] == ARRAYS["b.weight"]).all()


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ConversionError, match=r"no model\.safetensors"):
        Weights(tmp_path)
    write_safetensors(tmp_path / ONE_FILE, ARRAYS)
    assert Weights(tmp_path).optional("c") is None
    with pytest.raises(ConversionError, match="no tensor 'c'"):
        Weights(tmp_path)["c"]


def test_a_file_that_was_not_copied_whole_is_noticed(tmp_path):
    write_safetensors(tmp_path / ONE_FILE, ARRAYS)
    (tmp_path / ONE_FILE).write_bytes((tmp_path / ONE_FILE).read_bytes()[:-1])

    with pytest.raises(ConversionError, match=r"ends before b\.weight does"):
        Weights(tmp_path)["b.weight"]


def test_whole_numbers_are_no_weights(tmp_path):
    said = json.dumps({"a": {"dtype": "I8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (tmp_path / ONE_FILE).write_bytes(len(said).to_bytes(8, "little") + said + b"\0")

    with pytest.raises(ConversionError, match="a is of type I8; quantised checkpoints cannot be converted"):
        Weights(tmp_path)["a"]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 40, (4).to_bytes(8, "little") + b"oops"])
def test_a_file_of_another_format_is_refused(content, tmp_path):
    (tmp_path / ONE_FILE).write_bytes(content)

    with pytest.raises(ConversionError, match="not a safetensors file"):
        Weights(tmp_path)
