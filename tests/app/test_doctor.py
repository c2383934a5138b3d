"""``doctor`` answers for everything, whatever is broken."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

import guardrail
from guardrail.app import doctor
from guardrail.app.doctor import Check, examine
from guardrail.app.wiring import Settings
from guardrail.errors import ConfigError, ProviderError
from tests.app.helpers import POLICY, FakeEngine, write_pack

TODAY = date(2026, 1, 1)
NAMES = ["versions", "policy", "policy", "pack", "provider", "envoy", "telemetry"]


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "load_scorer", lambda *_, **__: FakeEngine())
    monkeypatch.setattr(doctor, "find_envoy", lambda: Path("/bin/echo"))
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    return Settings(policy=policy, pack=str(write_pack(tmp_path / "toy")))


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_a_healthy_sidecar_has_nothing_that_fails(settings):
    checks = examine(settings, today=TODAY)
    assert [check.name for check in checks][: len(NAMES)] == NAMES
    assert not [check for check in checks if check.state == "fail"]


def test_versions_of_what_matters_are_named(settings):
    says = by_name(examine(settings, today=TODAY))["versions"].says
    assert f"guardrail {guardrail.__version__}" in says
    assert "grpcio " in says


def test_what_each_role_is_judged_for_is_said(settings):
    says = [check.says for check in examine(settings, today=TODAY) if check.name == "policy"]
    assert says == [
        "small (enforce) judges the user in: violence, mental_distress",
        "small (enforce) judges the assistant in: violence",
    ]


def test_what_was_asked_for_and_what_runs_is_said_and_why(settings):
    says = by_name(examine(settings, today=TODAY))["provider"].says
    assert says == "asked for auto, runs on cpu (there is no GPU in this test)"


@pytest.mark.parametrize(
    ("asked", "driver", "state"), [("auto", True, "warn"), ("auto", False, "ok"), ("cpu", True, "ok")]
)
def test_a_gpu_that_stands_idle_beside_the_cpu_is_a_warning(settings, monkeypatch, asked, driver, state):
    monkeypatch.setattr(doctor.cuda, "has_driver", lambda: driver)
    told = by_name(examine(replace(settings, provider=asked), today=TODAY))["provider"]
    assert told.state == state


def test_an_engine_nobody_answers_at_fails_and_stops_none_of_the_others(settings, tmp_path):
    address = f"unix:{tmp_path / 'nobody.sock'}"
    checks = by_name(examine(replace(settings, engine=address), today=TODAY))
    assert checks["engine"].state == "fail"
    assert address in checks["engine"].says
    assert "provider" not in checks
    assert {"versions", "policy", "envoy", "telemetry", "resources"} <= set(checks)


def test_the_engine_is_given_back(settings, monkeypatch):
    engine = FakeEngine()
    monkeypatch.setattr(doctor, "load_scorer", lambda *_, **__: engine)
    examine(settings, today=TODAY)
    assert engine.closed


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ProviderError("cuda was asked for and is not there"), "cuda was asked for and is not there"),
        (RuntimeError("the driver is out of order"), "RuntimeError: the driver is out of order"),
    ],
)
def test_a_check_that_breaks_fails_and_stops_none_of_the_others(settings, monkeypatch, error, says):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr(doctor, "load_scorer", broken)
    checks = examine(settings, today=TODAY)
    assert by_name(checks)["provider"] == Check("provider", "fail", says)
    assert {"versions", "policy", "envoy", "telemetry", "resources"} <= set(by_name(checks))


def test_a_policy_that_is_wrong_fails_by_its_key(settings):
    settings.policy.write_text(POLICY.replace("version: 1", "version: 3"))
    check = by_name(examine(settings, today=TODAY))["policy and pack"]
    assert check.state == "fail"
    assert "version" in check.says


def test_a_pack_whose_checksum_is_wrong_fails(settings):
    Path(settings.pack, "model.onnx").write_bytes(b"something else")
    check = by_name(examine(settings, today=TODAY))["policy and pack"]
    assert check.state == "fail"
    assert "checksum" in check.says


def test_a_missing_envoy_is_a_warning_because_only_up_needs_it(settings, monkeypatch):
    def missing():
        raise ConfigError("envoy", "", "no Envoy binary found")

    monkeypatch.setattr(doctor, "find_envoy", missing)
    check = by_name(examine(settings, today=TODAY))["envoy"]
    assert check.state == "warn"
    assert "no Envoy binary found" in check.says


def test_an_envoy_that_does_not_run_fails(settings, monkeypatch):
    monkeypatch.setattr(doctor, "find_envoy", lambda: Path("/bin/false"))
    assert by_name(examine(settings, today=TODAY))["envoy"].state == "fail"


def test_where_telemetry_goes_is_said(settings, monkeypatch):
    assert by_name(examine(settings, today=TODAY))["telemetry"].says.startswith("no OTLP endpoint set")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert "http://127.0.0.1:9" in by_name(examine(settings, today=TODAY))["telemetry"].says


def test_resources_nobody_verified_or_that_grew_old_are_listed(settings):
    says = [check.says for check in examine(settings, today=date(2099, 1, 1)) if check.name == "resources"]
    assert any("were never verified" in line for line in says)
    assert any("over a year old" in line for line in says)


def test_answers_are_printed_one_a_line(capsys):
    doctor.say([Check("a", "ok", "fine"), Check("b", "fail", "broken")])
    assert capsys.readouterr().out == "OK    a: fine\nFAIL  b: broken\n"
