"""The generated code is what the protocol file says, and is usable with what pyproject.toml allows."""

from __future__ import annotations

import importlib.util
import itertools
import pickle
import re
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from guardrail._pb import engine_pb2 as engine_pb
from guardrail._pb import engine_pb2_grpc as engine_pb_grpc
from guardrail._pb import guardrail_pb2 as pb
from guardrail._pb import guardrail_pb2_grpc as pb_grpc

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "guardrail" / "_pb"
SOURCES = ("guardrail", "engine")
NAMES = tuple(
    f"{source}_{end}" for source in SOURCES for end in ("pb2.py", "pb2.pyi", "pb2_grpc.py", "pb2_grpc.pyi")
)
PROTOCOLS = {"guardrail/v1/guardrail.proto": pb, "guardrail/engine/v1/engine.proto": engine_pb}
every_protocol = pytest.mark.parametrize("path", PROTOCOLS)


@pytest.fixture(scope="module")
def script():
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed: cannot generate")
    pytest.importorskip("mypy_protobuf", reason="mypy-protobuf is not installed: cannot generate")
    spec = importlib.util.spec_from_file_location("generate", ROOT / "proto" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def fresh(script, tmp_path_factory):
    directory = tmp_path_factory.mktemp("generated")
    script.generate(directory)
    return directory


@pytest.mark.parametrize("name", NAMES)
def test_generated_code_is_fresh(fresh, name):
    assert (GENERATED / name).read_text("utf-8") == (fresh / name).read_text("utf-8"), "run make generate"


def test_nothing_else_lies_among_it(fresh):
    assert {path.name for path in fresh.iterdir()} == set(NAMES)
    assert {path.name for path in GENERATED.iterdir() if path.is_file()} == {"__init__.py", *NAMES}


def test_no_generator_version_is_asked_for():
    code = "".join((GENERATED / name).read_text("utf-8") for name in NAMES)
    assert "runtime_version" not in code
    assert "GRPC_GENERATED_VERSION" not in code


def test_a_generator_that_writes_something_else_is_noticed(script):
    with pytest.raises(RuntimeError, match="expected"):
        script._rewritten("x.py", "import os\n", [("import warnings\n", "")])


def test_the_protocol_keeps_its_own_name_and_the_module_ours():
    assert pb.DESCRIPTOR.name == "guardrail/v1/guardrail.proto"
    assert pb.DESCRIPTOR.package == "guardrail.v1"
    assert pb.Open.__module__ == "guardrail._pb.guardrail_pb2"
    message = pb.Open(locale="de-AT")
    assert pickle.loads(pickle.dumps(message)) == message
    assert pb_grpc.GuardrailServiceServicer
    assert engine_pb.DESCRIPTOR.package == "guardrail.engine.v1"
    assert engine_pb.Hello.__module__ == "guardrail._pb.engine_pb2"
    assert engine_pb_grpc.EngineServiceServicer


@pytest.mark.parametrize(
    ("path", "published"),
    list(zip(PROTOCOLS, ("published_fields.txt", "published_engine_fields.txt"), strict=True)),
)
def test_numbers_are_never_used_twice_nor_moved(path, published):
    """Fields as they were published: a change here breaks clients that are out there."""
    messages = PROTOCOLS[path].DESCRIPTOR.message_types_by_name.values()
    numbers = {f"{m.name}.{f.name}": str(f.number) for m in messages for f in m.fields}
    text = Path(__file__).with_name(published).read_text("utf-8")
    assert numbers == dict(line.split(" = ") for line in text.splitlines())


@every_protocol
def test_every_field_and_value_is_documented(path):
    text = (ROOT / "proto" / path).read_text("utf-8")
    lines = [line.strip() for line in text.splitlines()]
    undocumented = [
        line
        for before, line in itertools.pairwise(lines)
        if re.match(
            r"(\w+|repeated \w+|optional \w+|map<.*>) \w+ = \d+;|[A-Z_]+ = \d+;|rpc |message |enum ", line
        )
        and not before.startswith("//")
    ]
    assert undocumented == []


@every_protocol
def test_enums_begin_with_unspecified(path):
    file = descriptor_pb2.FileDescriptorProto()
    PROTOCOLS[path].DESCRIPTOR.CopyToProto(file)
    for enum in file.enum_type:
        assert enum.value[0].number == 0
        assert enum.value[0].name.endswith("_UNSPECIFIED")
        prefix = enum.value[0].name.removesuffix("UNSPECIFIED")
        assert all(value.name.startswith(prefix) for value in enum.value)
