"""The causal network where it really runs."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from guardrail.engine import cuda
from guardrail.engine.causal_session import CausalSession, StepInput
from guardrail.engine.pack import load_pack
from guardrail.errors import PackError


@pytest.fixture(scope="module")
def pack(real_pack_directory):
    return load_pack(real_pack_directory)


@pytest.fixture(scope="module")
def session(pack):
    return CausalSession(pack, provider="cpu", intra_op_threads=1)


def step(session, ids, past=None, past_length=None):
    ids = np.array(ids, np.int64)
    rows, tokens = ids.shape
    past_length = np.zeros(rows, np.int64) if past_length is None else np.array(past_length, np.int64)
    keys, values = past or (session.geometry.keys(1, rows), session.geometry.values(1, rows))
    return StepInput(ids, past_length[:, None] + np.arange(tokens), past_length, list(keys), list(values))


def test_shapes_are_the_manifests(pack, session):
    output = session.run(step(session, [[101, 2, 1996], [101, 2, 4937]]))

    heads = 1 + max(entry.head for entry in pack.roles.values() if entry.head is not None)
    assert output.logits.shape == (2, 3, heads, len(pack.categories))
    assert output.new_keys.shape == (pack.layers, 2, pack.heads, pack.head_dim, 3)
    assert output.new_values.shape == (pack.layers, 2, pack.heads, 3, pack.head_dim)
    assert output.new_keys.dtype == output.new_values.dtype == session.geometry.dtype
    assert np.isfinite(output.logits).all()


def test_padding_of_past_and_tokens_changes_nothing_at_all(session):
    prefix, word = [101, 2, 1996, 4937, 2938], [2006, 1996]
    first = session.run(step(session, [prefix]))
    whole = session.run(step(session, [prefix + word]))

    # The row stands beside another, its past padded with large numbers, its tokens with others.
    past = session.geometry.keys(40, 2), session.geometry.values(40, 2)
    for state in past:
        state[...] = 60
    past[0][:, 0, ..., : len(prefix)] = first.new_keys[:, 0]
    past[1][:, 0, :, : len(prefix)] = first.new_values[:, 0]
    output = session.run(step(session, [[*word, 999], [5, 6, 7]], past, [len(prefix), 40]))

    np.testing.assert_array_equal(output.logits[0, :2], whole.logits[0, -2:])
    np.testing.assert_array_equal(output.new_keys[:, 0, ..., :2], whole.new_keys[:, 0, ..., -2:])
    np.testing.assert_array_equal(output.new_values[:, 0, :, :2], whole.new_values[:, 0, :, -2:])


def test_warm_up_runs(session):
    session.warm_up()


@pytest.mark.parametrize(
    ("line", "other", "reason"),
    [
        ("layers: ", "layers: 3", "wants an input this version does not know: .*'past_keys.3'"),
        ("layers: ", "layers: 7", "has no input 'past_keys.6'"),
        ("heads: ", "heads: 5", "axis 1 of past_keys.0 is"),
        ("head_dim: ", "head_dim: 7", "axis 2 of past_keys.0 is"),
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
    obstacle = cuda.obstacle()
    if obstacle:
        pytest.skip(obstacle)
    on_gpu = CausalSession(pack, provider="cuda")
    ids = [[101, 2, 1996, 4937, 2938, 2006, 1996, 13523]]

    assert on_gpu.provider == "cuda"
    np.testing.assert_allclose(
        on_gpu.run(step(on_gpu, ids)).logits, session.run(step(session, ids)).logits, atol=0.05
    )
