"""The network itself: one ONNX Runtime session, and the truth about where it runs.

Asking for CUDA and getting the CPU is an error here, because it would be a silent slowdown
anywhere else; ``auto`` takes CUDA where it works and says why where it does not. A session is used by
one thread, the runner's. This file knows arrays, not lanes and not text.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from guardrail.engine.cache import Geometry
from guardrail.engine.pack import Pack
from guardrail.errors import PackError, ProviderError

ProviderChoice = Literal["auto", "cpu", "cuda"]
Provider = Literal["cpu", "cuda"]

_INPUTS = ("input_ids", "position_ids", "past_length", "past_keys", "past_values")
_OUTPUTS = ("logits", "new_keys", "new_values")
_LOG_ERRORS_ONLY = 3
_LOG_FATAL_ONLY = 4


@dataclass(frozen=True, slots=True)
class StepInput:
    """One step of B rows with at most T new tokens and P past positions each."""

    input_ids: NDArray[np.int64]
    """[B, T]; rows with fewer tokens are padded on the right, harmless because nothing looks right."""
    position_ids: NDArray[np.int64]
    """[B, T]."""
    past_length: NDArray[np.int64]
    """[B]; how many of the P past positions of a row are valid."""
    past_keys: NDArray[np.float32]
    """[layers, B, heads, P, head_dim]; P may be 0."""
    past_values: NDArray[np.float32]
    """The same shape."""


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What a step gives."""

    logits: NDArray[np.float32]
    """[B, T, network heads, categories], raw."""
    new_keys: NDArray[np.float32]
    """[layers, B, heads, T, head_dim]."""
    new_values: NDArray[np.float32]
    """The same shape."""


class Network(Protocol):
    """Whatever can compute a step."""

    def run(self, step: StepInput) -> StepOutput:
        """Compute ``step``; blocks."""
        ...


class OnnxSession:
    """A pack's network in ONNX Runtime.

    Args:
        pack: whose network.
        provider: ``cuda``, ``cpu``, or ``auto`` for CUDA where it works and the CPU elsewhere.
        intra_op_threads: threads a step is computed by on the CPU; 0 leaves it to the runtime, which
            takes one a core.

    Raises:
        ProviderError: CUDA was asked for and cannot be had; says what to install.
        PackError: the network cannot be loaded or is not shaped as the manifest says.
    """

    def __init__(self, pack: Pack, *, provider: ProviderChoice = "auto", intra_op_threads: int = 0) -> None:
        self._geometry = Geometry(pack.layers, pack.heads, pack.head_dim, pack.max_positions)
        obstacle = "not asked for" if provider == "cpu" else _cuda_obstacle()
        session: Any = None
        if not obstacle:
            session, obstacle = _open_cuda(pack, intra_op_threads)
        if session is None:
            if provider == "cuda":
                raise ProviderError(
                    f"CUDA was asked for and cannot be used: {obstacle}. It needs an NVIDIA driver and "
                    "the onnxruntime-gpu package with CUDA and cuDNN: "
                    "pip install 'onnxruntime-gpu[cuda,cudnn]'"
                )
            session = _open(pack, ["CPUExecutionProvider"], intra_op_threads)
        self._session = session
        self.provider: Provider = "cpu" if obstacle else "cuda"
        """What runs."""
        self.why_not_cuda = obstacle
        """Why it is the CPU; empty when it is not."""
        self._check_shapes(pack)

    def run(self, step: StepInput) -> StepOutput:
        """Compute ``step``; blocks."""
        logits, keys, values = self._session.run(
            _OUTPUTS,
            {
                "input_ids": step.input_ids,
                "position_ids": step.position_ids,
                "past_length": step.past_length,
                "past_keys": step.past_keys,
                "past_values": step.past_values,
            },
        )
        return StepOutput(logits, keys, values)

    def warm_up(self) -> None:
        """Compute the shapes that will come first, so that the first stream does not pay for them."""
        sizes = self._geometry
        for rows, tokens, past in ((1, 1, 0), (1, 2, 32), (4, 8, 64), (1, 64, 0)):
            shape = (sizes.layers, rows, sizes.heads, past, sizes.head_dim)
            zeros = np.zeros(shape, np.float32)
            ids = np.zeros((rows, tokens), np.int64)
            self.run(StepInput(ids, ids, np.full(rows, past, np.int64), zeros, zeros))

    def _check_shapes(self, pack: Pack) -> None:
        where, name = str(pack.directory), pack.model_path.name
        inputs = {entry.name: entry.shape for entry in self._session.get_inputs()}
        outputs = {entry.name: entry.shape for entry in self._session.get_outputs()}
        for wanted, given, what in ((_INPUTS, inputs, "input"), (_OUTPUTS, outputs, "output")):
            for entry in wanted:
                if entry not in given:
                    raise PackError(where, f"{name} has no {what} {entry!r}")
        unknown = set(inputs) - set(_INPUTS)
        if unknown:
            raise PackError(where, f"{name} wants an input this version does not know: {sorted(unknown)}")
        heads = 1 + max(entry.head for entry in pack.roles.values() if entry.head is not None)
        for entry, axis, size in (
            ("past_keys", 0, pack.layers),
            ("past_keys", 2, pack.heads),
            ("past_keys", 4, pack.head_dim),
            ("logits", 2, heads),
            ("logits", 3, len(pack.categories)),
        ):
            shape = inputs.get(entry) or outputs[entry]
            # A symbolic axis is a string or None and says nothing; the warm-up will tell.
            if isinstance(shape[axis], int) and shape[axis] != size:
                raise PackError(
                    where, f"{name}: axis {axis} of {entry} is {shape[axis]}, the manifest says {size}"
                )


def _open(pack: Pack, providers: list[Any], intra_op_threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = intra_op_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS_ONLY
    # Threads that spin between steps take the core that the streams need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(pack.model_path), options, providers=providers)
    except Exception as error:  # the runtime has an exception type a status code, with no common root
        raise PackError(str(pack.directory), f"{pack.model_path.name} cannot be loaded: {error}") from error


def _open_cuda(pack: Pack, intra_op_threads: int) -> tuple[Any, str]:
    """A session on the GPU and "", or None and the reason."""
    said = io.StringIO()
    ort.set_default_logger_severity(_LOG_FATAL_ONLY)
    try:
        with contextlib.redirect_stdout(said):  # it prints what it cannot find
            ort.preload_dlls()
        session = _open(pack, ["CUDAExecutionProvider", "CPUExecutionProvider"], intra_op_threads)
    finally:
        ort.set_default_logger_severity(_LOG_ERRORS_ONLY)
    if session.get_providers()[0] == "CUDAExecutionProvider":
        return session, ""
    hint = " ".join(said.getvalue().split())
    return None, f"the CUDA provider did not load{': ' + hint if hint else ''}"


def _cuda_obstacle() -> str:
    """Why trying CUDA would be in vain, found without the runtime's noise; "" if it may work."""
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return "the installed ONNX Runtime is built without CUDA"
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver (libcuda.so.1)"
    return ""
