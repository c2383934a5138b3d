"""The causal network where it really runs."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from guardrail.engine import cuda
from guardrail.engine.causal_session import CausalSession, StepInput
from guardrail.engine.layout import layout
from guardrail.engine.pack import load_pack
from guardrail.errors import PackError


@pytest.fixture(scope="module")
def pack(real_pack_directory):
    return load_pack(real_pack_directory)


@pytest.fixture(scope="module")
def session(pack):
    return CausalSession(pack, provider="cpu", intra_op_threads=1)


def step(session, ids, past=None, past_length=None):
    laid = layout([len(own) for own in ids], range(len(ids)))
    past_length = np.array(past_length or [0] * len(ids), np.int64)
    positions = np.repeat(past_length, laid.ends - laid.begins) + laid.columns
    keys, values = past or (session.geometry.keys(1, len(ids)), session.geometry.values(1, len(ids)))
    return StepInput(
        np.concatenate([np.array(own, np.int64) for own in ids]),
        positions,
        laid.slots,
        laid.places,
        past_length,
        list(keys),
        list(values),
    )


def test_shapes_are_the_manifests(pack, session):
    output = session.run(step(session, [[101, 2, 1996], [101, 2]]))

    heads = 1 + max(entry.head for entry in pack.roles.values() if entry.head is not None)
    assert output.logits.shape == (5, heads, len(pack.categories))
    assert output.new_keys.shape == output.new_values.shape == (pack.layers, 5, pack.heads, pack.head_dim)
    assert output.new_keys.dtype == output.new_values.dtype == session.geometry.dtype
    assert np.isfinite(output.logits).all()


def test_padding_of_past_and_tokens_changes_nothing_at_all(session):
    prefix, word = [101, 2, 1996, 4937, 2938], [2006, 1996]
    first = session.run(step(session, [prefix]))
    whole = session.run(step(session, [prefix + word]))

    # The row stands beside a longer one, its past padded with large numbers.
    past = session.geometry.keys(40, 2), session.geometry.values(40, 2)
    for state in past:
        state[...] = 60
    past[0][:, 0, ..., : len(prefix)] = first.new_keys.transpose(0, 2, 3, 1)
    past[1][:, 0, :, : len(prefix)] = first.new_values.transpose(0, 2, 1, 3)
    output = session.run(step(session, [word, [5, 6, 7]], past, [len(prefix), 40]))

    for given, expected in (
        (output.logits[:2], whole.logits[-2:]),
        (output.new_keys[:, :2], whole.new_keys[:, -2:]),
    ):
        np.testing.assert_array_equal(given, expected)
    np.testing.assert_array_equal(output.new_values[:, :2], whole.new_values[:, -2:])


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
