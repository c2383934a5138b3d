"""What is written is what the engine reads."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from classifiers.default.architecture import CATEGORIES, ROLES, Architecture
from classifiers.default.manifest import CUDA_MODEL, MODEL, OPSET, WEIGHTS, manifest, sha256, uncalibrated
from guardrail.core.verdicts import Role
from guardrail.engine.pack import load_pack
from guardrail.errors import PackError
from guardrail.policy.taxonomy import CATEGORIES as TAXONOMY
from guardrail.policy.taxonomy import ENTITIES


@pytest.fixture
def written(tmp_path, pack_directory):
    """Write a pack of a made-up model with these measurements, and read it as the engine does."""
    for name in (MODEL, CUDA_MODEL, WEIGHTS):
        (tmp_path / name).write_bytes(b"a network's " + name.encode())
    shutil.copy(pack_directory / "tokenizer.json", tmp_path)

    def write(measured, arch=None):
        text = yaml.safe_dump(manifest(tmp_path, arch or Architecture(), measured), sort_keys=False)
        (tmp_path / "manifest.yaml").write_text(text, encoding="utf-8")
        return load_pack(tmp_path)

    return write


def test_a_pack_that_was_not_measured_judges_nothing(written):
    pack = written(uncalibrated())
    assert pack.categories == CATEGORIES
    assert {role.value for role in pack.calibration} == set(ROLES)
    for heads in pack.calibration.values():
        assert {(line.scale, line.offset) for line in heads.values()} == {(1, 0)}
    assert all(points is None for heads in pack.operating_points.values() for points in heads.values())


def test_points_survive_their_way_through_json(written):
    measured = uncalibrated()
    measured["operating_points"]["user"]["drugs"] = {1: 0.3, 2: 0.5, 3: 0.8}
    measured["calibration"]["assistant"]["drugs"] = {"scale": 1.5, "offset": -2.0}
    pack = written(json.loads(json.dumps(measured)))
    assert pack.operating_points[Role.USER]["drugs"] == {1: 0.3, 2: 0.5, 3: 0.8}
    assert pack.operating_points[Role.ASSISTANT]["drugs"] is None
    line = pack.calibration[Role.ASSISTANT]["drugs"]
    assert (line.scale, line.offset) == (1.5, -2)


def test_sizes_roles_and_markers_are_the_networks(written):
    arch = Architecture(positions=64, layers=2, heads=4, hidden=64, inner=128)
    pack = written(uncalibrated(), arch)
    assert (pack.max_positions, pack.layers, pack.heads, pack.head_dim) == (64, 2, 4, 16)
    assert pack.opset == OPSET
    assert [pack.roles[Role(role)].head for role in (*ROLES, "system")] == [0, 1, None]
    assert [pack.roles[Role(role)].marker for role in ROLES] == [("[unused1]",), ("[unused2]",)]
    assert pack.start_token == "[CLS]"


def test_every_category_is_one_that_a_policy_can_name_and_all_but_entities_are():
    assert set(CATEGORIES) == set(TAXONOMY) - ENTITIES


def test_a_file_that_changed_is_noticed(written, tmp_path):
    written(uncalibrated())
    before = sha256(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").write_bytes(b"another network")
    assert sha256(tmp_path / "model.onnx") != before
    with pytest.raises(PackError):
        load_pack(tmp_path)


def test_the_shipped_pack_is_one_of_ours(pack_directory):
    pack = load_pack(pack_directory)
    arch = Architecture()
    assert pack.categories == CATEGORIES
    assert (pack.max_positions, pack.layers, pack.heads, pack.head_dim) == (
        arch.positions,
        arch.layers,
        arch.heads,
        arch.head_dim,
    )
