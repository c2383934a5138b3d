"""``guardrail doctor``: is what was asked for what would run, and what should an operator know?

Each check answers "ok", "warn" (works, but somebody should look) or "fail" (does not work).
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import guardrail
from guardrail.app.envoy_process import find_envoy
from guardrail.app.wiring import Settings, described, engine_credentials, gating, load_checked_policy
from guardrail.core.verdicts import Role
from guardrail.engine import cuda
from guardrail.engine.identity import Engine, identities
from guardrail.engine.loading import load_scorer
from guardrail.errors import GuardrailError
from guardrail.interventions.composer import load_composer
from guardrail.telemetry import telemetry
from guardrail.transports.engine_session import EngineUnreachableError, connect

_OLD_AFTER = timedelta(days=365)
_PACKAGES = (
    "grpcio",
    "protobuf",
    "onnxruntime-gpu",
    "onnxruntime",
    "tokenizers",
    "opentelemetry-sdk",
    "xds-protos",
)

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One answer."""

    name: str
    state: State
    says: str


def examine(settings: Settings, *, today: date | None = None) -> list[Check]:
    """Run every check; none of them stops the others."""
    today = today or datetime.now(UTC).date()
    checks: list[Check] = []
    for name, run in (
        ("versions", _versions),
        ("policy and pack", lambda: _policy(settings)),
        ("engine", lambda: _engine(settings))
        if settings.engine
        else ("provider", lambda: _provider(settings)),
        ("envoy", _envoy),
        ("telemetry", _telemetry),
        ("resources", lambda: _resources(settings, today)),
    ):
        checks += _guarded(name, run)
    return checks


def _guarded(name: str, run: Callable[[], Iterator[Check]]) -> list[Check]:
    found: list[Check] = []
    try:
        found.extend(run())
    except GuardrailError as error:
        found.append(Check(name, "fail", str(error)))
    except Exception as error:  # noqa: BLE001 - a check that breaks is an answer, and stops none of the others
        found.append(Check(name, "fail", f"{type(error).__name__}: {error}"))
    return found


def _versions() -> Iterator[Check]:
    installed = []
    for package in _PACKAGES:
        try:
            installed.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    says = f"guardrail {guardrail.__version__}, Python {platform.python_version()}, " + ", ".join(installed)
    yield Check("versions", "ok", says)


def _policy(settings: Settings) -> Iterator[Check]:
    policy, packs = load_checked_policy(settings.policy, settings.packs)
    for role in (Role.USER, Role.ASSISTANT):
        judged = [name for name, rules in policy.categories.items() if rules.role(role) is not None]
        yield Check(
            "policy", "ok", f"{policy.name} ({policy.mode}) judges the {role.value} in: {', '.join(judged)}"
        )
    for pack, told in zip(packs, described(policy, packs), strict=True):
        yield Check("pack", "ok", f"{told} ({pack.family}) in {pack.directory}, checksums match")


def _provider(settings: Settings) -> Iterator[Check]:
    _, packs = load_checked_policy(settings.policy, settings.packs)
    for pack in packs:
        scorer = load_scorer(pack, settings.provider, intra_op_threads=settings.threads)
        try:
            says = f"asked for {settings.provider}, runs on {scorer.provider}"
            if settings.provider != scorer.provider and scorer.why_not_cuda:
                says += f" ({scorer.why_not_cuda})"
            idle = settings.provider == "auto" and scorer.provider == "cpu" and cuda.has_driver()
            state: State = "warn" if idle and pack.family != "lexical" else "ok"
            yield Check("provider", state, says if len(packs) == 1 else f"{pack.name}: {says}")
        finally:
            scorer.close()


def _engine(settings: Settings) -> Iterator[Check]:
    """What runs at the address of an engine, and whether it is what the policy was checked against."""
    policy, packs = load_checked_policy(settings.policy, settings.packs)
    wanted = identities(packs, gating(policy))
    try:
        found = asyncio.run(_asked(settings))
    except EngineUnreachableError as error:
        yield Check("engine", "fail", f"{settings.engine}: {error}")
        return
    runs = ", ".join(map(str, found.packs))
    says = f"{settings.engine}: guardrail {found.version}, pack {runs} on {found.provider}"
    if found.why_not_cuda:
        says += f" ({found.why_not_cuda})"
    if set(found.packs) != set(wanted):
        checked = ", ".join(map(str, wanted))
        yield Check("engine", "fail", f"{says}; the policy was checked against {checked}")
    else:
        yield Check("engine", "ok", says)


async def _asked(settings: Settings) -> Engine:
    session = await connect(settings.engine, engine_credentials(settings))
    await session.close("that was all")
    return session.engine


def _envoy() -> Iterator[Check]:
    try:
        envoy = find_envoy()
    except GuardrailError as error:
        yield Check("envoy", "warn", f"{error} (only `guardrail up` needs it)")
        return
    try:
        told = subprocess.run(  # noqa: S603 - the binary find_envoy names
            [envoy, "--version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        yield Check("envoy", "fail", f"{envoy} does not run: {error}")
        return
    yield Check("envoy", "ok", " ".join(told.stdout.split()))


def _telemetry() -> Iterator[Check]:
    told = telemetry(os.environ)
    told.shutdown(timeout_s=1.0)
    endpoint = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    yield Check(
        "telemetry",
        "ok",
        f"exports to {endpoint}" if endpoint else "no OTLP endpoint set: nothing is exported",
    )


def _resources(settings: Settings, today: date) -> Iterator[Check]:
    catalogue = load_composer(settings.templates, settings.resources).catalogue
    unverified, old = catalogue.unverified(), catalogue.older_than(today - _OLD_AFTER)
    if unverified:
        says = f"{len(unverified)} entries were never verified (docs/operators/resources.md says how)"
        yield Check("resources", "warn", f"{says}: {', '.join(unverified)}")
    if old:
        verified = [name for name in old if name not in set(unverified)]  # the others are listed above
        says = f"{len(old)} entries rest on facts over a year old; verified, but long ago"
        yield Check("resources", "warn", f"{says}: {', '.join(verified) or 'none'}")
    below = catalogue.below_crisis_standard()
    if below:
        says = f"{len(below)} countries list no free, confidential, round-the-clock crisis line"
        yield Check("resources", "warn", f"{says}: {', '.join(below)}")
    if not unverified and not old:
        yield Check("resources", "ok", "all entries are verified and recent")


def say(checks: list[Check]) -> None:
    """Print checks for people."""
    for check in checks:
        print(f"{check.state.upper():4}  {check.name}: {check.says}", file=sys.stdout)  # noqa: T201 - its job
