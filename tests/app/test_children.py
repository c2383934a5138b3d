"""What a child process is given to live in; that it lives and dies is shown in tests/e2e/test_engine_process.py."""

from __future__ import annotations

from guardrail.app.children import environment


def test_our_own_variables_stay_here_and_others_are_handed_on():
    given = {"GUARDRAIL_LISTEN": "0.0.0.0:1", "GUARDRAIL_TLS": "/x", "PATH": "/bin", "OTEL_SERVICE_NAME": "s"}
    assert environment(given, "worker 1") == {"PATH": "/bin", "OTEL_SERVICE_NAME": "s"}


def test_metrics_of_several_processes_do_not_overwrite_each_other():
    given = {"OTEL_RESOURCE_ATTRIBUTES": "zone=a, service.instance.id=pod-7,team=b"}
    found = [environment(given, name)["OTEL_RESOURCE_ATTRIBUTES"] for name in ("engine", "worker 2")]
    assert found == [
        "zone=a, service.instance.id=pod-7-engine,team=b",
        "zone=a, service.instance.id=pod-7-worker-2,team=b",
    ]


def test_without_an_instance_id_the_sdk_makes_one_for_each():
    given = {"OTEL_RESOURCE_ATTRIBUTES": "zone=a"}
    assert environment(given, "engine") == given
