"""What the documentation says is so: links, commands, flags, policy keys, errors, numbers and names of tests."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import hashlib
import json
import re
from pathlib import Path

import pytest
import yaml

import guardrail.client
from guardrail.app import offline, server
from guardrail.app.wiring import load_checked_policy
from guardrail.cli.flags import build_parser
from guardrail.cli.main import main
from guardrail.config.policies import load_policy
from guardrail.engine.batcher import BatchLimits
from guardrail.engine.pack import load_pack
from guardrail.policy import rules
from guardrail.policy.taxonomy import CATEGORIES
from guardrail.transports import context, driver, ext_proc, grpc_messages
from guardrail.transports.engine_service import EngineLimits
from guardrail.transports.grpc_native import NativeLimits
from guardrail.wire import chat_completion_body, sse

ROOT = Path(__file__).resolve().parents[2]
README, ARCHITECTURE = ROOT / "README.md", ROOT / "ARCHITECTURE.md"
POLICY, RUNNING = ROOT / "docs/operators/policy.md", ROOT / "docs/operators/running.md"
ADRS = sorted((ROOT / "docs/adr").glob("*.md"))
DOCS = [
    README,
    ARCHITECTURE,
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *ADRS,
    *sorted((ROOT / "docs/operators").glob("*.md")),
    *sorted((ROOT / "classifiers").rglob("*.md")),
]
every_doc = pytest.mark.parametrize("doc", DOCS, ids=lambda path: str(path.relative_to(ROOT)))

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def prose(doc: Path) -> str:
    return _FENCED.sub("", doc.read_text("utf-8"))


def blocks(doc: Path, language: str) -> list[str]:
    return [body for name, body in _FENCED.findall(doc.read_text("utf-8")) if name == language]


def code(doc: Path) -> list[str]:
    """Inline code and the lines of shell blocks."""
    inline = [" ".join(each.split()) for each in re.findall(r"`([^`]+)`", prose(doc))]
    return inline + [line for block in blocks(doc, "sh") for line in block.splitlines()]


# -- links -------------------------------------------------------------------------------------------------


def anchors(doc: Path) -> set[str]:
    """The names under which headings can be linked to, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(doc), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_doc
def test_links_resolve(doc):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(doc)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        found = (doc.parent / path).resolve() if path else doc
        assert found.exists(), f"{target} leads nowhere"
        assert not anchor or anchor in anchors(found), f"{target}: no such heading"


@every_doc
def test_named_paths_exist(doc):
    for named in re.findall(r"`([\w./-]+\.(?:py|yaml|proto|md|toml|txt|jsonl))`", prose(doc)):
        if "/" not in named:
            continue
        places = (ROOT, ROOT / "guardrail", ROOT / "classifiers", doc.parent)
        assert any((place / named).exists() for place in places), f"{named} is not there"


# -- the README --------------------------------------------------------------------------------------------


def test_the_readme_begins_with_its_two_commands():
    lines = [line for block in blocks(README, "sh") for line in block.splitlines()]
    assert lines[:2] == ["make demo", "make test"]


