"""Where a network really runs, whatever its family."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardrail.engine import cuda
from guardrail.engine import session as session_module
from guardrail.engine.pack import load_pack
from guardrail.engine.session import OnnxSession
from guardrail.errors import PackError, ProviderError


@pytest.fixture(scope="module")
def pack(real_pack_directory):
    return load_pack(real_pack_directory)


@pytest.fixture(scope="module")
def session(pack):
    return OnnxSession(pack, provider="cpu", intra_op_threads=1)


def test_the_cpu_is_what_was_asked_for(session):
    assert session.provider == "cpu"
    assert session.why_not_cuda == "not asked for"


def test_auto_without_a_driver_is_the_cpu_and_says_why(pack, monkeypatch, capfd):
    monkeypatch.setattr(cuda, "obstacle", lambda: "there is no NVIDIA driver")
    session = OnnxSession(pack, provider="auto", intra_op_threads=1)

    assert (session.provider, session.why_not_cuda) == ("cpu", "there is no NVIDIA driver")
    assert capfd.readouterr() == ("", "")


def test_cuda_asked_for_and_missing_is_an_error_that_says_why(pack, monkeypatch):
    monkeypatch.setattr(cuda, "obstacle", lambda: "there is no NVIDIA driver")

    with pytest.raises(
        ProviderError, match=r"CUDA was asked for and cannot be used: there is no NVIDIA driver"
    ):
        OnnxSession(pack, provider="cuda")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_silently_falls_back_is_an_error_too(pack, monkeypatch):
    # The runtime opens a session on the CPU when the CUDA libraries do not load.
    monkeypatch.setattr(cuda, "obstacle", lambda: "")
    if session_module._open_cuda(pack, 1)[0] is not None:
        pytest.skip("CUDA works here")

    with pytest.raises(ProviderError, match="fell back to the CPU"):
        OnnxSession(pack, provider="cuda")
    assert OnnxSession(pack, provider="auto").provider == "cpu"


@pytest.mark.parametrize(("cuda", "file"), [(True, "model_cuda.onnx"), (False, "model.onnx")])
def test_what_is_opened_is_the_network_for_what_runs(cuda, file, pack, monkeypatch):
    opened = []

    class Runtime:
        def __init__(self, path, *_, **__):
            opened.append(Path(path).name)

        def get_providers(self):
            return ["CUDAExecutionProvider" if cuda else "CPUExecutionProvider"]

    monkeypatch.setattr(session_module.cuda, "obstacle", lambda: "" if cuda else "none here")
    monkeypatch.setattr(session_module.ort, "InferenceSession", Runtime)

    assert OnnxSession(pack, provider="auto").provider == ("cuda" if cuda else "cpu")
    assert opened == [file]


@pytest.mark.parametrize(
    ("machine", "flags", "exactly"),
    [
        ("x86_64", "flags : fpu avx512_vnni", True),
        ("AMD64", "flags : fpu avx_vnni", True),
        ("x86_64", "flags : fpu avx2", False),
        ("x86_64", None, False),
        ("aarch64", None, True),
    ],
)
def test_only_a_cpu_that_adds_bytes_exactly_is_trusted_to(machine, flags, exactly, monkeypatch, tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    if flags is not None:
        cpuinfo.write_text(flags, encoding="utf-8")
    monkeypatch.setattr(session_module.platform, "machine", lambda: machine)
    assert session_module._adds_bytes_exactly(cpuinfo) is exactly


def test_a_file_that_is_no_network_is_a_pack_error(toy_pack):
    with pytest.raises(PackError, match=r"model\.onnx cannot be loaded"):
        OnnxSession(toy_pack, provider="cpu")


def test_a_network_that_takes_or_gives_something_else_is_refused(session):
    given = [entry.name for entry in session._session.get_inputs()]
    session.check_names(given, ["logits"])
    for inputs, outputs, reason in (
        ([*given, "attention_mask"], [], "has no input 'attention_mask'"),
        (given, ["scores"], "has no output 'scores'"),
        (given[1:], [], r"wants an input this version does not know: \['input_ids'\]"),
    ):
        with pytest.raises(PackError, match=reason):
            session.check_names(inputs, outputs)
