"""``score`` and ``replay``: the pipeline over files, several rows at a time, answers in the rows' order."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

from guardrail.app import records_io as rows
from guardrail.core.verdicts import Finding, Kind
from guardrail.errors import InputError
from guardrail.policy.rules import Severity, kind
from guardrail.transports.assessment import assess
from guardrail.transports.driver import StreamDriver
from guardrail.transports.outputs import Inserted, LaneClosed, Released, StreamClosed, StreamOpening
from guardrail.transports.services import Services
from guardrail.transports.tasks import spawn

CONCURRENT_ROWS = 32
"""Rows under way at a time: as many lanes share a scoring step."""
CLEAR = 2
"""Severity from which a finding flags a text even where the policy only annotates."""
_LANE = "choice/0"

Progress = Callable[[int], None]
"""Told how many rows are done."""
Row = dict[str, Any]


async def score(services: Services, source: Path, target: Path, progress: Progress) -> int:
    """Score each row's text as a stream would have seen it; the number of rows."""

    async def one(where: str, row: Row) -> Row:
        text, role = rows.text(where, row, "text"), rows.role(where, row.get("role"))
        assessment = await assess(services, text, role, rows.messages(where, row))
        flagged = [f for f in assessment.findings if f.severity >= CLEAR or acts(services, f)]
        found = min(
            flagged or assessment.findings,
            key=lambda finding: (-finding.severity, finding.span.start),
            default=None,
        )
        return {
            "id": row["id"],
            "max": {name: round(assessment.max.get(name, 0.0), 6) for name in services.scorer.categories},
            "flagged": bool(flagged),
            "category": found.category if found else None,
            "severity": found.severity if found else 0,
            "onset": found.span.start if found else None,
        }

    return await _each(source, target, one, progress)


def acts(services: Services, finding: Finding) -> bool:
    """Whether the policy would change the client's stream for such a finding."""
    rules = services.policy.categories[finding.category]
    by_role = rules.role(finding.role)
    if by_role is None:
        return False
    chosen = by_role.interventions[cast("Severity", finding.severity)]
    return rules.clamp(kind(chosen), finding.severity) > Kind.ANNOTATE


async def replay(services: Services, source: Path, target: Path, progress: Progress) -> int:
    """Run each recorded stream through the whole pipeline; the number of rows."""

    async def one(where: str, row: Row) -> Row:
        chunks = row.get("chunks")
        if not isinstance(chunks, list) or not all(isinstance(chunk, str) for chunk in chunks):
            raise InputError(where, "chunks must be a list of strings")
        opening = StreamOpening(
            str(row["id"]),
            "replay",
            "text",
            rows.messages(where, row),
            locale=rows.text(where, row, "locale", ""),
        )
        driver = StreamDriver(opening, services)
        await driver.start()
        feeding = spawn(_feed(driver, chunks), name=f"replay {where}")
        try:
            return {"id": row["id"], **await _collect(driver)}
        finally:
            feeding.cancel()
            await driver.cancel("cancelled")

    return await _each(source, target, one, progress)


async def _feed(driver: StreamDriver, chunks: list[str]) -> None:
    for chunk in chunks:
        await driver.chunk(_LANE, chunk)
    await driver.end_lane(_LANE)
    await driver.end()


async def _collect(driver: StreamDriver) -> Row:
    client: list[str] = []
    interventions: list[Row] = []
    released, released_before, withheld, finish_reason = 0, None, 0, "stop"
    async for output in driver.outputs():
        match output:
            case Released(text=text, end=end):
                client.append(text)
                released = end
            case Inserted(intervention=done):
                if done.text:
                    client.append(done.text)
                    released_before = done.at if released_before is None else released_before
                interventions.append(
                    {
                        "kind": done.kind,
                        "category": done.category,
                        "severity": done.severity,
                        "at": done.at,
                        "text": done.text,
                        "resources": [resource.id for resource in done.resources],
                    },
                )
            case LaneClosed(finish_reason=reason):
                finish_reason = reason or "stop"
            case StreamClosed():
                withheld = output.withheld
    return {
        "client_text": "".join(client),
        "released_before": released if released_before is None else released_before,
        "interventions": interventions,
        "finish_reason": finish_reason,
        "withheld": withheld,
    }


async def _each(
    source: Path,
    target: Path,
    one: Callable[[str, Row], Awaitable[Row]],
    progress: Progress,
) -> int:
    """Put every row through ``one``, a bounded number at a time, and write the answers in order.

    The answers go to a file beside ``target`` that takes its place at the end: a command that fails
    leaves no half-written output behind.
    """
    partial = target.with_name(target.name + ".partial")
    done = 0
    try:
        with partial.open("w", encoding="utf-8") as out:
            async for answer in _in_order(rows.read_rows(source), one):
                out.write(json.dumps(answer, ensure_ascii=False) + "\n")
                done += 1
                progress(done)
        partial.replace(target)
    except OSError as error:
        raise InputError(str(target), error.strerror or str(error)) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return done


async def _in_order(
    source: Iterator[tuple[str, Row]],
    one: Callable[[str, Row], Awaitable[Row]],
) -> AsyncIterator[Row]:
    async def answer(where: str, row: Row) -> Row:
        return await one(where, row)

    under_way: deque[asyncio.Task[Row]] = deque()
    try:
        for where, row in source:
            under_way.append(spawn(answer(where, row), name=where, awaited=True))
            if len(under_way) >= CONCURRENT_ROWS:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
