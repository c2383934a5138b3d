"""``guardrail up`` as an operator runs it: a process of its own, signals, ports, and what it says.

The pack is real here, and its opinions are not asked: the policy's thresholds are out of reach.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal

import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from guardrail.testing.upstream import Answer, ScriptedUpstream, chat_chunk, chat_stream
from tests.e2e.commands import POLICY, failing, gone, running
from tests.e2e.http_client import ask, fetch, send, texts
from tests.e2e.stage import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def upstream():
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
def policy(tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    return str(file)


def endless():
    for n in itertools.count():
        yield chat_chunk(f" and {n}")
        yield 0.005


async def test_a_sidecar_that_is_killed_takes_envoy_with_it(upstream, policy):
    """Nothing unguarded may pass: the client's stream breaks, and nobody listens any more."""
    upstream.answer = Answer(endless())
    async with running("up", "--upstream", upstream.url, "--listen", "127.0.0.1:0", "--policy", policy) as up:
        envoy = await up.envoy()
        async with send(up.address, ask()) as request:
            await request.head()
            await request.until(b"and 20")
            up.process.send_signal(signal.SIGKILL)
            async with asyncio.timeout(30):
                response = await request.rest()
        assert not response.complete
        assert b"[DONE]" not in response.body
        assert (await upstream.exchanged()).outcome == "broken"
        await eventually(lambda: gone(envoy))
        await refused(up.address)
        assert len(upstream.exchanges) == 1


async def test_sigterm_lets_streams_finish_and_takes_no_more(upstream, policy):
    gate = asyncio.Event()
    first, *rest = chat_stream(["Rivers run.", " They end in the sea."])
    upstream.answer = Answer([first, rest[0], gate, *rest[1:]])
    listen = ("--listen", "127.0.0.1:0", "--policy", policy, "--grace-s", "60")
    async with running("up", "--upstream", upstream.url, *listen) as up:
        envoy = await up.envoy()
        async with send(up.address, ask()) as request:
            await request.head()
            await request.until(b"Rivers")
            up.process.send_signal(signal.SIGTERM)
            await refused(up.address)
            gate.set()
            response = await request.rest()
        assert response.complete
        assert response.body == b"".join([first, *rest])
        async with asyncio.timeout(60):
            assert await up.process.wait() == 0
        assert gone(envoy)
        assert await up.process.stderr.read() == b""


async def refused(address: str) -> None:
    """Wait until nobody listens there."""
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except ConnectionError:
                return
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            await asyncio.sleep(0.05)


async def test_a_rotated_audit_log_is_opened_anew_on_sighup(upstream, policy, tmp_path):
    upstream.answer = Answer(chat_stream(["Hello ", "there."]))
    log, rotated = tmp_path / "audit.jsonl", tmp_path / "audit.1"
    arguments = (
        "--upstream",
        upstream.url,
        "--listen",
        "127.0.0.1:0",
        "--policy",
        policy,
        "--audit",
        str(log),
    )
    async with running("up", *arguments) as guardrail:
        await fetch(guardrail.address, ask())
        await eventually(lambda: log.exists() and log.read_text().count("\n") == 1)
        log.rename(rotated)
        guardrail.process.send_signal(signal.SIGHUP)
        await eventually(log.exists)
        await fetch(guardrail.address, ask())
        await eventually(lambda: log.read_text().count("\n") == 1)
    assert rotated.read_text().count("\n") == 1


async def test_a_stream_that_outlasts_the_grace_is_cut(upstream, policy):
    upstream.answer = Answer(endless())
    listen = ("--listen", "127.0.0.1:0", "--policy", policy, "--grace-s", "0.5")
    async with running("up", "--upstream", upstream.url, *listen) as up, send(up.address, ask()) as request:
        await request.head()
        await request.until(b"and 5")
        up.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            response = await request.rest()
            assert await up.process.wait() == 0
        assert not response.complete
        assert (await upstream.exchanged()).outcome == "broken"


async def test_what_can_be_wrong_at_the_start_and_after(upstream, policy):
    """One process for several questions, because each costs a start."""
    upstream.answer = Answer(chat_stream(["Rivers run."], usage=True))
    async with running("up", "--upstream", upstream.url, "--listen", "127.0.0.1:0", "--policy", policy) as up:
        # The official client, through everything that ships.
        url = f"http://{up.address}/v1"
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client:
            messages = [{"role": "user", "content": "Hi."}]
            stream = await client.chat.completions.create(model="m", messages=messages, stream=True)
            chunks = [chunk async for chunk in stream]
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Rivers run."
        # A second one on the same port fails at its start, and says why.
        code, complaint = await failing("up", "--upstream", upstream.url, "--listen", up.address)
        assert code == 2
        assert up.address in complaint
        assert "in use" in complaint.lower()
        assert complaint.count("\n") == 1
        # It guards on as before.
        assert texts((await fetch(up.address, ask())).body) == {0: "Rivers run."}
        # Envoy's own end is an error, not a silent stop.
        os.kill(await up.envoy(), signal.SIGKILL)
        async with asyncio.timeout(60):
            assert await up.process.wait() == 1
        assert b"Envoy ended by itself" in await up.process.stderr.read()


async def test_an_upstream_that_is_down_is_a_503(policy):
    async with ScriptedUpstream() as scripted:
        url = scripted.url
    async with running("up", "--upstream", url, "--listen", "127.0.0.1:0", "--policy", policy) as up:
        response = await fetch(up.address, ask())
        assert (response.status, response.complete) == (503, True)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("up", "--upstream", "ftp://somewhere"), ["--upstream", "ftp://somewhere"]),
        (("up", "--upstream", "http://127.0.0.1:9", "--listen", "here"), ["--listen", "'here'"]),
        (
            ("up", "--upstream", "http://127.0.0.1:9", "--policy", "{typo}"),
            ["typo.yaml", "categores", "unknown"],
        ),
    ],
)
async def test_bad_configuration_stops_the_start_with_its_reason(tmp_path, arguments, names):
    typo = tmp_path / "typo.yaml"
    typo.write_text(POLICY.replace("categories", "categores"))
    code, complaint = await failing(*(argument.format(typo=typo) for argument in arguments))
    assert code == 2
    assert all(name in complaint for name in names), complaint
    assert "Traceback" not in complaint
