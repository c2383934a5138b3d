"""Generate ``guardrail/_pb`` from ``proto/``: ``python proto/generate.py [OUTPUT_DIRECTORY]``.

The proto packages stay ``guardrail.v1`` and ``guardrail.engine.v1`` (what is on the wire, what reflection
shows), the Python modules are ``guardrail._pb.guardrail_pb2`` and ``..._pb2_grpc`` and so on: protoc cannot
tell the two apart, so its output is rewritten here. It knows nothing of what the messages mean. Needs grpcio-tools and mypy-protobuf.
"""
# ruff: noqa: INP001 - a script beside what it reads, not a package

from __future__ import annotations

import re
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

from grpc_tools import protoc

PROTO_ROOT = Path(__file__).resolve().parent
SOURCES = (Path("guardrail/v1/guardrail.proto"), Path("guardrail/engine/v1/engine.proto"))
DESTINATION = PROTO_ROOT.parent / "guardrail" / "_pb"

Rewrite = tuple[str, str]

# Both generators refuse to be imported by a runtime older than themselves. The code they write uses
# nothing that is new since the lowest versions pyproject.toml allows (the tests run on those, too), so
# the guard would only force every user to upgrade with us. Versions in comments go with it (they would
# make the same code look different), and so does a remark against doing what we do.
_RUNTIME_GUARD: Sequence[Rewrite] = (
    (r"# NO CHECKED-IN PROTOBUF GENCODE\n", ""),
    (r"# Protobuf Python Version: .*\n", ""),
    (r"from google\.protobuf import runtime_version as _runtime_version\n", ""),
    (r"_runtime_version\.ValidateProtobufRuntimeVersion\((?:\n {4}.*)+\n\)\n", ""),
)
_GRPC_GUARD: Sequence[Rewrite] = (
    (r"import warnings\n", ""),
    (r"GRPC_GENERATED_VERSION = (?:.*\n)+?if _version_not_supported:\n(?: {4}.*\n)+\n*", "\n"),
)


def _rewrites(source: Path) -> dict[str, Sequence[Rewrite]]:
    """What is changed in each of the modules made of ``source``."""
    package = ".".join(source.parent.parts)
    imports = (rf"from {re.escape(package)} import", "from guardrail._pb import")
    own_name = (rf"'{re.escape(package)}\.{source.stem}_pb2'", f"'guardrail._pb.{source.stem}_pb2'")
    return {
        f"{source.stem}_pb2.py": (*_RUNTIME_GUARD, own_name),
        f"{source.stem}_pb2.pyi": (),
        f"{source.stem}_pb2_grpc.py": (*_GRPC_GUARD, imports),
        f"{source.stem}_pb2_grpc.pyi": (
            # grpc itself has no types: which of its ignores are needed depends on how that is told to mypy.
            (r"\A", "# mypy: ignore-errors\n"),
            (r"GRPC_GENERATED_VERSION: str\nGRPC_VERSION: str\n", ""),
            imports,
        ),
    }


def generate(destination: Path) -> None:
    """Write the generated modules, four a source, into ``destination``.

    Raises:
        RuntimeError: a generator is missing or failed, or wrote something other than expected (a new
            version of it may: then the rewrites above need a look).
    """
    with tempfile.TemporaryDirectory() as scratch:
        _compile(Path(scratch))
        destination.mkdir(parents=True, exist_ok=True)
        for source in SOURCES:
            for name, rewrites in _rewrites(source).items():
                text = (Path(scratch) / source.parent / name).read_text("utf-8")
                (destination / name).write_text(_rewritten(name, text, rewrites), "utf-8")


def _compile(output: Path) -> None:
    plugins = [f"--plugin={name}={_executable(name)}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    arguments = [
        "protoc",
        f"--proto_path={PROTO_ROOT}",
        *plugins,
        f"--python_out={output}",
        f"--grpc_python_out={output}",
        f"--mypy_out=quiet:{output}",
        f"--mypy_grpc_out=quiet:{output}",
        *map(str, SOURCES),
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc failed; its reasons are above")


def _executable(name: str) -> str:
    """The plugin installed beside this interpreter, whether or not its environment is on the PATH."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed: pip install mypy-protobuf")
    return found


def _rewritten(name: str, text: str, rewrites: Sequence[Rewrite]) -> str:
    for pattern, replacement in rewrites:
        text, count = re.subn(pattern, replacement, text)
        if count != 1:
            raise RuntimeError(f"{name}: expected {pattern!r} once, found it {count} times")
    return text


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else DESTINATION)
