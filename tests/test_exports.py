"""Public names are few and listed: what an application may import, and that nothing else slips out."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import guardrail

PUBLIC = {
    "guardrail.client": {
        "BlockingGuardClient", "Event", "Finding", "GuardClient", "GuardStream", "Intervention", "LaneClosed",
        "Opened", "Released", "Resource", "Score", "StopUpstream", "Summary", "TokenScore", "UnavailableError",
    },
    "guardrail.interventions": {
        "Catalogue", "Composer", "every_composition", "load_catalogue", "load_composer",
    },
    "guardrail.telemetry": {
        "AuditLog", "CompositeObserver", "MetricsObserver", "Telemetry", "TracingObserver", "configure_logging",
        "digest", "telemetry",
    },
}  # fmt: skip

KIT = {
    "guardrail.testing.chunking": {"at", "by_character", "randomly", "three_ways", "whole"},
    "guardrail.testing.composers": {"PlainComposer"},
    "guardrail.testing.playbook": {"LanePlayer", "Playbook"},
    "guardrail.testing.scorers": {"KeywordScorer", "score_phrases", "score_words"},
}
"""The test kit is imported by module; these names are what its users write."""


@pytest.mark.parametrize("package", PUBLIC)
def test_a_package_exports_what_is_listed_and_nothing_else(package):
    module = importlib.import_module(package)
    assert set(module.__all__) == PUBLIC[package]
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("module", KIT)
def test_the_kit_has_the_names_its_users_write(module):
    found = importlib.import_module(module)
    assert {name for name in KIT[module] if hasattr(found, name)} == KIT[module]
    defined = {
        name
        for name, value in vars(found).items()
        if getattr(value, "__module__", None) == module and callable(value) and not name.startswith("_")
    }
    assert defined == KIT[module], "a new public name of the kit is listed here, or private"


def test_the_version_is_a_string():
    assert guardrail.__version__.count(".") == 2


@pytest.mark.parametrize(
    ("imported", "strangers"),
    [
        # The core and the policy are standard library only.
        ("guardrail.core.stream", {"asyncio", "numpy", "grpc", "onnxruntime", "yaml", "pydantic"}),
        ("guardrail.policy.judge", {"asyncio", "numpy", "grpc", "onnxruntime", "yaml", "pydantic"}),
        # An application that only imports the client must not load a model runtime.
        ("guardrail.client", {"onnxruntime", "tokenizers", "guardrail.core", "guardrail.policy"}),
        # To know the interface is not to load a runtime.
        ("guardrail.engine.scorer", {"onnxruntime", "tokenizers", "numpy"}),
    ],
)
def test_importing_one_thing_does_not_load_another(imported, strangers):
    code = f"import {imported}, sys; print(*sorted(set(sys.modules) & {strangers!r}))"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert told.stdout.split() == []
