"""The house rules that no linter knows."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

import guardrail

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "guardrail"
TESTS = ROOT / "tests"

# -- tests mirror the tree -------------------------------------------------------------------------

TESTED_ELSEWHERE = {
    # Plain data or a protocol: nothing in them can be wrong by itself.
    "core/commands.py": "plain data; every test of core/stream.py compares them",
    "core/composition.py": "plain data",
    "core/conversation.py": "plain data",
    "core/downstream.py": "tests/core/test_stream.py and tests/core/test_masks.py",
    "core/events.py": "plain data; every test of core/stream.py sends them",
    "engine/causal_step.py": "tests/engine/test_runner.py and test_causal.py",
    "engine/identity.py": "tests/transports/test_engine_remote.py",
    "engine/job.py": "tests/engine/test_runner.py",
    "engine/manifest.py": "tests/engine/test_pack.py",
    "engine/manifest_causal.py": "tests/engine/test_pack.py",
    "engine/window_step.py": "tests/engine/test_window.py",
    "engine/scorer.py": "a protocol; tests/testing/test_scorers.py and tests/engine/test_causal.py hold it to its word",
    "observer.py": "plain data and a protocol; tests/telemetry receive all of it",
    "transports/outputs.py": "plain data",
    "client/events.py": "plain data; tests/client/test_stream.py",
    "wire/dialect.py": "a protocol; tests/wire/test_negotiate.py and test_chat_completions.py",
    "errors.py": "a tree of exceptions; messages are compared where they are raised",
    # Parts of one thing, tested through what uses them.
    "client/failures.py": "tests/client/test_client.py",
    "client/requests.py": "tests/client/test_client.py",
    "interventions/documents.py": "tests/interventions/test_resources.py and test_templates.py",
    "interventions/listings.py": "tests/interventions/test_resources.py",
    "interventions/locales.py": "tests/interventions/test_composer.py",
    "interventions/referrals.py": "tests/interventions/test_composer.py",
    "interventions/rotation.py": "tests/interventions/test_composer.py",
    "testing/composers.py": "one fixed sentence, read by half of the tests",
    "testing/upstream.py": "tests/e2e run on it",
    "transports/assessment.py": "tests/app/test_offline.py and tests/transports/test_grpc_native.py",
    "transports/ext_proc_messages.py": "tests/transports/test_ext_proc.py",
    "transports/grpc_messages.py": "tests/transports/test_grpc_native.py",
    "transports/context.py": "tests/transports/test_driver.py",
    "transports/reporter.py": "tests/transports/test_driver.py",
    "transports/services.py": "tests/transports/test_driver.py",
    "transports/http_context.py": "tests/e2e, behind a real Envoy",
    "transports/engine_session.py": "tests/transports/test_engine_remote.py",
    "transports/tasks.py": "every test of a transport",
    "wire/chat_fields.py": "tests/wire/test_chat_completions.py",
    "wire/chat_share.py": "tests/wire/test_chat_completions.py",
    "wire/jsontext.py": "tests/wire/test_chat_completions.py",
    # Processes.
    "app/credentials.py": "tests/e2e/test_engine_process.py",
    "app/engine.py": "tests/e2e/test_engine_process.py",
    "app/envoy_process.py": "tests/e2e, with a real Envoy",
    "app/run.py": "tests/e2e, as a process",
    "app/server.py": "tests/e2e, as a process",
    "app/signals.py": "tests/e2e, as a process",
}
"""Modules without a test module of their own, and why. A module that gets one leaves this list."""


def modules() -> list[str]:
    found = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
    plain = {"__init__.py", "__main__.py"}
    return sorted(
        str(path) for path in found if path.parts[0] not in {"_pb", "packs"} and path.name not in plain
    )


def mirror_of(module: str) -> Path:
    path = TESTS / module
    return path.with_name(f"test_{path.name}")


def test_every_module_has_a_test_module_or_a_reason():
    bare = [module for module in modules() if not mirror_of(module).exists()]
    assert [module for module in bare if module not in TESTED_ELSEWHERE] == []


def test_no_reason_outlives_what_it_was_for():
    gone = [module for module in TESTED_ELSEWHERE if module not in modules()]
    tested = [module for module in TESTED_ELSEWHERE if mirror_of(module).exists()]
    assert (gone, tested) == ([], [])


@pytest.mark.parametrize("reason", sorted(set(TESTED_ELSEWHERE.values())))
def test_a_reason_names_tests_that_exist(reason):
    for named in re.findall(r"tests/[\w/.]+\w", reason):
        assert (ROOT / named).exists(), named


# -- invariants ------------------------------------------------------------------------------------

INVARIANTS = range(1, 13)


def test_every_invariant_is_named_by_a_test():
    named: set[int] = set()
    for path in TESTS.rglob("*.py"):
        if path != Path(__file__):
            for numbers in re.findall(
                r"invariants?[ _](\d+(?:(?:, | and | to )\d+)*)", path.read_text("utf-8")
            ):
                first, *others = [int(number) for number in re.findall(r"\d+", numbers)]
                named |= set(range(first, others[-1] + 1)) if " to " in numbers else {first, *others}
    assert sorted(set(INVARIANTS) - named) == [], "invariants of the design that no test names"


# -- what no file of the repository holds ----------------------------------------------------------

TOP = ("guardrail", "tests", "classifiers", "proto", "benchmarks", "deploy", "docs", ".ci")
TEXT = {
    ".py",
    ".pyi",
    ".md",
    ".yaml",
    ".yml",
    ".toml",
    ".txt",
    ".json",
    ".jsonl",
    ".proto",
    ".sh",
    ".tpl",
    ".cfg",
    "",
}
FORBIDDEN = {
    "a path of somebody's machine": re.compile(r"(?<![\w.$}~/])/(?:root|home/[a-z]+|Users/[A-Za-z]+|work)/"),
    "a registry's address": re.compile(r"(?:extra-)?index-url\s*[= ]|/simple/(?:\s|$)|trusted-host\s*[= ]"),
    "a key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bAKIA[0-9A-Z]{16}\b"),
    "a conflict": re.compile(r"^(?:<{7}|>{7}) ", re.MULTILINE),
}
NAMES_THEM = {"tests/test_house.py", "tests/docs/test_docs.py"}


def texts() -> list[Path]:
    files = [path for path in ROOT.iterdir() if path.is_file() and not path.name.startswith(".")]
    for name in TOP:
        files += (path for path in (ROOT / name).rglob("*") if path.is_file())
    return [
        path
        for path in files
        if path.suffix in TEXT
        and "__pycache__" not in path.parts
        and str(path.relative_to(ROOT)) not in NAMES_THEM
    ]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what):
    pattern = FORBIDDEN[what]
    found = [
        f"{path.relative_to(ROOT)}: {match[0]!r}"
        for path in texts()
        if (match := pattern.search(path.read_text("utf-8", errors="replace")))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("a path of somebody's machine", "see /home/" + "someone/notes"),
        ("a path of somebody's machine", "'/wo" + "rk/x'"),
        ("a registry's address", "pip install --index-url" + " https://x"),
        ("a key", "-----BEGIN RSA " + "PRIVATE KEY-----"),
        ("a conflict", "a\n<<<<<<< " + "HEAD\n"),
    ],
)
def test_what_is_forbidden_would_be_found(what, line):
    assert FORBIDDEN[what].search(line)


# -- the package -----------------------------------------------------------------------------------


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").is_file()


def test_the_changelog_has_the_version():
    changelog = ROOT / "CHANGELOG.md"
    if not changelog.exists():
        pytest.skip("there is no CHANGELOG.md here")
    assert f"## [{guardrail.__version__}]" in changelog.read_text("utf-8")


def trees():
    for module in modules():
        yield module, ast.parse((PACKAGE / module).read_text("utf-8"))


def test_nothing_in_the_package_imports_tests_or_what_makes_the_models():
    found = []
    for module, tree in trees():
        for node in ast.walk(tree):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [
                f"{module}: {n}" for n in names if n.split(".")[0] in {"tests", "classifiers", "pytest"}
            ]
    assert found == []


def test_no_class_is_a_manager_handler_helper_or_the_like():
    vague = re.compile(r"(?:Manager|Handler|Helper|Utils?|Impl|Base)$")
    # A handler of ``logging`` is called that in its own protocol.
    classes = [
        f"{module}: {node.name}"
        for module, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and vague.search(node.name)
        and not any(ast.unparse(base).startswith(("logging.", "grpc.")) for base in node.bases)
    ]
    assert classes == []


def test_every_marker_that_tests_use_is_explained():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    known = {line.split(":")[0] for line in config["tool"]["pytest"]["ini_options"]["markers"]}
    known |= {"parametrize", "asyncio", "skipif", "skip", "usefixtures", "timeout", "xfail", "filterwarnings"}
    used = {
        mark
        for path in TESTS.rglob("*.py")
        for mark in re.findall(r"pytest\.mark\.(\w+)", path.read_text("utf-8"))
    }
    assert used <= known
