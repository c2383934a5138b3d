"""Where workers listen; that they do is shown in tests/e2e/test_engine_process.py."""

from __future__ import annotations

import pytest

from guardrail.app.workers import worker_sockets


@pytest.mark.parametrize(
    ("path", "sockets"),
    [
        ("/run/g/guardrail.sock", ["/run/g/guardrail.1.sock", "/run/g/guardrail.2.sock"]),
        ("/run/g/guardrail", ["/run/g/guardrail.1", "/run/g/guardrail.2"]),
        ("/run/v1.2/guardrail", ["/run/v1.2/guardrail.1", "/run/v1.2/guardrail.2"]),
    ],
)
def test_each_worker_has_a_socket_named_after_the_one_asked_for(path, sockets):
    assert worker_sockets(path, 2) == sockets
