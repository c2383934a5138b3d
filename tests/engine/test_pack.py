from __future__ import annotations

import hashlib

import pytest

from guardrail.core.verdicts import Role
from guardrail.engine import pack as pack_module
from guardrail.engine.manifest_causal import RoleInput
from guardrail.engine.pack import CalibrationLine, available_packs, load_pack
from guardrail.errors import PackError


def test_a_pack_is_read_as_its_manifest_says(write_pack, tmp_path):
    pack = load_pack(write_pack(tmp_path / "toy"))

    assert (pack.name, pack.version, pack.family, pack.license) == ("toy", "1", "causal", "Apache-2.0")
    assert pack.categories == ("crime", "self_harm")
    assert pack.roles[Role.ASSISTANT] == RoleInput(("[unused2]",), 1)
    assert pack.roles[Role.SYSTEM].head is None
    assert pack.judged == {Role.USER, Role.ASSISTANT}
    assert pack.calibration[Role.USER]["crime"] == CalibrationLine(0.02, -1.0)
    assert pack.operating_points[Role.USER] == {"crime": {1: 0.3, 2: 0.5, 3: 0.8}, "self_harm": None}
    assert pack.model_path.read_bytes() == b"not a network"


def test_a_pack_is_found_by_name_and_listed(write_pack, tmp_path, monkeypatch):
    monkeypatch.setattr(pack_module, "SEARCH_PATH", (tmp_path / "installed", tmp_path / "checkout"))
    write_pack(tmp_path / "checkout" / "small")
    write_pack(tmp_path / "installed" / "toy", version="installed")
    write_pack(tmp_path / "checkout" / "toy", version="checkout")

    assert list(available_packs()) == ["toy", "small"]
    assert load_pack("toy").version == "installed"
    assert load_pack("small").version == "1"
    with pytest.raises(PackError, match=r"pack other: no manifest.yaml .*\(known: toy, small\)"):
        load_pack("other")


@pytest.mark.parametrize("name", ["", ".", "..", "../checkout/small"])
def test_a_name_does_not_leave_the_search_path(name, write_pack, tmp_path, monkeypatch):
    monkeypatch.setattr(pack_module, "SEARCH_PATH", (tmp_path / "installed",))
    monkeypatch.chdir(tmp_path)
    write_pack(tmp_path)
    (tmp_path / "manifest.yaml").rename(tmp_path / "elsewhere.yaml")

    with pytest.raises(PackError):
        load_pack(name)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "format is 2, this version reads 1"),
        ({"family": "oracle"}, "family is 'oracle', this version runs: causal, lexical, window"),
        ({"family": ["causal"]}, "family is ['causal'], this version runs: causal, lexical, window"),
        ({"layers": ...}, "layers: Field required"),
        ({"head_dim": "wide"}, "head_dim: "),
        ({"categories": []}, "categories: "),
        ({"categories": ["crime", "crime"]}, "categories: a name stands twice"),
        ({"categories": ["crime", "fraud"]}, "calibration.user: no entry for 'fraud'"),
        ({"calibration": {}}, "calibration.user: no entry for 'crime'"),
        ({"operating_points": {}}, "operating_points.user: no entry for 'crime'"),
        (
            {"operating_points": {"user": {"crime": {1: 0.5}, "self_harm": None}}},
            "operating_points.user.crime: severities must be 1, 2 and 3",
        ),
        ({"roles": {"user": {"marker": "[unused1]", "head": 0}}}, "roles: no entry for 'system'"),
        (
            {
                "roles": {
                    role: {"marker": "[unused1]", "head": None} for role in ("user", "assistant", "system")
                }
            },
            "markers and start_token must differ",
        ),
        (
            {
                "roles": {
                    role: {"marker": f"[unused{number}]", "head": None}
                    for number, role in enumerate(("user", "assistant", "system"), start=1)
                }
            },
            "roles: none of them is judged",
        ),
        ({"model": {"file": "gone.onnx", "sha256": "0" * 64, "opset": 17}}, "gone.onnx cannot be read"),
        ({"model": {"file": "model.onnx", "sha256": "0" * 64, "opset": 17}}, "model.onnx: checksum is"),
        ({"model": {"file": "model.onnx", "sha256": "short", "opset": 17}}, "model.sha256"),
        ({"tokenizer": {"file": "../t.json", "sha256": "0" * 64}}, "../t.json: a pack's files lie in"),
    ],
)
def test_what_is_wrong_is_named(changes, reason, write_pack, tmp_path):
    directory = write_pack(tmp_path / "toy", **changes)

    with pytest.raises(PackError) as caught:
        load_pack(directory)

    assert str(directory) in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize("text", ["- a\n- list\n", "a: [broken", ""])
def test_a_manifest_that_is_none_is_refused(text, write_pack, tmp_path):
    directory = write_pack(tmp_path / "toy")
    (directory / "manifest.yaml").write_text(text, encoding="utf-8")

    with pytest.raises(PackError, match=r"manifest\.yaml"):
        load_pack(directory)


def test_a_changed_network_is_noticed(write_pack, tmp_path):
    directory = write_pack(tmp_path / "toy")
    (directory / "model.onnx").write_bytes(b"not a netw0rk")

    with pytest.raises(PackError, match=r"model\.onnx: checksum"):
        load_pack(directory)


def test_a_pack_may_bring_another_network_for_cuda_and_weights_for_both(write_pack, tmp_path):
    directory = write_pack(tmp_path / "toy")
    assert load_pack(directory).cuda_model_path == directory / "model.onnx"

    (directory / "cuda.onnx").write_bytes(b"another")
    (directory / "weights.bin").write_bytes(b"many numbers")
    files = {
        name: {"file": name, "sha256": hashlib.sha256((directory / name).read_bytes()).hexdigest()}
        for name in ("cuda.onnx", "weights.bin")
    }
    write_pack(directory, cuda_model=files["cuda.onnx"] | {"opset": 17}, weights=files["weights.bin"])
    pack = load_pack(directory)
    assert (pack.model_path.name, pack.cuda_model_path.name) == ("model.onnx", "cuda.onnx")

    for name in files:
        whole = (directory / name).read_bytes()
        (directory / name).write_bytes(whole[:-1])
        with pytest.raises(PackError, match=f"{name}: checksum"):
            load_pack(directory)
        (directory / name).write_bytes(whole)
