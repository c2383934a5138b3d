"""What stands between ONNX Runtime and a CUDA device, and what to install.

Looked at before the runtime tries, because it falls back to the CPU without an error and says why on standard
output. Which libraries its CUDA provider links is in its own file (``readelf -d
libonnxruntime_providers_cuda.so``); which packages bring them is in the metadata of the installed
``onnxruntime-gpu``, under the extras ``cuda`` and ``cudnn``. cuDNN, cuFFT and NVRTC are loaded only when a network
asks for them, so they are installed with the rest but never an obstacle here.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import io
import re
from collections.abc import Iterable, Sequence

import onnxruntime as ort

DRIVER = "libcuda.so.1"
_DISTRIBUTION = "onnxruntime-gpu"
_EXTRAS = ("cuda", "cudnn")


def obstacle() -> str:
    """Why trying CUDA would be in vain and what to do about it; "" if it may work.

    Loads CUDA's libraries into the process where they are there.
    """
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return (
            "the installed ONNX Runtime is built without CUDA (on Linux x86-64 and Windows: "
            f"pip uninstall onnxruntime; pip install '{_DISTRIBUTION}[{','.join(_EXTRAS)}]')"
        )
    found = []
    if not has_driver():
        found.append(
            f"there is no NVIDIA driver ({DRIVER}): install the host's driver, or give the container its GPU"
        )
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it cannot find
        ort.preload_dlls()
    missing = [name for name in linked(ort.cuda_version) if not _loads(name)]
    if missing:
        found.append(f"CUDA's libraries are missing ({', '.join(missing)}): {advice()}")
    return "; and ".join(found)


def has_driver() -> bool:
    """Whether there is an NVIDIA driver, and so perhaps a GPU."""
    return _loads(DRIVER)


def linked(cuda_version: str) -> Sequence[str]:
    """The CUDA libraries the provider cannot be loaded without, for a build of ``cuda_version``."""
    major = cuda_version.partition(".")[0]
    # cuRAND counts its own versions: 10 goes with CUDA 11 to 13.
    return (f"libcudart.so.{major}", f"libcublas.so.{major}", f"libcublasLt.so.{major}", "libcurand.so.10")


def advice() -> str:
    """What to install for CUDA's libraries, as the installed runtime's own metadata has it."""
    try:
        version = importlib.metadata.version(_DISTRIBUTION)
        wanted = extras(importlib.metadata.requires(_DISTRIBUTION) or ())
    except importlib.metadata.PackageNotFoundError:  # a runtime of somebody's own build
        return "install CUDA and cuDNN as the build of ONNX Runtime wants them"
    brings = f" (it brings {', '.join(wanted)}; nvidia-cublas comes with cuDNN)" if wanted else ""
    return f"pip install '{_DISTRIBUTION}[{','.join(_EXTRAS)}]=={version}'{brings}"


def extras(requirements: Iterable[str]) -> list[str]:
    """Of a distribution's requirements, those of the extras that bring CUDA; without their markers."""
    named = re.compile(rf"extra\s*==\s*[\"'](?:{'|'.join(_EXTRAS)})[\"']")
    return [each.partition(";")[0].strip() for each in requirements if named.search(each)]


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
