"""One ONNX Runtime session, and the truth about where it runs.

Asking for CUDA and getting the CPU is an error here, because it would be a silent slowdown
anywhere else; ``auto`` takes CUDA where it works and says why where it does not. A session is used by
one thread, the runner's. What goes in and comes out is its family's business (``causal_session``,
``window_session``).
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import onnxruntime as ort

from guardrail.engine import cuda
from guardrail.engine.manifest import NetworkPack
from guardrail.errors import PackError, ProviderError

ProviderChoice = Literal["auto", "cpu", "cuda"]
Provider = Literal["cpu", "cuda"]

_SLOWER_ON_CPU = ["SkipLayerNormFusion"]
"""The fused operator takes five times what its two parts take there."""
_LOG_ERRORS_ONLY = 3
_LOG_FATAL_ONLY = 4


class OnnxSession:
    """A pack's network in ONNX Runtime; a family's session adds how it is run.

    Args:
        pack: whose network.
        provider: ``cuda``, ``cpu``, or ``auto`` for CUDA where it works and the CPU elsewhere.
        intra_op_threads: threads a step is computed by on the CPU; 0 leaves it to the runtime, which
            takes one a core.

    Raises:
        ProviderError: CUDA was asked for and cannot be had; says what to install.
        PackError: the network cannot be loaded.
    """

    def __init__(
        self, pack: NetworkPack, *, provider: ProviderChoice = "auto", intra_op_threads: int = 0
    ) -> None:
        self._pack = pack
        obstacle = "not asked for" if provider == "cpu" else cuda.obstacle()
        session: Any = None
        if not obstacle:
            session, obstacle = _open_cuda(pack, intra_op_threads)
        if session is None:
            if provider == "cuda":
                raise ProviderError(f"CUDA was asked for and cannot be used: {obstacle}")
            session = _open(pack, pack.model_path, ["CPUExecutionProvider"], intra_op_threads)
        self._session = session
        self._path = pack.model_path if obstacle else pack.cuda_model_path
        self.provider: Provider = "cpu" if obstacle else "cuda"
        """What runs."""
        self.why_not_cuda = obstacle
        """Why it is the CPU; empty when it is not."""

    def check_names(self, inputs: Iterable[str], outputs: Iterable[str]) -> None:
        """Refuse a network that lacks one of these, or wants an input besides."""
        given = {entry.name for entry in self._session.get_inputs()}
        found = {entry.name for entry in self._session.get_outputs()}
        for wanted, names, what in ((inputs, given, "input"), (outputs, found, "output")):
            for entry in wanted:
                if entry not in names:
                    raise self.refusal(f"has no {what} {entry!r}")
        unknown = given - set(inputs)
        if unknown:
            raise self.refusal(f"wants an input this version does not know: {sorted(unknown)}")

    def check_axis(self, entry: str, axis: int, size: int) -> None:
        """Refuse a network of which an axis is not as long as the manifest says."""
        entries = (*self._session.get_inputs(), *self._session.get_outputs())
        shape = next(each.shape for each in entries if each.name == entry)
        found = shape[axis] if axis < len(shape) else 0
        # A symbolic axis is a string or None and says nothing; the warm-up will tell.
        if isinstance(found, int) and found != size:
            raise self.refusal(f"axis {axis} of {entry} is {found}, the manifest says {size}")

    def refusal(self, reason: str) -> PackError:
        """What is said of a network that cannot be used."""
        return PackError(str(self._pack.directory), f"{self._path.name}: {reason}")


def _open(pack: NetworkPack, path: Path, providers: list[Any], intra_op_threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = intra_op_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS_ONLY
    # Threads that spin between steps take the core that the streams need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not _adds_bytes_exactly():
        options.add_session_config_entry("session.x64quantprecision", "1")
    # A plan of memory is kept for every shape that ever came, and shapes here never end.
    options.enable_mem_pattern = False
    try:
        return ort.InferenceSession(
            str(path),
            options,
            providers=providers,
            disabled_optimizers=_SLOWER_ON_CPU if len(providers) == 1 else [],
        )
    except Exception as error:  # the runtime has an exception type a status code, with no common root
        raise PackError(str(pack.directory), f"{path.name} cannot be loaded: {error}") from error


def _open_cuda(pack: NetworkPack, intra_op_threads: int) -> tuple[Any, str]:
    """A session on the GPU and "", or None and the reason."""
    ort.set_default_logger_severity(_LOG_FATAL_ONLY)
    try:
        providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        session = _open(pack, pack.cuda_model_path, providers, intra_op_threads)
    finally:
        ort.set_default_logger_severity(_LOG_ERRORS_ONLY)
    if session.get_providers()[0] == "CUDAExecutionProvider":
        return session, ""
    return None, f"ONNX Runtime fell back to the CPU, though CUDA's libraries are there; {cuda.advice()}"


def _adds_bytes_exactly(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU sums 8-bit products in 32 bits (VNNI, or any Arm); else two of them may not fit in 16.

    The runtime then has a slower way that is exact. It does not ask itself, and where nobody says which CPU
    it is, slower is better than wrong.
    """
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return True
    try:
        return "vnni" in cpuinfo.read_text(encoding="utf-8")
    except OSError:
        return False