@pytest.mark.parametrize("source", blocks(README, "python"))
def test_the_examples_are_python_and_import_what_is_there(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "guardrail.client":
            assert all(hasattr(guardrail.client, alias.name) for alias in node.names)


@pytest.mark.parametrize("doc", [README, POLICY], ids=lambda path: path.name)
def test_the_minimal_policy_is_valid(doc, tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text(blocks(doc, "yaml")[0])
    assert load_policy(file).name == "careful"


def test_the_example_of_a_window_pack_is_valid(tmp_path):
    manifest = yaml.safe_load(blocks(ROOT / "classifiers/README.md", "yaml")[0])
    for entry in (manifest["model"], manifest["tokenizer"]):
        (tmp_path / entry["file"]).write_bytes(b"any")
        entry["sha256"] = hashlib.sha256(b"any").hexdigest()
    (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(manifest))

    assert load_pack(tmp_path).family == "window"


def test_the_example_of_a_lexical_pack_is_valid(tmp_path):
    _, manifest, patterns = blocks(ROOT / "classifiers/README.md", "yaml")
    digest = hashlib.sha256(patterns.encode()).hexdigest()
    (tmp_path / "patterns.yaml").write_text(patterns)
    (tmp_path / "manifest.yaml").write_text(manifest.replace('"..."', f'"{digest}"'))

    assert load_pack(tmp_path).family == "lexical"


def test_the_policy_with_several_packs_is_valid(tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text(next(block for block in blocks(POLICY, "yaml") if "packs:" in block))
    _, packs = load_checked_policy(file)
    assert [pack.name for pack in packs] == ["default", "entities"]


def test_the_policy_with_a_gate_is_valid(tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text(next(block for block in blocks(POLICY, "yaml") if "gates_only:" in block))
    quick, default = load_policy(file).packs
    assert quick.gates_only
    assert default.gated_by.pack == quick.pack


def test_what_a_gate_saves_and_hides_is_what_was_measured():
    results = json.loads((ROOT / "benchmarks/results/cascade.json").read_text("utf-8"))["details"]
    section = POLICY.read_text("utf-8").partition("### Gates")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([\d.]+) \| ([\d.]+) % \| ([\d.]+) % \| ([\d.]+) % \|$", section, re.MULTILINE)
    assert [f"threshold {row[0]}" for row in rows] == [name for name in results if "threshold" in name]
    for threshold, *said in rows:
        found = results[f"threshold {threshold}"]
        measured = found["time"]["one in twenty risky"], found["asked"]["benign"], found["hidden"]["risky"]
        for percent, share in zip(said, measured, strict=True):
            digits = len(percent.partition(".")[2])
            assert float(percent) == pytest.approx(100 * share, abs=0.51 * 10**-digits)


@every_doc
def test_make_words_exist(doc):
    words = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for said in code(doc):
        if match := re.match(r"make ([a-z-]+)$", said):
            assert match[1] in words, f"make {match[1]}"


# -- commands and flags ------------------------------------------------------------------------------------


def subparsers() -> dict[str, argparse.ArgumentParser]:
    parser = build_parser({})
    action = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def flags(parser: argparse.ArgumentParser) -> set[str]:
    return {option for option in parser._option_string_actions if option not in {"-h", "--help"}}


@every_doc
def test_commands_and_their_flags_exist(doc):
    known = subparsers()
    for said in code(doc):
        for command, rest in re.findall(r"(?:^|/| )guardrail ([a-z][a-z-]*)(?![\w.])([^#|]*)", said):
            assert command in known, f"guardrail {command}"
            for flag in re.findall(r"(?<!\S)--[a-z][a-z-]*", rest):
                assert flag in flags(known[command]), f"guardrail {command} {flag}"


def test_every_command_is_documented():
    said = "\n".join(each for doc in (README, RUNNING, POLICY) for each in code(doc))
    for command in subparsers():
        assert re.search(rf"\b{command}\b", said), command


def test_the_table_of_flags_is_the_parsers():
    known = subparsers()
    scoring = {name for name, parser in known.items() if "--provider" in flags(parser)}
    table: dict[str, set[str]] = {}
    for row in re.findall(r"^\| (`--.*)$", RUNNING.read_text("utf-8"), re.MULTILINE):
        names, of, *_ = row.split("|")
        commands = set(re.findall(r"`([a-z-]+)`", of)) | (scoring if "all that score" in of else set())
        for name in re.findall(r"`(--[a-z-]+)`", names):
            table[name] = commands
    parsers = {
        flag: {name for name, parser in known.items() if flag in flags(parser)}
        for flag in set().union(*map(flags, known.values()))
    }
    assert table == parsers


# -- the policy --------------------------------------------------------------------------------------------

SHAPES = (
    rules.Policy,
    rules.PackRules,
    rules.GateRules,
    rules.Timing,
    rules.HoldBackRules,
    rules.CategoryRules,
    rules.RoleRules,
)


def documented(shape: type) -> dict[str, list[str]]:
    """The rows under the heading that begins with a shape's name: key to its other cells."""
    text = POLICY.read_text("utf-8")
    section = re.search(rf"^## {shape.__name__}:.*?(?=^## )", text, re.DOTALL | re.MULTILINE)
    assert section is not None, f"no section for {shape.__name__}"
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", section[0], re.MULTILINE)
    return {key: [cell.strip() for cell in rest.split("|")] for key, rest in rows}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_policy_keys_are_those_of_the_file(shape):
    assert set(documented(shape)) == {field.name for field in dataclasses.fields(shape)}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_policy_defaults_are_those_of_the_code(shape):
    rows = documented(shape)
    for field in dataclasses.fields(shape):
        default = rows[field.name][1].strip("`")
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            assert default == "required", field.name
        elif isinstance(field.default, str | int | float):
            assert default.strip('"') == str(field.default), field.name


def test_all_categories_are_named():
    named = re.search(r"^Categories: .*?\n\n", POLICY.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", named[0])) == set(CATEGORIES)


def test_the_interventions_are_those_a_policy_may_name():
    section = POLICY.read_text("utf-8").partition("## Interventions")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(rules.KindName.__args__)


def test_what_the_default_policy_sets_is_said():
    assert f"`scoring_deadline_ms: {load_policy().timing.scoring_deadline_ms:g}`" in POLICY.read_text("utf-8")


_ERRORS = list(zip(blocks(POLICY, "yaml")[3:], blocks(POLICY, "text"), strict=True))


@pytest.mark.parametrize(("file", "message"), _ERRORS, ids=range(len(_ERRORS)))
def test_errors_read_as_documented(file, message, tmp_path, monkeypatch, capsys):  # invariant 9
    monkeypatch.chdir(tmp_path)
    for variable in ("GUARDRAIL_PACK", "GUARDRAIL_JSON"):
        monkeypatch.delenv(variable, raising=False)
    Path("policy.yaml").write_text(file)

    assert main(["check-config", "policy.yaml"]) == 2

    assert capsys.readouterr().err.startswith(message.strip().removesuffix("..."))


# -- the architecture and the decisions --------------------------------------------------------------------

NUMBERS = {
    "KiB waiting for Envoy": ext_proc.MAX_WAITING_BYTES >> 10,
    "outputs": driver.MAX_WAITING_OUTPUTS,
    "held code points": driver.MAX_HELD_CHARS,
    "characters": context.MAX_CONTEXT_CHARS,
    "streams": NativeLimits().max_streams,
    "lanes": grpc_messages.MAX_LANES,
    "tokens with padding": BatchLimits().max_batch_tokens,
    "MiB; body chunks": ext_proc.MAX_REQUEST_BYTES >> 20,
    "KiB at most": ext_proc.MAX_CHUNK_BYTES >> 10,
    "clients": EngineLimits().max_clients,
    "calls and as many unread results": EngineLimits().max_calls,
    "rows at a time": offline.CONCURRENT_ROWS,
    "MiB |": dict(server._OPTIONS)["grpc.max_receive_message_length"] >> 20,
}


@pytest.mark.parametrize("what", NUMBERS)
def test_bounds_are_those_of_the_code(what):
    assert f"{NUMBERS[what]:,} {what}" in ARCHITECTURE.read_text("utf-8")


def test_limits_of_the_readme_are_those_of_the_code():
    text = " ".join(README.read_text("utf-8").split())
    assert f"JSON answers over {chat_completion_body.MAX_BODY_BYTES >> 20} MiB" in text
    assert f"streamed events over {sse.MAX_EVENT_BYTES >> 20} MiB" in text
    assert f"requests over {ext_proc.MAX_REQUEST_BYTES >> 20} MiB" in text
    assert f"earlier turns beyond {context.MAX_CONTEXT_CHARS:,} characters" in text


def test_named_tests_exist():
    """Properties and tests that the table of invariants names."""
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py"))
    table = ARCHITECTURE.read_text("utf-8").partition("## Invariants")[2]
    for name in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", table):
        assert f"def {name}(" in sources, name


def test_every_package_stands_on_the_map():
    table = ARCHITECTURE.read_text("utf-8").partition("| package |")[2].partition("\n\n")[0]
    packages = {path.parent.name for path in (ROOT / "guardrail").glob("*/__init__.py")}
    assert packages <= set(re.findall(r"`(\w+)`", table))


@pytest.mark.parametrize("adr", ADRS, ids=lambda path: path.stem)
def test_decisions_are_short_and_complete(adr):
    text = adr.read_text("utf-8")
    number = int(adr.stem.partition("-")[0])
    assert text.startswith(f"# {number}. ")
    assert len(text.splitlines()) <= 40
    for part in ("**Context.**", "**Decision", "**Consequences.**"):
        assert part in text


def test_decisions_are_numbered_in_order():
    assert [int(adr.stem.partition("-")[0]) for adr in ADRS] == list(range(1, len(ADRS) + 1))
