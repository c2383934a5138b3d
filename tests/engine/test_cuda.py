"""What is missing for CUDA is named, and what to install: told without a GPU, on any machine."""

from __future__ import annotations

import importlib.metadata
from types import SimpleNamespace

import pytest

from guardrail.engine import cuda

CUDA_13 = ("libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13", "libcurand.so.10")
REQUIRES = [
    "numpy>=1.21.6",
    'sympy; extra == "symbolic"',
    'nvidia-cuda-runtime~=13.0; extra == "cuda"',
    "nvidia-cudnn-cu13~=9.0 ; extra == 'cudnn'",
]
INSTALL = (
    "pip install 'onnxruntime-gpu[cuda,cudnn]==1.99.0' "
    "(it brings nvidia-cuda-runtime~=13.0, nvidia-cudnn-cu13~=9.0; nvidia-cublas comes with cuDNN)"
)


@pytest.fixture
def machine(monkeypatch):
    """A machine with everything; what is taken off ``has`` is not there."""
    machine = SimpleNamespace(
        has={cuda.DRIVER, *CUDA_13}, providers=["CUDAExecutionProvider", "CPUExecutionProvider"], preloaded=0
    )

    def preload():
        machine.preloaded += 1
        print("Failed to load everything")

    runtime = SimpleNamespace(
        get_available_providers=lambda: machine.providers, preload_dlls=preload, cuda_version="13.0"
    )
    monkeypatch.setattr(cuda, "ort", runtime)
    monkeypatch.setattr(cuda, "_loads", lambda library: library in machine.has)
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "1.99.0")
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: REQUIRES)
    return machine


def test_where_everything_is_there_nothing_stands_in_the_way(machine, capfd):
    assert cuda.obstacle() == ""
    assert machine.preloaded == 1
    assert capfd.readouterr() == ("", "")


def test_missing_libraries_are_named_with_the_command_that_brings_them(machine, capfd):
    machine.has -= {"libcublas.so.13", "libcurand.so.10"}
    assert cuda.obstacle() == f"CUDA's libraries are missing (libcublas.so.13, libcurand.so.10): {INSTALL}"
    assert capfd.readouterr() == ("", "")


def test_a_missing_driver_is_nothing_pip_can_bring(machine):
    machine.has -= {cuda.DRIVER}
    told = cuda.obstacle()
    assert told.startswith("there is no NVIDIA driver (libcuda.so.1): install the host's driver")
    assert "pip" not in told


def test_everything_that_is_missing_is_said_at_once(machine):
    machine.has.clear()
    told = cuda.obstacle()
    assert "libcuda.so.1" in told
    assert told.endswith(INSTALL)
    assert all(library in told for library in CUDA_13)


def test_a_runtime_without_cuda_is_to_be_replaced(machine):
    machine.providers = ["CPUExecutionProvider"]
    assert "pip uninstall onnxruntime; pip install 'onnxruntime-gpu[cuda,cudnn]'" in cuda.obstacle()
    assert machine.preloaded == 0


def test_a_runtime_of_ones_own_build_gets_no_command_that_would_not_fit(machine, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    machine.has -= {"libcublas.so.13"}
    assert cuda.obstacle().endswith("install CUDA and cuDNN as the build of ONNX Runtime wants them")


def test_an_older_build_wants_the_libraries_of_its_cuda():
    assert cuda.linked("12.8") == (
        "libcudart.so.12",
        "libcublas.so.12",
        "libcublasLt.so.12",
        "libcurand.so.10",
    )


def test_the_installed_runtime_says_what_its_cuda_is_made_of():
    """The advice rests on the metadata of a package that is not ours: notice when it changes shape."""
    try:
        requires = importlib.metadata.requires("onnxruntime-gpu")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("this platform has no onnxruntime-gpu")
    wanted = cuda.extras(requires or ())
    assert any(each.startswith("nvidia-cuda-runtime") for each in wanted)
    assert any(each.startswith("nvidia-cudnn") for each in wanted)
