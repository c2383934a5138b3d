"""The flags and their help. Each flag of a running sidecar is also an environment variable ``GUARDRAIL_<FLAG>``.

Values from the environment are checked like flags; a flag given wins.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

from guardrail import __version__
from guardrail.app.envoy_config import parse_listen
from guardrail.app.wiring import Settings
from guardrail.errors import ConfigError
from guardrail.telemetry.logs import LEVELS

EPILOG = "Exit codes: 0 done, 1 failed, 2 bad input or usage. Each flag is also GUARDRAIL_<FLAG> in the environment."

_SWITCH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}


class _Flags:
    """Adds flags whose defaults come from the environment."""

    def __init__(self, parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
        self._parser = parser
        self._environ = environ

    def add(self, name: str, text: str, *, default: Any = None, **options: Any) -> None:
        variable = "GUARDRAIL_" + name.removeprefix("--").replace("-", "_").upper()
        value = self._environ.get(variable)
        if value is not None:
            default = _from_environment(variable, value, options)
            options.pop("required", None)
        if default is not False and default not in (None, "") and "%(default)" not in text:
            text += " (default: %(default)s)"
        self._parser.add_argument(name, default=default, help=text, **options)


def _from_environment(variable: str, value: str, options: Mapping[str, Any]) -> Any:
    """A flag's value as a variable gives it, checked as the flag is."""
    if options.get("action") == "store_true":
        if value.lower() not in _SWITCH:
            raise ConfigError(variable, "", f"must be true or false, got {value!r}")
        return _SWITCH[value.lower()]
    choices = options.get("choices")
    if choices and value not in choices:
        raise ConfigError(variable, "", f"must be one of {', '.join(choices)}, got {value!r}")
    try:
        return options.get("type", str)(value)
    except ValueError as error:
        raise ConfigError(variable, "", f"{value!r} is not a valid value") from error


