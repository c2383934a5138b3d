"""One Envoy for the session; each test finds it fresh and must leave nothing behind."""

from __future__ import annotations

import pytest_asyncio

from tests.e2e.stage import eventually, policy, staged


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running_stage():
    async with staged(policy()) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def stage(running_stage):
    running_stage.reset()
    yield running_stage
    # Invariant 10, after every test: whatever became of the client and the upstream, all was given back.
    await eventually(lambda: running_stage.scorer.open_lanes == 0)
    await eventually(lambda: all(e.outcome != "pending" for e in running_stage.upstream.exchanges))
