"""The Envoy configurations we generate, and what we refuse to generate one for."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from guardrail.app.envoy_config import (
    Upstream,
    bootstrap,
    ext_proc_filter,
    filter_fragment,
    parse_listen,
    parse_upstream,
    sidecar_cluster,
    upstream_cluster,
)
from guardrail.app.envoy_process import find_envoy
from guardrail.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "upstream"),
    [
        ("http://127.0.0.1:8000", Upstream("127.0.0.1", 8000, tls=False, path="")),
        ("http://llm", Upstream("llm", 80, tls=False, path="")),
        ("https://api.example.org", Upstream("api.example.org", 443, tls=True, path="")),
        ("https://api.example.org:8443/base/", Upstream("api.example.org", 8443, tls=True, path="/base")),
        ("http://[::1]:9000", Upstream("::1", 9000, tls=False, path="")),
    ],
)
def test_an_upstream_is_read_from_its_url(url, upstream):
    assert parse_upstream(url) == upstream


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "ftp://x",
        "http://",
        "http://x:99999",
        "http://x:a",
        "http://x?y=1",
        "http://x#y",
    ],
)
def test_what_is_no_url_of_a_server_is_refused(url):
    with pytest.raises(ConfigError, match="--upstream"):
        parse_upstream(url)


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        (":0", ("0.0.0.0", 0)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_an_address_is_split(listen, address):
    assert parse_listen(listen) == address


@pytest.mark.parametrize("listen", ["", "8080", "host", "host:", "host:x", "host:65536", "host:-1"])
def test_what_is_no_address_is_refused(listen):
    with pytest.raises(ConfigError, match="must be HOST:PORT"):
        parse_listen(listen)


def test_bodies_stream_both_ways_and_a_dead_sidecar_lets_nothing_pass():  # invariants 2 and 7
    config = ext_proc_filter()["typed_config"]
    mode = config["processing_mode"]
    assert {mode["request_body_mode"], mode["response_body_mode"]} == {"FULL_DUPLEX_STREAMED"}
    # Envoy refuses full duplex without trailers.
    assert {mode["request_trailer_mode"], mode["response_trailer_mode"]} == {"SEND"}
    assert config["failure_mode_allow"] is False


def test_busy_servers_are_not_cut_by_envoys_default_circuit_breaker():
    for cluster in (sidecar_cluster("127.0.0.1:1"), upstream_cluster(parse_upstream("http://x"))):
        (limits,) = cluster["circuit_breakers"]["thresholds"]
        assert limits["max_requests"] > 1024


def test_a_long_answer_is_not_cut_by_a_route_timeout():
    config = bootstrap(parse_upstream("http://x"), "127.0.0.1:0", "127.0.0.1:1")
    (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
    manager = chain["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    assert host["routes"][0]["route"]["timeout"] == "0s"
    # Minutes may pass before an answer's first word; for ever it must not take (invariant 10).
    assert int(manager["stream_idle_timeout"].removesuffix("s")) >= 600


def test_the_admin_interface_is_closed_unless_asked_for_and_never_public():
    arguments = (parse_upstream("http://x"), "127.0.0.1:0", "127.0.0.1:1")
    assert "admin" not in bootstrap(*arguments)
    admin = bootstrap(*arguments, admin=True)["admin"]["address"]["socket_address"]
    assert admin == {"address": "127.0.0.1", "port_value": 0}


def test_a_tls_upstream_is_verified_by_name():
    transport = upstream_cluster(parse_upstream("https://api.example.org"))["transport_socket"][
        "typed_config"
    ]
    assert transport["sni"] == "api.example.org"
    assert transport["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"]


def test_a_fragment_holds_the_filter_and_the_sidecar_and_no_upstream():
    fragment = filter_fragment("unix:/run/guardrail.sock")
    assert [cluster["name"] for cluster in fragment["clusters"]] == ["guardrail"]
    address = fragment["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"][
        "address"
    ]
    assert address == {"pipe": {"path": "/run/guardrail.sock"}}
    assert fragment["http_filters"][0] == ext_proc_filter()


@pytest.fixture(scope="session")
def envoy():
    try:
        return find_envoy()
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("upstream", "sidecar", "admin"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:50051", False),
        ("http://127.0.0.1:8000/base", "unix:/tmp/guardrail.sock", True),
        ("https://api.example.org", "sidecar.example.org:50051", False),
        ("http://127.0.0.1:9", "unix:/run/a.1.sock,unix:/run/a.2.sock", False),
    ],
)
def test_envoy_itself_accepts_the_configuration(envoy, upstream, sidecar, admin, tmp_path):
    path = tmp_path / "envoy.yaml"
    config = bootstrap(parse_upstream(upstream), "127.0.0.1:0", sidecar, admin=admin)
    path.write_text(yaml.safe_dump(config))
    told = subprocess.run(
        [envoy, "--mode", "validate", "-c", path], capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 0, told.stderr
