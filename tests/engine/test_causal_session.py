"""The causal network where it really runs."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from guardrail.engine import session as session_module
from guardrail.engine.causal_session import CausalSession, StepInput
from guardrail.engine.pack import load_pack
from guardrail.errors import PackError

# Floats summed in another order; a thousandth of what a threshold is written with.
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def pack(real_pack_directory):
    return load_pack(real_pack_directory)


@pytest.fixture(scope="module")
def session(pack):
    return CausalSession(pack, provider="cpu", intra_op_threads=1)


def step(pack, ids, past=None, past_length=None):
    ids = np.array(ids, np.int64)
    rows, tokens = ids.shape
    past_length = np.zeros(rows, np.int64) if past_length is None else np.array(past_length, np.int64)
    if past is None:
        past = (np.zeros((pack.layers, rows, pack.heads, 0, pack.head_dim), np.float32),) * 2
    return StepInput(ids, past_length[:, None] + np.arange(tokens), past_length, *past)


def test_shapes_are_the_manifests(pack, session):
    output = session.run(step(pack, [[101, 2, 1996], [101, 2, 4937]]))

    heads = 1 + max(entry.head for entry in pack.roles.values() if entry.head is not None)
    assert output.logits.shape == (2, 3, heads, len(pack.categories))
    assert output.new_keys.shape == (pack.layers, 2, pack.heads, 3, pack.head_dim)
    assert output.new_values.shape == output.new_keys.shape
    assert np.isfinite(output.logits).all()


def test_padding_of_past_and_tokens_changes_nothing(pack, session):
    prefix, word = [101, 2, 1996, 4937, 2938], [2006, 1996]
    first = session.run(step(pack, [prefix]))
    expected = session.run(step(pack, [prefix + word])).logits[0, -2:]

    # The row stands beside another, its past padded with large numbers, its tokens with others.
    shape = (pack.layers, 2, pack.heads, 40, pack.head_dim)
    past = tuple(np.full(shape, 7.0, np.float32) for _ in range(2))
    for whole, new in zip(past, (first.new_keys, first.new_values), strict=True):
        whole[:, 0, :, : len(prefix)] = new[:, 0]
    output = session.run(step(pack, [[*word, 999], [5, 6, 7]], past, [len(prefix), 40]))

    np.testing.assert_allclose(output.logits[0, :2], expected, atol=TOLERANCE)


def test_warm_up_runs(session):
    session.warm_up()


@pytest.mark.parametrize(
    ("line", "other", "reason"),
    [
        ("layers: ", "layers: 3", "axis 0 of past_keys is"),
        ("heads: ", "heads: 5", "axis 2 of past_keys is"),
        ("head_dim: ", "head_dim: 7", "axis 4 of past_keys is"),
    ],
)
def test_a_network_of_another_shape_than_the_manifest_says_is_refused(
    line, other, reason, real_pack_directory, tmp_path
):
    shutil.copytree(real_pack_directory, tmp_path / "pack")
    manifest = tmp_path / "pack" / "manifest.yaml"
    lines = manifest.read_text(encoding="utf-8").splitlines()
    manifest.write_text(
        "\n".join(other if each.startswith(line) else each for each in lines), encoding="utf-8"
    )

    with pytest.raises(PackError, match=reason):
        CausalSession(load_pack(tmp_path / "pack"), provider="cpu", intra_op_threads=1)


@pytest.mark.gpu
def test_cuda_computes_what_the_cpu_computes(pack, session):
    obstacle = session_module._cuda_obstacle()
    if obstacle:
        pytest.skip(obstacle)
    on_gpu = CausalSession(pack, provider="cuda")
    ids = [[101, 2, 1996, 4937, 2938, 2006, 1996, 13523]]

    assert on_gpu.provider == "cuda"
    np.testing.assert_allclose(
        on_gpu.run(step(pack, ids)).logits, session.run(step(pack, ids)).logits, atol=0.05
    )
