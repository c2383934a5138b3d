"""From settings to ``Services``: policy, packs, composer and telemetry, loaded and checked against each other.

Everything that can be wrong is found here, before the first stream (invariant 9).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Literal

import grpc

from guardrail.app.credentials import channel_credentials
from guardrail.config.policies import DEFAULT_POLICY, load_policy
from guardrail.engine.ensemble import operating_points, parts
from guardrail.engine.family import NetworkScorer
from guardrail.engine.gate import Gate, Gating
from guardrail.engine.identity import identities
from guardrail.engine.loading import load_scorers
from guardrail.engine.pack import Pack, load_pack
from guardrail.engine.scorer import LoadedScorer
from guardrail.errors import ConfigError, PackError
from guardrail.interventions.composer import load_composer
from guardrail.observer import Observer, SilentObserver
from guardrail.policy.rules import PackRules, Policy, with_operating_points
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
    packs: tuple[str, ...] = ()
    """Classifier packs by name or directory; none: the policy's."""
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
    scorer: LoadedScorer | RemoteScorer
    packs: Sequence[Pack]
    telemetry: Telemetry | None

    def close(self) -> None:
        """Stop the engine and send what telemetry still has; blocks for seconds at most."""
        if not isinstance(self.scorer, RemoteScorer):
            self.scorer.close()
        if self.telemetry is not None:
            self.telemetry.shutdown()


def load_checked_policy(path: Path | None, pack_names: Sequence[str] = ()) -> tuple[Policy, Sequence[Pack]]:
    """A policy with its packs: thresholds filled in, categories that none of them scores refused.

    Args:
        path: the policy's file; None is the policy that ships.
        pack_names: packs by name or directory, in place of the policy's and of what it says of gates; none: the
            policy's.

    Returns:
        The policy with the packs that are in force under ``packs``, and these, in that order.

    Raises:
        ConfigError: the policy is wrong, or asks for what its packs cannot do.
        PackError: a pack asked for, or the default policy's, cannot be used.
    """
    policy = load_policy(path)
    source = str(path or DEFAULT_POLICY.name)
    if pack_names:
        named = [PackRules(pack=name) for name in dict.fromkeys(pack_names)]
        policy = replace(policy, pack="", packs=named)
    try:
        packs = [load_pack(name) for name in policy.pack_names]
    except PackError as error:
        if pack_names or path is None:
            raise
        raise ConfigError(source, "packs" if policy.packs else "pack", str(error)) from error
    _check_gates(source, policy, packs)
    silent = gating(policy).silent
    heard = [pack for place, pack in enumerate(packs) if place not in silent]
    told = f"pack{'s' if len(heard) > 1 else ''} {', '.join(pack.name for pack in heard)}"
    scored = dict.fromkeys(name for pack in heard for name in pack.categories)
    for name in policy.categories:
        if name not in scored:
            reason = f"is not scored by {told}; scored are {', '.join(scored)}"
            raise ConfigError(source, f"categories.{name}", reason)
    points = operating_points(heard)
    try:
        filled = with_operating_points(policy, points)
    except ValueError as error:
        raise ConfigError(source, "categories", f"with the operating points of {told}: {error}") from error
    if not any(rules.role(role) for rules in filled.categories.values() for role in points):
        raise ConfigError(source, "categories", f"nothing is judged: all are advised against by {told}")
    return filled, packs


def gating(policy: Policy) -> Gating:
    """What a policy says of gates, by the places of its packs."""
    places = {entry.pack: place for place, entry in enumerate(policy.packs)}
    return Gating(
        gates={
            place: (
                places[gate.pack],
                Gate(threshold=gate.threshold, categories=frozenset(gate.categories)),
            )
            for place, entry in enumerate(policy.packs)
            if (gate := entry.gated_by) is not None
        },
        silent=frozenset(place for place, entry in enumerate(policy.packs) if entry.gates_only),
    )


def described(policy: Policy, packs: Sequence[Pack]) -> list[str]:
    """Each pack with its version, and what it is gated by; for people."""
    found = gating(policy)
    said = []
    for place, pack in enumerate(packs):
        how = []
        if place in found.gates:
            at, rule = found.gates[place]
            how.append(f"gated by {packs[at].name} from {rule.threshold:g}")
        if place in found.silent:
            how.append("only gates")
        said.append(f"{pack.name} {pack.version}" + (f" ({', '.join(how)})" if how else ""))
    return said


def _check_gates(source: str, policy: Policy, packs: Sequence[Pack]) -> None:
    """A gate must see what it is to open, or nobody would ever ask the other pack."""
    for place, (at, rule) in gating(policy).gates.items():
        gate, heavy, key = packs[at], packs[place], f"packs.{place}.gated_by"
        for name in sorted(set(rule.categories).difference(gate.categories)):
            reason = f"{name} is not scored by {gate.name}; scored are {', '.join(gate.categories)}"
            raise ConfigError(source, f"{key}.categories", reason)
        ruled = [rules for name, rules in policy.categories.items() if name in heavy.categories]
        for role in sorted(heavy.judged - gate.judged):
            if all(rules.role(role) is None for rules in ruled):
                continue
            reason = f"{gate.name} does not read what the {role.value} says: {heavy.name} would never be asked there"
            raise ConfigError(source, f"{key}.pack", reason)


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
    policy, packs = load_checked_policy(settings.policy, settings.packs)
    composer = load_composer(settings.templates, settings.resources)
    told: Telemetry | None = None
    observer = observer or SilentObserver()
    if not offline:
        told = telemetry(
            environ or os.environ, audit=settings.audit, tenants=settings.tenants, also=[observer]
        )
        observer = told
    scorer: LoadedScorer | RemoteScorer
    if settings.engine:
        scorer = RemoteScorer(
            settings.engine,
            identities(packs, gating(policy)),
            observer=observer,
            clock=time.monotonic,
            credentials=engine_credentials(settings),
        )
    else:
        scorer = load_scorers(
            packs,
            settings.provider,
            gating=gating(policy),
            intra_op_threads=settings.threads,
            # Who waits for a file has time; text of a stream has a deadline.
            max_wait_s=inf if offline else policy.timing.engine_wait_s,
        )
        if told is not None:
            watch(told, scorer)
    services = Services(scorer, policy, composer, observer, time.monotonic)
    return Sidecar(services, scorer, packs, told)


def engine_credentials(settings: Settings) -> grpc.ChannelCredentials | None:
    """What to speak TLS with to the engine, if so told.

    Raises:
        ConfigError: a file is missing.
    """
    return channel_credentials(settings.engine_tls, "--engine-tls") if settings.engine_tls else None


def watch(told: Telemetry, scorer: LoadedScorer) -> None:
    """Tell of the engine behind each pack that has one."""
    for part in parts(scorer):
        if isinstance(part, NetworkScorer):
            told.watch(part)


def log_provider(scorer: LoadedScorer, asked: Provider) -> None:
    """Say where each pack runs, and why not elsewhere."""
    for part in parts(scorer):
        why = f": {part.why_not_cuda}" if asked != part.provider and part.why_not_cuda else ""
        _log.info("pack %s runs on %s, asked for %s%s", part.name, part.provider, asked, why)
