"""Flags, their defaults, and the same from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardrail.app.wiring import Settings
from guardrail.cli.flags import build_parser, command_line, settings_of
from guardrail.errors import ConfigError

SCORE = ["score", "--input", "a", "--output", "b"]


def parse(arguments, **environ):
    return build_parser({f"GUARDRAIL_{name}": value for name, value in environ.items()}).parse_args(arguments)


def test_a_flag_can_come_from_the_environment():
    parsed = parse(["doctor"], POLICY="p.yaml", PROVIDER="cpu", THREADS="3", PACK="mine")
    assert (parsed.policy, parsed.provider, parsed.threads, parsed.pack) == (Path("p.yaml"), "cpu", 3, "mine")


def test_a_flag_given_wins_over_the_environment():
    assert parse(["doctor", "--threads", "1"], THREADS="3").threads == 1


def test_a_required_flag_may_come_from_the_environment():
    assert parse(["up"], UPSTREAM="http://x").upstream == "http://x"
    with pytest.raises(SystemExit) as caught:
        parse(["up"])
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("THREADS", "many", "not a valid value"),
        ("THREADS", "-1", "not a valid value"),
        ("PROVIDER", "gpu", "must be one of auto, cpu, cuda, got 'gpu'"),
        ("GRACE_S", "-2", "not a valid value"),
        ("GRACE_S", "nan", "not a valid value"),
        ("ENVOY_CONCURRENCY", "0", "not a valid value"),
        ("LOG_LEVEL", "loud", "must be one of"),
        ("JSON", "maybe", "must be true or false, got 'maybe'"),
    ],
)
def test_a_bad_value_from_the_environment_is_refused_by_the_variables_name(
    variable, value, reason
):  # invariant 9
    with pytest.raises(ConfigError, match=reason) as caught:
        parse(["doctor"], **{variable: value})
    assert caught.value.source == f"GUARDRAIL_{variable}"


@pytest.mark.parametrize(
    ("value", "on"), [("1", True), ("true", True), ("Yes", True), ("0", False), ("false", False), ("", False)]
)
def test_a_switch_from_the_environment_can_be_on_or_off(value, on):
    assert parse(["doctor"], JSON=value).json is on


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["frobnicate"],
        ["doctor", "--colour"],
        ["doctor", "--threads", "-1"],
        ["doctor", "--threads", "two"],
        ["doctor", "--provider", "tpu"],
        ["serve", "--grace-s", "inf"],
        ["serve", "--grace-s", "-1"],
        ["up", "--upstream", "http://x", "--envoy-concurrency", "0"],
        ["score", "--input", "a"],
        ["check-config"],
        ["check-config", "a", "b"],
    ],
    ids=" ".join,
)
def test_bad_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 2
    assert "usage: guardrail" in capsys.readouterr().err


def test_settings_carry_what_was_said():
    arguments = ["--policy", "p", "--pack", "k", "--provider", "cuda", "--threads", "2", "--audit", "-"]
    arguments += ["--templates", "t", "--resources", "r", "--tenants", "a, b,,c "]
    assert settings_of(parse(["serve", *arguments])) == Settings(
        policy=Path("p"),
        pack="k",
        provider="cuda",
        threads=2,
        audit="-",
        templates=Path("t"),
        resources=Path("r"),
        tenants=("a", "b", "c"),
    )


def test_commands_without_streams_have_settings_too():
    assert settings_of(parse(SCORE)) == Settings()


def test_a_child_gets_the_flags_it_knows_and_not_where_to_listen():
    given = ["--workers", "4", "--listen", "[::]:7", "--policy", "p.yaml", "--threads", "0", "--grace-s", "0"]
    parsed = parse(["serve", *given, "--audit", "-", "--engine", "unix:/e", "--engine-tls", "certs"])
    worker = parse(command_line("serve", parsed))
    kept = ("policy", "threads", "grace_s", "audit", "engine_tls", "log_level", "provider")
    assert {name: getattr(worker, name) for name in kept} == {name: getattr(parsed, name) for name in kept}
    assert (worker.workers, worker.engine, worker.listen) == (1, "", "127.0.0.1:50051")
    engine = parse(command_line("engine", parsed))
    assert (engine.policy, engine.threads, engine.grace_s, engine.tls) == (Path("p.yaml"), 0, 0.0, None)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--engine", "somewhere"), r"--engine: must be HOST:PORT, got 'somewhere'"),
        (("--engine-tls", "certs"), r"--engine-tls: needs --engine"),
    ],
)
def test_an_engine_that_makes_no_sense_is_refused(flags, reason):  # invariant 9
    with pytest.raises(ConfigError, match=reason):
        settings_of(parse(["serve", "--workers", "2", *flags]))


def test_workers_of_up_are_sidecars():
    parsed = parse(["up", "--upstream", "http://x", "--workers", "2", "--tenants", "a,b"])
    assert parse(command_line("serve", parsed)).tenants == "a,b"


def test_an_engine_listens_on_a_private_socket_unless_told_otherwise():
    parsed = parse(["engine"])
    assert (parsed.listen, parsed.socket_mode) == ("unix:/run/guardrail/engine.sock", 0o600)
    in_session = build_parser({"XDG_RUNTIME_DIR": "/run/user/7"}).parse_args(["engine"])
    assert in_session.listen == "unix:/run/user/7/guardrail/engine.sock"
    assert parse(["engine", "--socket-mode", "660"]).socket_mode == 0o660
    with pytest.raises(ConfigError, match="GUARDRAIL_SOCKET_MODE"):
        parse(["engine"], SOCKET_MODE="rw")
