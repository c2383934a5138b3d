"""The window network in ONNX Runtime, and what is refused before a stream is served."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from guardrail.engine import cuda
from guardrail.engine.framing import Framed
from guardrail.engine.pack import load_pack
from guardrail.engine.window_session import WindowSession
from guardrail.errors import PackError

TOLERANCE = 1e-5
LONG = Framed((2, *range(8, 20), 3), (0,) * 6 + (1,) * 8)
SHORT = Framed((2, 9, 3), (0, 0, 0))


@pytest.fixture
def load(write_window_pack, tmp_path):
    def load(graph=None, **changes):
        pack = load_pack(write_window_pack(tmp_path / "toy", graph=graph, **changes))
        return WindowSession(pack, provider="cpu", intra_op_threads=1)

    return load


def test_logits_are_those_of_the_network_itself(load, tmp_path):
    own = ort.InferenceSession(
        str((load(), tmp_path / "toy" / "model.onnx")[1]), providers=["CPUExecutionProvider"]
    )
    ids, types = np.array([LONG.ids]), np.array([LONG.type_ids])
    expected = own.run(
        ["logits"], {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": types}
    )[0]

    np.testing.assert_allclose(load().run([LONG]), expected, atol=TOLERANCE)
    assert not np.allclose(load().run([Framed(LONG.ids, (0,) * 14)]), expected, atol=TOLERANCE)


def test_padding_changes_nothing(load):  # invariant 11
    session = load()
    alone = np.concatenate([session.run([LONG]), session.run([SHORT])])

    np.testing.assert_allclose(session.run([LONG, SHORT]), alone, atol=TOLERANCE)


def test_only_the_inputs_of_the_manifest_are_given(load):
    session = load({"types": False}, inputs=["input_ids", "attention_mask"])

    assert session.run([SHORT]).shape == (1, 3)


def test_warm_up_runs(load):
    load().warm_up()


@pytest.mark.parametrize(
    ("graph", "changes", "reason"),
    [
        ({"types": False}, {}, "has no input 'token_type_ids'"),
        ({}, {"inputs": ["input_ids", "attention_mask"]}, "does not know: ['token_type_ids']"),
        ({"output": "scores"}, {}, "has no output 'logits'"),
        ({"kind": 6}, {}, "input 'input_ids' is a tensor(int32), not a tensor(int64)"),
        ({}, {"labels": ["fine", "insult", "threat", "spam"]}, "axis 1 of logits is 3, the manifest says 4"),
    ],
)
def test_a_network_that_is_not_what_the_manifest_says_is_refused(load, graph, changes, reason):
    with pytest.raises(PackError) as caught:
        load(graph, **changes)

    assert f"model.onnx: {reason}" in str(caught.value).replace("wants an input this version ", "")


def test_a_network_whose_windows_change_each_other_is_refused(load):
    """invariant 11: whatever the reason, scores that cannot be repeated are found at the start."""
    with pytest.raises(PackError, match=r"logits move by .* with the windows beside it"):
        load({"neighbourly": True}).warm_up()


def test_a_network_that_cannot_take_the_longest_window_is_refused(load):
    load({"places": 24}).warm_up()
    with pytest.raises(PackError, match="cannot compute a window of 25 tokens"):
        load({"places": 24}, max_tokens=25).warm_up()


@pytest.mark.gpu
def test_cuda_computes_what_the_cpu_computes(window_pack):
    obstacle = cuda.obstacle()
    if obstacle:
        pytest.skip(obstacle)
    on_gpu = WindowSession(window_pack, provider="cuda")
    on_cpu = WindowSession(window_pack, provider="cpu")

    assert on_gpu.provider == "cuda"
    np.testing.assert_allclose(on_gpu.run([LONG, SHORT]), on_cpu.run([LONG, SHORT]), atol=0.01)