def build_parser(environ: Mapping[str, str] = os.environ) -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="guardrail",
        description="A sidecar that guards LLM token streams and steps in constructively, in mid-stream.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"guardrail {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> _Flags:
        sub = commands.add_parser(
            name, help=text, description=text[:1].upper() + text[1:] + ".", epilog=EPILOG
        )
        return _Flags(sub, environ)

    up = command("up", "guard an OpenAI-compatible server: sidecar and Envoy in front of it")
    up.add("--upstream", "URL of the LLM server, e.g. http://127.0.0.1:8000", required=True, metavar="URL")
    up.add(
        "--listen",
        "where clients connect; port 0 takes a free one",
        default="127.0.0.1:8080",
        metavar="HOST:PORT",
    )
    up.add(
        "--envoy-concurrency", "Envoy's worker threads", type=_positive, default=min(2, os.cpu_count() or 1)
    )
    _running(up)
    _workers(up)

    serve = command("serve", "run the gRPC sidecar alone: guardrail.v1, ext_proc, health, reflection")
    serve.add("--listen", "HOST:PORT or unix:PATH", default="127.0.0.1:50051", metavar="ADDRESS")
    _running(serve)
    _workers(serve)
    serve.add(
        "--share-port",
        "let other processes listen on the same port (SO_REUSEPORT); the kernel spreads connections",
        action="store_true",
        default=False,
    )

    engine = command("engine", "run the scoring engine as a process of its own, for many sidecars")
    engine.add(
        "--listen",
        "unix:PATH or HOST:PORT; TCP is for trusted networks, or with --tls",
        default=f"unix:{environ.get('XDG_RUNTIME_DIR') or '/run'}/guardrail/engine.sock",
        metavar="ADDRESS",
    )
    engine.add(
        "--socket-mode",
        "permissions of the Unix socket, octal: 600 for its owner, 660 for its group as well",
        type=_mode,
        default="600",
        metavar="MODE",
    )
    engine.add(
        "--tls",
        "mutual TLS: a directory with tls.crt, tls.key and ca.crt, which signed the sidecars' certificates",
        type=Path,
        metavar="DIR",
    )
    _classifying(engine)
    _process(engine)

    envoy = command("envoy-config", "print an Envoy configuration, or the filter alone")
    envoy.add("--upstream", "URL of the LLM server", metavar="URL")
    envoy.add("--listen", "where clients connect", default="127.0.0.1:8080", metavar="HOST:PORT")
    envoy.add("--sidecar", "where the sidecar listens: HOST:PORT or unix:PATH", default="127.0.0.1:50051")
    envoy.add(
        "--filter-only",
        "print the HTTP filter and the sidecar's cluster only",
        action="store_true",
        default=False,
    )

    for name, text in (
        ("score", "score texts of a JSON-lines file, as a stream would have seen them"),
        ("replay", "run recorded streams of a JSON-lines file through the whole pipeline"),
    ):
        offline = command(name, text)
        offline.add("--input", "rows to read", type=Path, required=True, metavar="F.jsonl")
        offline.add(
            "--output",
            "where to write, one answer a row, same order",
            type=Path,
            required=True,
            metavar="G.jsonl",
        )
        _judging(offline)

    check = command("check-config", "validate a policy file")
    check._parser.add_argument("file", type=Path, metavar="FILE", help="policy file")  # noqa: SLF001 - a positional
    check.add("--pack", "check against this pack instead of the policy's", default="")
    check.add("--json", "answer as JSON", action="store_true", default=False)

    doctor = command("doctor", "check providers, packs, checksums, Envoy, versions and resources")
    _judging(doctor)
    _engine(doctor)
    doctor.add("--json", "answer as JSON", action="store_true", default=False)
    return parser


def _classifying(flags: _Flags) -> None:
    """Flags of everything that runs a classifier."""
    flags.add("--policy", "policy file; without it the default policy", type=Path, metavar="FILE")
    flags.add(
        "--pack", "classifier pack of any family, by name or directory; without it the policy's", default=""
    )
    flags.add(
        "--provider",
        "where the classifier runs; cuda fails where CUDA does not work",
        choices=("auto", "cpu", "cuda"),
        default="auto",
    )
    flags.add("--threads", "CPU threads of a scoring step; 0: one a core", type=_natural, default=0)


def _judging(flags: _Flags) -> None:
    """Flags of everything that scores and decides."""
    _classifying(flags)
    flags.add(
        "--templates", "directory of your own words, laid over the shipped ones", type=Path, metavar="DIR"
    )
    flags.add(
        "--resources",
        "file of your own places where help is, laid over the shipped ones",
        type=Path,
        metavar="FILE",
    )


def _engine(flags: _Flags) -> None:
    """Flags of everything that may use an engine in another process."""
    flags.add(
        "--engine",
        "score on the engine at HOST:PORT or unix:PATH instead of in this process",
        default="",
        metavar="ADDRESS",
    )
    flags.add(
        "--engine-tls",
        "mutual TLS with that engine: a directory with tls.crt, tls.key and ca.crt",
        type=Path,
        metavar="DIR",
    )


def _workers(flags: _Flags) -> None:
    """Flags of commands that may run several sidecar processes."""
    flags.add(
        "--workers",
        "sidecar processes; more than one share an engine process, which is started unless --engine names one",
        type=_positive,
        default=1,
    )


def _running(flags: _Flags) -> None:
    """Flags of every sidecar."""
    _judging(flags)
    _engine(flags)
    flags.add(
        "--audit", "audit log, one JSON line an intervention: a path, or - for standard output", default=""
    )
    flags.add("--tenants", "comma-separated tenants that may appear as a metric label", default="")
    _process(flags)


def _process(flags: _Flags) -> None:
    """Flags of everything that serves."""
    flags.add(
        "--grace-s", "seconds that streams under way may take when told to stop", type=_seconds, default=10.0
    )
    flags.add("--log-level", "least severe message to log", choices=tuple(LEVELS), default="info")
    flags.add("--log-format", "how to log, on standard error", choices=("text", "json"), default="text")


def settings_of(arguments: argparse.Namespace) -> Settings:
    """What the application is told.

    Raises:
        ConfigError: a flag contradicts another, or is no address.
    """
    engine, engine_tls = getattr(arguments, "engine", ""), getattr(arguments, "engine_tls", None)
    if engine and not engine.startswith("unix:"):
        parse_listen(engine, "--engine")
    if engine_tls is not None and not engine:
        raise ConfigError("--engine-tls", "", "needs --engine: it is for an engine in another process")
    tenants = getattr(arguments, "tenants", "")
    return Settings(
        policy=arguments.policy,
        pack=arguments.pack,
        provider=arguments.provider,
        threads=arguments.threads,
        audit=getattr(arguments, "audit", ""),
        templates=getattr(arguments, "templates", None),
        resources=getattr(arguments, "resources", None),
        tenants=tuple(name.strip() for name in tenants.split(",") if name.strip()),
        engine=engine,
        engine_tls=engine_tls,
    )


def command_line(command: str, arguments: argparse.Namespace) -> list[str]:
    """The command line of a child process: ``command`` with the flags that it shares with ours.

    Where to listen, how many workers and which engine are the caller's to say.
    """
    line = [command]
    for action in _actions(command):
        value = getattr(arguments, action.dest, None)
        if action.dest in _NOT_HANDED_ON or value is None or value is False or value == "":
            continue
        line += [action.option_strings[0]] if value is True else [action.option_strings[0], str(value)]
    return line


_NOT_HANDED_ON = frozenset({"help", "listen", "workers", "engine", "share_port"})


def _actions(command: str) -> Sequence[argparse.Action]:
    # Argparse has no public way to ask.
    (commands,) = (
        action
        for action in build_parser({})._actions  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction)  # noqa: SLF001
    )
    flags: Sequence[argparse.Action] = commands.choices[command]._actions  # noqa: SLF001
    return flags


def _natural(value: str) -> int:
    number = int(value)
    if number < 0:
        raise ValueError(value)
    return number


def _seconds(value: str) -> float:
    number = float(value)
    if not 0 <= number < inf:
        raise ValueError(value)
    return number


def _positive(value: str) -> int:
    if _natural(value) < 1:
        raise ValueError(value)
    return int(value)


def _mode(value: str) -> int:
    mode = int(value, 8)
    if mode & ~0o777:
        raise ValueError(value)
    return mode
