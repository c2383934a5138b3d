"""From settings to ``Services``: policy, pack, composer and telemetry, loaded and checked against each other.

Everything that can be wrong is found here, before the first stream (invariant 9).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Literal

import grpc

from guardrail.app.credentials import channel_credentials
from guardrail.config.policies import DEFAULT_POLICY, load_policy
from guardrail.core.verdicts import Role
from guardrail.engine.family import PackScorer
from guardrail.engine.identity import identity
from guardrail.engine.loading import load_scorer
from guardrail.engine.pack import Pack, load_pack
from guardrail.errors import ConfigError, PackError
from guardrail.interventions.composer import load_composer
from guardrail.observer import Observer, SilentObserver
from guardrail.policy.rules import Policy, with_operating_points
from guardrail.telemetry import Telemetry, telemetry
from guardrail.transports.engine_remote import RemoteScorer
from guardrail.transports.services import Services

Provider = Literal["auto", "cpu", "cuda"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one process is told by flags and environment variables."""

    policy: Path | None = None
    """Policy file; None is the policy that ships."""
    pack: str = ""
    """Classifier pack by name or directory; "" is the policy's."""
    provider: Provider = "auto"
    """Where the classifier runs."""
    threads: int = 0
    """Threads of one scoring step on the CPU; 0: one a core."""
    audit: str = ""
    """Audit log: a path, "-" for standard output, "" for none."""
    templates: Path | None = None
    """Directory of the operator's own words."""
    resources: Path | None = None
    """File of the operator's own places where help is."""
    tenants: tuple[str, ...] = ()
    """Tenants that may appear as a metric label."""
    engine: str = ""
    """Address of an engine in another process; "" scores in this one."""
    engine_tls: Path | None = None
    """Directory of what to speak TLS with to that engine; None is plaintext."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """Everything a process runs on; ``close`` gives it back."""

    services: Services
    scorer: PackScorer[Any] | RemoteScorer
    pack: Pack
    telemetry: Telemetry | None

    def close(self) -> None:
        """Stop the engine and send what telemetry still has; blocks for seconds at most."""
        if not isinstance(self.scorer, RemoteScorer):
            self.scorer.close()
        if self.telemetry is not None:
            self.telemetry.shutdown()


def load_checked_policy(path: Path | None, pack_name: str = "") -> tuple[Policy, Pack]:
    """A policy with its pack: thresholds filled in, categories the pack cannot score refused.

    Raises:
        ConfigError: the policy is wrong, or asks for what its pack cannot do.
        PackError: the pack asked for, or the default policy's, cannot be used.
    """
    policy = load_policy(path)
    source = str(path or DEFAULT_POLICY.name)
    try:
        pack = load_pack(pack_name or policy.pack)
    except PackError as error:
        if pack_name or path is None:
            raise
        raise ConfigError(source, "pack", str(error)) from error
    for name in policy.categories:
        if name not in pack.categories:
            reason = f"pack {pack.name} does not score it; it scores {', '.join(pack.categories)}"
            raise ConfigError(source, f"categories.{name}", reason)
    points = {role: pack.operating_points.get(role, {}) for role in (Role.USER, Role.ASSISTANT)}
    try:
        filled = with_operating_points(policy, points)
    except ValueError as error:
        raise ConfigError(
            source, "categories", f"with the operating points of pack {pack.name}: {error}"
        ) from error
    if not any(rules.role(role) for rules in filled.categories.values() for role in points):
        raise ConfigError(
            source, "categories", f"nothing is judged: pack {pack.name} advises against all of them"
        )
    return filled, pack


def assemble(
    settings: Settings,
    *,
    environ: Mapping[str, str] | None = None,
    offline: bool = False,
    observer: Observer | None = None,
) -> Sidecar:
    """Load everything a process needs; the classifier is warmed up when this returns.

    One in another process is not reached yet: that is ``RemoteScorer.start``.

    Args:
        settings: what the operator said.
        environ: where the ``OTEL_*`` variables are looked up; the process's if None.
        offline: no telemetry, for commands that work on files.
        observer: told of everything as well; offline, it alone is told.
    """
    policy, pack = load_checked_policy(settings.policy, settings.pack)
    composer = load_composer(settings.templates, settings.resources)
    told: Telemetry | None = None
    observer = observer or SilentObserver()
    if not offline:
        told = telemetry(
            environ or os.environ, audit=settings.audit, tenants=settings.tenants, also=[observer]
        )
        observer = told
    scorer: PackScorer[Any] | RemoteScorer
    if settings.engine:
        scorer = RemoteScorer(
            settings.engine,
            [identity(pack)],
            observer=observer,
            clock=time.monotonic,
            credentials=engine_credentials(settings),
        )
    else:
        scorer = load_scorer(
            pack,
            settings.provider,
            intra_op_threads=settings.threads,
            # Who waits for a file has time; text of a stream has a deadline.
            max_wait_s=inf if offline else policy.timing.engine_wait_s,
        )
        if told is not None:
            told.watch(scorer)
    services = Services(scorer, policy, composer, observer, time.monotonic)
    return Sidecar(services, scorer, pack, told)


def engine_credentials(settings: Settings) -> grpc.ChannelCredentials | None:
    """What to speak TLS with to the engine, if so told.

    Raises:
        ConfigError: a file is missing.
    """
    return channel_credentials(settings.engine_tls, "--engine-tls") if settings.engine_tls else None


def log_provider(scorer: PackScorer[Any], asked: Provider) -> None:
    """Say where a pack runs, and why not elsewhere."""
    why = f": {scorer.why_not_cuda}" if asked == "auto" and scorer.why_not_cuda else ""
    _log.info("pack %s runs on %s, asked for %s%s", scorer.name, scorer.provider, asked, why)
