"""``guardrail engine`` and ``guardrail serve --workers`` as an operator runs them: kills, restarts, drains.

The pack is real. What it thinks of a text is compared with the same pack in this process, and otherwise not
asked: the policies' thresholds are out of reach.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from guardrail.client import GuardClient, Intervention, Summary
from guardrail.client.failures import UnavailableError
from guardrail.core.verdicts import Role
from guardrail.engine.loading import load_scorer
from guardrail.testing.upstream import Answer, ScriptedUpstream, chat_stream
from tests.e2e.commands import POLICY, failing, gone, running
from tests.e2e.http_client import ask, fetch, texts
from tests.e2e.stage import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
"""Channels of one process share a connection otherwise, and so a worker."""
TEXT = "Rivers run down to the sea. They are long and wide."


@pytest.fixture
def place():
    """A directory with a short path: a Unix socket's may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="gr-") as directory:
        yield Path(directory)


def policy(place: Path, stance: str = "redirect") -> str:
    file = place / f"{stance}.yaml"
    file.write_text(f"{POLICY}on_failure: {stance}\n")
    return str(file)


class Talk:
    """A guarded stream that goes on until it is told to end."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._over = asyncio.Event()
        self.shown = ""
        self.sent = ""
        self.summary: Summary | None = None
        self.words = ""
        """Ours, where the answer was ended by them."""
        self.task = asyncio.get_running_loop().create_task(self._run())

    def end(self) -> None:
        self._over.set()

    async def _run(self) -> None:
        async with GuardClient(self._address, options=OWN_CONNECTION) as client:
            told = client.guard_text(self._words(), [("user", "Tell me about rivers.")], on_event=self._note)
            async for text in told:
                self.shown += text

    def _note(self, event) -> None:
        match event:
            case Summary():
                self.summary = event
            case Intervention(text=text, enforced=True):
                self.words = text

    async def _words(self):
        number = 0
        while not self._over.is_set():
            self.sent += f" river{number}"
            yield f" river{number}"
            number += 1
            await asyncio.sleep(0.01)


async def talks(address: str, count: int) -> list[Talk]:
    started = [Talk(address) for _ in range(count)]
    await eventually(lambda: all(len(talk.shown) > 40 for talk in started))
    return started


async def finished(*streams: Talk) -> None:
    for stream in streams:
        stream.end()
    async with asyncio.timeout(60):
        await asyncio.gather(*(stream.task for stream in streams))


async def one_clean_answer(address: str) -> None:
    (stream,) = await talks(address, 1)
    await finished(stream)
    assert (stream.shown, dict(stream.summary.unscanned)) == (stream.sent, {})


async def status(address: str, name: str) -> int:
    async with grpc.aio.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=name)
        return (await health_pb2_grpc.HealthStub(channel).Check(request)).status


async def becomes(address: str, name: str, wanted: int) -> None:
    async with asyncio.timeout(60):
        while await status(address, name) != wanted:
            await asyncio.sleep(0.02)


SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


# -- scores ----------------------------------------------------------------------------------------------


async def test_workers_score_as_one_process_does_and_share_port_and_audit_log(place):
    log = place / "audit.jsonl"
    serve = (
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--workers",
        "2",
        "--policy",
        policy(place),
        "--audit",
        str(log),
    )
    async with running(*serve) as guardrail:
        assert len(guardrail.children("serve")) == 2
        assert len(guardrail.children("engine")) == 1
        async with GuardClient(guardrail.address) as client:
            found = await client.score(TEXT, role="assistant", tokens=True)
        scorer = await asyncio.to_thread(load_scorer, "default", "cpu", intra_op_threads=1)
        lane = scorer.open()
        lane.begin_turn(Role.ASSISTANT)
        expected = await lane.extend(TEXT)
        await asyncio.to_thread(scorer.close)
        assert [(t.start, t.end) for t in found.tokens] == [(t.span.start, t.span.end) for t in expected]
        for there, here in zip(found.tokens, expected, strict=True):
            assert there.scores == dict(here.scores)  # equal to the bit

        # The kernel gives each connection to one of them; enough connections reach both.
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(24):
                channel = grpc.aio.insecure_channel(guardrail.address, options=OWN_CONNECTION)
                await stack.enter_async_context(channel)
                await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            taken = [connections(pid, guardrail.address) for pid in guardrail.children("serve")]
        assert min(taken) > 0

        streams = await talks(guardrail.address, 12)
        await finished(*streams)
        assert [stream.shown for stream in streams] == [stream.sent for stream in streams]
        await eventually(lambda: log.read_text().count("\n") == 12)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert {(line["event"], line["outcome"]) for line in lines} == {("stream", "completed")}
        assert len({line["stream_id"] for line in lines}) == 12

        # A second one on the same port fails at its start; the workers share it with each other alone.
        code, complaint = await failing("serve", "--listen", guardrail.address, "--workers", "2")
        assert (code, guardrail.address in complaint) == (2, True)

        # The log was rotated: each of them goes on in a new file.
        log.rename(place / "audit.1")
        guardrail.process.send_signal(signal.SIGHUP)
        await eventually(log.exists)
        await one_clean_answer(guardrail.address)
        await eventually(lambda: log.read_text().count("\n") == 1)


def connections(pid: int, address: str) -> int:
    """How many connections to its port a process holds."""
    port = f":{int(address.rpartition(':')[2]):04X}"
    files = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            files.add(str(entry.readlink()))
    rows = [
        row.split()
        for table in ("tcp", "tcp6")
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    established = "01"
    return sum(
        row[1].endswith(port) and row[3] == established and f"socket:[{row[9]}]" in files for row in rows
    )


# -- losing things ---------------------------------------------------------------------------------------


async def test_an_engine_killed_under_load_follows_the_stance_and_comes_back_without_the_sidecars(place):
    serve = ("serve", "--listen", "127.0.0.1:0", "--workers", "2", "--policy", policy(place))
    async with running(*serve) as guardrail:
        workers = guardrail.children("serve")
        streams = await talks(guardrail.address, 8)
        (engine,) = guardrail.children("engine")
        os.kill(engine, signal.SIGKILL)
        # Not told to end: they end because scoring failed, each in its own words, and none hangs.
        async with asyncio.timeout(60):
            await asyncio.gather(*(stream.task for stream in streams))
        for stream in streams:
            assert stream.words
            assert stream.sent.startswith(stream.shown.removesuffix(stream.words).rstrip("…\n"))
            assert stream.summary.outcome == "intervened"
        await eventually(lambda: len(guardrail.children("engine")) == 1)
        await becomes(guardrail.address, "scoring", SERVING)
        async with asyncio.timeout(60):
            while True:  # both workers have to find it
                with contextlib.suppress(AssertionError):
                    await asyncio.gather(*(one_clean_answer(guardrail.address) for _ in range(6)))
                    break
        assert guardrail.children("serve") == workers
        assert guardrail.children("engine") != [engine]


async def test_an_engine_of_its_own_may_die_and_return_while_answers_pass_unscanned(place):
    """A stance of pass; two sidecars, one engine that nobody supervises; and what health says meanwhile."""
    address = f"unix:{place / 'run' / 'engine.sock'}"
    start = ("engine", "--listen", address, "--provider", "cpu", "--threads", "1")
    passing = policy(place, "pass")
    sidecar = ("serve", "--listen", "127.0.0.1:0", "--engine", address, "--policy", passing)
    async with running(*start) as engine:
        assert engine.address == address
        mode = (place / "run" / "engine.sock").stat().st_mode
        assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)
        assert await status(address, "guardrail.engine.v1.EngineService") == SERVING
        assert (await failing(*start))[0] == 2  # the path is in use, and is not taken
        async with running(*sidecar) as one, running(*sidecar) as two:
            sidecars = (one, two)
            streams = [stream for each in sidecars for stream in await talks(each.address, 3)]
            engine.process.send_signal(signal.SIGKILL)
            for each in sidecars:
                await becomes(each.address, "scoring", NOT_SERVING)
                # Its streams are served as the policy says: a probe must not take it out of service.
                assert await status(each.address, "readiness") == SERVING
            fresh = [stream for each in sidecars for stream in await talks(each.address, 1)]
            await finished(*streams, *fresh)
            for stream in (*streams, *fresh):
                assert stream.shown == stream.sent
                assert stream.summary.unscanned["failure"] > 0
            assert all(stream.summary.unscanned["prompt"] > 0 for stream in fresh)
            async with running(*start):
                for each in sidecars:
                    await becomes(each.address, "scoring", SERVING)
                    await one_clean_answer(each.address)


async def test_a_worker_that_is_killed_is_started_again_and_the_others_serve_on(place):
    serve = ("serve", "--listen", "127.0.0.1:0", "--workers", "2", "--policy", policy(place))
    async with running(*serve) as guardrail:
        before = guardrail.children("serve")
        streams = await talks(guardrail.address, 8)
        os.kill(before[0], signal.SIGKILL)
        for stream in streams:
            stream.end()
        outcomes = await asyncio.gather(*(stream.task for stream in streams), return_exceptions=True)
        # Its own streams break off, as they do when a sidecar dies; whatever the other served is whole.
        for stream, outcome in zip(streams, outcomes, strict=True):
            assert isinstance(outcome, UnavailableError) or stream.shown == stream.sent
        await eventually(lambda: len(guardrail.children("serve")) == 2)
        assert before[1] in guardrail.children("serve")
        await one_clean_answer(guardrail.address)


async def test_a_supervisor_that_is_killed_leaves_nobody_behind(place):
    serve = ("serve", "--listen", "127.0.0.1:0", "--workers", "2", "--policy", policy(place))
    async with running(*serve) as guardrail:
        children = [*guardrail.children("serve"), *guardrail.children("engine")]
        assert len(children) == 3
        guardrail.process.send_signal(signal.SIGKILL)
        await eventually(lambda: all(gone(pid) for pid in children))


async def test_sigterm_lets_streams_of_all_workers_finish_scored(place):
    serve = (
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--workers",
        "2",
        "--policy",
        policy(place),
        "--grace-s",
        "60",
    )
    async with running(*serve) as guardrail:
        children = [*guardrail.children("serve"), *guardrail.children("engine")]
        streams = await talks(guardrail.address, 6)
        guardrail.process.send_signal(signal.SIGTERM)
        await eventually(lambda: not listening(guardrail.address))
        before = [len(stream.shown) for stream in streams]
        await eventually(
            lambda: all(len(stream.shown) > old for stream, old in zip(streams, before, strict=True))
        )
        await finished(*streams)
        for stream in streams:
            assert (stream.shown, dict(stream.summary.unscanned)) == (stream.sent, {})
        async with asyncio.timeout(60):
            assert await guardrail.process.wait() == 0
        assert all(gone(pid) for pid in children)


def listening(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((host, int(port))) == 0


# -- starting --------------------------------------------------------------------------------------------


async def test_what_is_wrong_with_workers_stops_the_start_with_its_reason(place):
    typo = place / "typo.yaml"
    typo.write_text(POLICY.replace("categories", "categores"))
    code, complaint = await failing(
        "serve", "--listen", "127.0.0.1:0", "--workers", "2", "--policy", str(typo)
    )
    assert code == 2
    assert "typo.yaml" in complaint
    assert "Traceback" not in complaint


async def test_an_engine_with_another_pack_is_refused(place):
    """The same name and version, other operating points: thresholds would mean nothing there."""
    pack = place / "default"
    shutil.copytree("classifiers/packs/default", pack)
    manifest = pack / "manifest.yaml"
    manifest.write_text(manifest.read_text() + "\n# another\n")
    address = f"unix:{place / 'e.sock'}"
    engine = ("engine", "--listen", address, "--pack", str(pack), "--provider", "cpu", "--threads", "1")
    async with running(*engine):
        code, complaint = await failing("serve", "--listen", "127.0.0.1:0", "--engine", address)
        assert code == 2
        assert address in complaint
        assert complaint.count("default ") == 2
        doctor = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "guardrail", "doctor", "--json", "--engine", address,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await doctor.communicate()
        assert doctor.returncode == 1
        (check,) = (check for check in json.loads(output) if check["name"] == "engine")
        assert check["state"] == "fail"
        assert "on cpu" in check["says"]


async def test_tcp_with_mutual_tls_serves_who_proves_itself_and_nobody_else(place):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: cannot make certificates")
    certificates(place)
    engine = ("engine", "--listen", "127.0.0.1:0", "--tls", str(place / "engine"), "--provider", "cpu")
    async with running(*engine) as there:
        use = ("serve", "--listen", "127.0.0.1:0", "--policy", policy(place), "--engine", there.address)
        async with running(*use, "--engine-tls", str(place / "sidecar")) as guardrail:
            await one_clean_answer(guardrail.address)
        code, complaint = await failing(*use, "--engine-tls", str(place / "nowhere"))
        assert (code, "tls.key cannot be read" in complaint) == (2, True)
        context = grpc.ssl_channel_credentials((place / "engine" / "ca.crt").read_bytes())
        async with grpc.aio.secure_channel(there.address, context) as channel:  # without a certificate
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def certificates(place: Path) -> None:
    """An authority, and what it signed for both sides."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=place)

    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(*new, "-x509", "-days", "2", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=authority")
    (place / "san").write_text("subjectAltName=IP:127.0.0.1\n")
    for side in ("engine", "sidecar"):
        (place / side).mkdir()
        openssl(*new, "-keyout", f"{side}/tls.key", "-out", f"{side}/tls.csr", "-subj", f"/CN={side}")
        openssl(
            "x509", "-req", "-in", f"{side}/tls.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-days", "2",
            "-out", f"{side}/tls.crt", "-extfile", "san",
        )  # fmt: skip
        shutil.copy(place / "ca.crt", place / side / "ca.crt")


# -- behind Envoy ----------------------------------------------------------------------------------------


async def test_up_runs_workers_that_envoy_balances_between(place):
    async with ScriptedUpstream() as upstream:
        upstream.answer = Answer(chat_stream(["Rivers run.", " They end in the sea."]))
        up = ("up", "--upstream", upstream.url, "--listen", "127.0.0.1:0", "--workers", "2")
        async with running(*up, "--policy", policy(place)) as guardrail:
            assert len(guardrail.children("serve")) == 2
            responses = await asyncio.gather(*(fetch(guardrail.address, ask()) for _ in range(8)))
            for response in responses:
                assert texts(response.body) == {0: "Rivers run. They end in the sea."}
            guardrail.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                assert await guardrail.process.wait() == 0
