"""The ``guardrail`` command."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence

import yaml

from guardrail.app import doctor, engine, offline, run
from guardrail.app.envoy_config import bootstrap, filter_fragment, parse_listen, parse_upstream
from guardrail.app.wiring import assemble, described, load_checked_policy
from guardrail.app.workers import Crew
from guardrail.cli.flags import build_parser, command_line, names, settings_of
from guardrail.errors import ConfigError, GuardrailError, InputError, PackError, ProviderError
from guardrail.telemetry import configure_logging

_PROGRESS_EVERY = 50


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    try:
        parsed = build_parser().parse_args(arguments)
        return int(_COMMANDS[parsed.command](parsed) or 0)
    except (ConfigError, InputError) as error:
        print(f"guardrail: {error}", file=sys.stderr)
        return 2
    except (PackError, ProviderError, GuardrailError) as error:
        print(f"guardrail: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output has left: nothing is left to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _announce(line: str) -> None:
    print(line, flush=True)


def _up(parsed: argparse.Namespace) -> None:
    upstream = parse_upstream(parsed.upstream)
    parse_listen(parsed.listen)
    configure_logging(parsed.log_level, parsed.log_format)
    asyncio.run(
        run.up(
            settings_of(parsed),
            upstream,
            parsed.listen,
            _announce,
            grace_s=parsed.grace_s,
            concurrency=parsed.envoy_concurrency,
            crew=_crew(parsed) if parsed.workers > 1 else None,
        ),
    )


def _serve(parsed: argparse.Namespace) -> None:
    if not parsed.listen.startswith("unix:"):
        parse_listen(parsed.listen)
    configure_logging(parsed.log_level, parsed.log_format)
    settings = settings_of(parsed)
    if parsed.workers > 1:
        asyncio.run(run.serve_workers(_crew(parsed), parsed.listen, _announce))
        return
    asyncio.run(
        run.serve(
            settings,
            parsed.listen,
            _announce,
            grace_s=parsed.grace_s,
            share_port=parsed.share_port,
        ),
    )


def _crew(parsed: argparse.Namespace) -> Crew:
    return Crew(
        workers=parsed.workers,
        worker_arguments=command_line("serve", parsed),
        engine_arguments=command_line("engine", parsed),
        engine=parsed.engine,
        grace_s=parsed.grace_s,
    )


def _engine(parsed: argparse.Namespace) -> None:
    if not parsed.listen.startswith("unix:"):
        parse_listen(parsed.listen)
    configure_logging(parsed.log_level, parsed.log_format)
    listening = engine.Listening(address=parsed.listen, socket_mode=parsed.socket_mode, tls=parsed.tls)
    asyncio.run(engine.engine(settings_of(parsed), listening, _announce, grace_s=parsed.grace_s))


def _envoy_config(parsed: argparse.Namespace) -> None:
    if parsed.filter_only:
        config = filter_fragment(parsed.sidecar)
    elif parsed.upstream is None:
        raise ConfigError("--upstream", "", "is needed for a whole configuration (or ask for --filter-only)")
    else:
        config = bootstrap(parse_upstream(parsed.upstream), parsed.listen, parsed.sidecar)
    print(yaml.safe_dump(config, sort_keys=False), end="")


def _offline(parsed: argparse.Namespace) -> None:
    command = offline.score if parsed.command == "score" else offline.replay
    configure_logging("warning", "text")
    sidecar = assemble(settings_of(parsed), offline=True)
    try:
        count = asyncio.run(command(sidecar.services, parsed.input, parsed.output, _progress()))
    finally:
        sidecar.close()
    print(f"{count} rows written to {parsed.output}", file=sys.stderr)


def _progress() -> Callable[[int], None]:
    """Shows progress where a person is watching."""
    if not sys.stderr.isatty():
        return lambda _: None

    def show(done: int) -> None:
        if done % _PROGRESS_EVERY == 0:
            print(f"\r{done} rows", end="", file=sys.stderr, flush=True)

    return show


def _check_config(parsed: argparse.Namespace) -> int:
    try:
        policy, packs = load_checked_policy(parsed.file, names(parsed.pack))
    except ConfigError as error:
        if not parsed.json:
            raise
        where = {"file": error.source, "line": error.line, "key": error.key}
        print(json.dumps({"ok": False, **where, "reason": error.reason}))
        return 2
    except PackError as error:
        if not parsed.json:
            raise
        print(json.dumps({"ok": False, "file": error.pack, "line": None, "key": "", "reason": error.reason}))
        return 1
    told = ", ".join(described(policy, packs))
    if parsed.json:
        print(json.dumps({"ok": True, "name": policy.name, "pack": told}))
    else:
        print(f"{parsed.file}: ok: policy {policy.name}, {'pack' if len(packs) == 1 else 'packs'} {told}")
    return 0


def _doctor(parsed: argparse.Namespace) -> int:
    configure_logging("error", "text")
    checks = doctor.examine(settings_of(parsed))
    if parsed.json:
        print(json.dumps([dataclasses.asdict(check) for check in checks]))
    else:
        doctor.say(checks)
    return int(any(check.state == "fail" for check in checks))


_COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "up": _up,
    "serve": _serve,
    "engine": _engine,
    "envoy-config": _envoy_config,
    "score": _offline,
    "replay": _offline,
    "check-config": _check_config,
    "doctor": _doctor,
}
