"""The native service over the real driver; a scripted one where the driver itself must misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import time

import grpc
import pytest

from guardrail import observer as records
from guardrail._pb import guardrail_pb2 as pb
from guardrail._pb import guardrail_pb2_grpc as pb_grpc
from guardrail.client import Finding, GuardClient, Intervention, LaneClosed, Released, StopUpstream
from guardrail.core.verdicts import Role
from guardrail.errors import OverloadedError, ScoringError
from guardrail.policy.rules import CategoryRules, Policy, RoleRules
from guardrail.testing.composers import PlainComposer
from guardrail.testing.scorers import KeywordScorer
from guardrail.transports import grpc_messages as messages
from guardrail.transports.grpc_native import GuardrailServicer, NativeLimits
from guardrail.transports.outputs import Released as ReleasedOutput
from guardrail.transports.services import Services

WORDS = {
    "sad": {"mental_distress": 0.9},
    "stab": {"violence": 0.95},
    "rope": {"self_harm": 0.6},
}


def rules(severity, threshold, kind):
    return RoleRules(thresholds={severity: threshold}, interventions={severity: kind}, debounce_tokens=1)


def policy(mode="enforce"):
    return Policy(
        version=1,
        name="test",
        mode=mode,
        categories={
            "self_harm": CategoryRules(user=rules(2, 0.5, "annotate"), assistant=rules(2, 0.5, "redirect")),
            "mental_distress": CategoryRules(assistant=rules(1, 0.5, "redirect")),
            "violence": CategoryRules(assistant=rules(3, 0.5, "replace")),
        },
    )


class Ledger:
    """An observer that keeps what it is told."""

    def __init__(self):
        self.records = []

    def record(self, record):
        self.records.append(record)

    async def ended(self):
        while True:
            for record in self.records:
                if isinstance(record, records.StreamEnded):
                    return record
            await asyncio.sleep(0.005)


@pytest.fixture
def services():
    return Services(KeywordScorer(WORDS), policy(), PlainComposer(), Ledger(), time.monotonic)


@contextlib.asynccontextmanager
async def serving(services, limits=None, **options):
    server = grpc.aio.server()
    servicer = GuardrailServicer(services, limits=limits or NativeLimits(), **options)
    servicer.attach(server)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield target
    finally:
        await server.stop(None)


@pytest.fixture
async def client(services):
    async with serving(services) as target, GuardClient(target) as client:
        yield client


async def say(*pieces):
    for piece in pieces:
        yield piece


async def guarded(client, *pieces, **options):
    """What the user sees, and every event."""
    events = []
    texts = [text async for text in client.guard_text(say(*pieces), on_event=events.append, **options)]
    return "".join(texts), events


# -- what a client sees ------------------------------------------------------------------------------


async def test_a_harmless_answer_comes_through_unchanged(client, services):
    text, events = await guarded(
        client, "All ", "is w", "ell.\n", "Ünï 🙂", conversation=[("user", "hi")], stream_id="s-1"
    )
    assert text == "All is well.\nÜnï 🙂"
    opened, *_, closed, summary = events
    assert (opened.stream_id, opened.policy, opened.mode, opened.pack) == (
        "s-1",
        "test",
        "enforce",
        "keyword/1",
    )
    assert closed == LaneClosed("", intervened=False, withheld=0, finish_reason="")
    assert (summary.outcome, summary.arrived, summary.released, summary.withheld) == ("completed", 18, 18, 0)
    assert services.scorer.open_lanes == 0


async def test_a_redirect_is_inserted_and_the_answer_goes_on(client):
    text, events = await guarded(client, "You sound sad today. ", "Go for a walk.")
    (insert,) = [event for event in events if isinstance(event, Intervention)]
    assert (insert.kind, insert.category, insert.severity, insert.enforced) == (
        "redirect",
        "mental_distress",
        1,
        True,
    )
    assert insert.wording == "plain/redirect/mental_distress"
    assert text == "".join(event.text for event in events if isinstance(event, Released | Intervention))
    assert "[redirect mental_distress]" in text
    assert "You sound sad" in text
    assert "Go for a walk." in text
    (finding,) = [event for event in events if isinstance(event, Finding)]
    assert (finding.lane, finding.role, finding.start, finding.end) == ("", "assistant", 10, 13)
    assert events[-1].inserted == len(insert.text)


async def test_a_replacement_stops_the_upstream(client):
    closed = asyncio.Event()

    async def endless():
        try:
            yield "First do this. "
            yield "Then stab "
            while True:
                await asyncio.sleep(0)
                yield "on and on "
        finally:
            closed.set()

    events = []
    texts = [text async for text in client.guard_text(endless(), on_event=events.append)]
    assert "".join(texts).startswith("First do this.")
    assert "stab" not in "".join(texts)
    assert "[replace violence]" in "".join(texts)
    assert closed.is_set()
    assert StopUpstream() in events
    (lane,) = [event for event in events if isinstance(event, LaneClosed)]
    assert (lane.intervened, lane.finish_reason) == (True, "stop")
    assert events[-1].outcome == "intervened"


async def test_cuts_carry_no_meaning(client):
    text = "You sound sad today. Take the rope, and breathe. "
    whole, _ = await guarded(client, text)
    single, _ = await guarded(client, *text)
    assert single == whole != text


async def test_observing_shows_everything_and_says_what_would_have_been(services):
    services = Services(
        services.scorer, policy("observe"), services.composer, services.observer, services.clock
    )
    async with serving(services) as target, GuardClient(target) as client:
        text, events = await guarded(client, "Then stab it. Done.")
        assert text == "Then stab it. Done."
        assert [event.enforced for event in events if isinstance(event, Intervention)] == [False]
        assert StopUpstream() not in events
        strict, _ = await guarded(client, "Then stab it. Done.", mode="enforce")
        assert "stab" not in strict


async def test_a_finding_in_the_prompt_is_told_as_the_users(client):
    _, events = await guarded(client, "All is well.", conversation=[("user", "a rope")])
    (finding,) = [event for event in events if isinstance(event, Finding)]
    assert (finding.lane, finding.role, finding.category) == ("user", "user", "self_harm")


async def test_lanes_are_guarded_by_themselves(client):
    async with client.guard(lanes=2) as stream:
        await stream.send("Then stab it. ", lane="a")
        await stream.send("All is well. ", lane="b")
        await stream.end_lane("a")
        await stream.end_lane("b")
        await stream.end()
        events = [event async for event in stream]
    shown = {
        lane: "".join(e.text for e in events if isinstance(e, Released) and e.lane == lane) for lane in "ab"
    }
    assert shown["b"] == "All is well. "
    assert "stab" not in shown["a"]
    assert {e.lane: e.intervened for e in events if isinstance(e, LaneClosed)} == {"a": True, "b": False}


async def test_a_lane_may_end_without_text(client):
    async with client.guard() as stream:
        await stream.end_lane("tool")
        await stream.end()
        assert [event.lane for event in [e async for e in stream] if isinstance(event, LaneClosed)] == [
            "tool"
        ]


async def test_what_the_request_could_not_send_is_reported_unscanned(client):
    _, events = await guarded(client, "ok", unscanned={"image": 2})
    assert events[-1].unscanned == {"image": 2}


# -- the protocol, message by message ----------------------------------------------------------------


def opening(**fields):
    return pb.GuardRequest(open=pb.Open(**fields))


def chunk(text, lane=""):
    return pb.GuardRequest(chunk=pb.Chunk(lane=lane, text=text))


def lane_end(lane=""):
    return pb.GuardRequest(end_lane=pb.EndLane(lane=lane))


@contextlib.asynccontextmanager
async def stub(services, limits=None, **options):
    async with serving(services, limits, **options) as target, grpc.aio.insecure_channel(target) as channel:
        yield pb_grpc.GuardrailServiceStub(channel)


async def exchange(stub, *requests):
    """Send all of ``requests``, half-close, and read to the end."""
    return [response async for response in stub.Guard(iter(requests))]


async def status(call):
    """How the call ends, once all it says was read."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        while await call.read() is not grpc.aio.EOF:
            pass
    return await call.code()


async def test_half_closing_stands_for_end(services):
    async with stub(services) as native:
        responses = await exchange(native, opening(), chunk("All is well"))
    assert [response.WhichOneof("response") for response in responses] == [
        "opened",
        "released",
        "released",
        "lane_closed",
        "summary",
    ]
    assert responses[-1].summary.outcome == pb.OUTCOME_COMPLETED


async def test_the_sidecar_names_a_stream_that_has_no_name(services):
    async with stub(services) as native:
        ids = [(await exchange(native, opening()))[0].opened.stream_id for _ in range(2)]
    assert all(ids)
    assert len(set(ids)) == 2


async def test_messages_on_their_way_when_the_stream_ends_are_dropped(services):
    async with stub(services) as native:
        call = native.Guard()
        await call.write(opening())
        await call.write(chunk("Then stab it. "))
        while (response := await call.read()).WhichOneof("response") != "summary":
            pass
        assert response.summary.outcome == pb.OUTCOME_INTERVENED
        for _ in range(10):
            await call.write(chunk("more "))
        await call.done_writing()
        assert await status(call) is grpc.StatusCode.OK


async def test_a_client_that_never_half_closes_gets_its_status_all_the_same(services):
    async with stub(services, NativeLimits(linger_s=0.05)) as native:
        call = native.Guard()
        await call.write(opening())
        await call.write(chunk("Then stab it. "))
        assert await status(call) is grpc.StatusCode.OK


BAD = {
    "chunk first": ([chunk("SECRET")], "open: "),
    "nothing at all": ([], "open: "),
    "open twice": ([opening(), opening()], "open: "),
    "an unknown message": ([opening(), pb.GuardRequest()], "request: "),
    "text after the end of its lane": (
        [opening(), chunk("SECRET", "a"), lane_end("a"), chunk("SECRET", "a")],
        "chunk.lane: ",
    ),
    "a lane ended twice": ([opening(), lane_end("a"), lane_end("a")], "end_lane.lane: "),
    "the prompt's lane": ([opening(), chunk("SECRET", "user")], "chunk.lane: "),
    "a long lane name": ([opening(), chunk("SECRET", "x" * 129)], "chunk.lane: "),
    "a long chunk": ([opening(), chunk("SECRET" * 65_536)], "chunk.text: "),
    "many lanes": ([opening(), *[chunk("ok ", f"{number}") for number in range(129)]], "chunk.lane: "),
    "many ended lanes": ([opening(), *[lane_end(f"{number}") for number in range(129)]], "end_lane.lane: "),
    "many announced lanes": ([opening(lanes=129)], "open.lanes: "),
    "no role": ([opening(conversation=[pb.Turn(text="SECRET")])], "open.conversation[0].role: "),
    "an unknown role": (
        [opening(conversation=[pb.Turn(role=9, text="SECRET")])],
        "open.conversation[0].role: ",
    ),
    "many turns": ([opening(conversation=[pb.Turn(role=pb.ROLE_USER)] * 1025)], "open.conversation: "),
    "an unknown mode": ([opening(mode=9)], "open.mode: "),
    "another policy": ([opening(policy="other")], "open.policy: "),
    "a long policy name": ([opening(policy="x" * 129)], "open.policy: "),
    "a long tenant": ([opening(tenant="x" * 129)], "open.tenant: "),
    "a locale that is none": ([opening(locale="de AT")], "open.locale: "),
    "a stream id with a line break": ([opening(stream_id="a\nb")], "open.stream_id: "),
    "many unscanned parts": (
        [opening(unscanned={f"{number}": 1 for number in range(65)})],
        "open.unscanned: ",
    ),
    "a long unscanned part": ([opening(unscanned={"x" * 129: 1})], "open.unscanned: "),
}


@pytest.mark.parametrize("case", BAD)
async def test_bad_input_is_refused_by_the_name_of_its_field(services, case):
    requests, begins = BAD[case]
    async with stub(services) as native:
        call = native.Guard()
        for request in requests:
            await call.write(request)
        if not requests:
            await call.done_writing()
        assert await status(call) is grpc.StatusCode.INVALID_ARGUMENT
        details = await call.details()
    assert details.startswith(begins)
    assert "SECRET" not in details
    assert services.scorer.open_lanes == 0


async def test_limits_are_those_the_protocol_file_states(services):
    everything = opening(
        conversation=[pb.Turn(role=pb.ROLE_USER, text="x")] * messages.MAX_TURNS,
        locale="x" * messages.MAX_LOCALE_CHARS,
        tenant="x" * messages.MAX_NAME_CHARS,
        stream_id="x" * messages.MAX_NAME_CHARS,
        lanes=messages.MAX_LANES,
        unscanned={f"{number}": 2**32 - 1 for number in range(messages.MAX_UNSCANNED_ENTRIES)},
    )
    lanes = [chunk("ok ", f"{number}") for number in range(messages.MAX_LANES - 1)]
    async with stub(services) as native:
        responses = await exchange(native, everything, chunk("x" * messages.MAX_CHUNK_CHARS), *lanes)
    assert responses[-1].summary.released == messages.MAX_CHUNK_CHARS + 3 * (messages.MAX_LANES - 1)
    assert responses[-1].summary.unscanned["0"] == 2**32 - 1


# -- bounds, deadlines, departures and failures ------------------------------------------------------


async def test_a_client_that_leaves_frees_everything(services):
    async with serving(services) as target, GuardClient(target) as client:
        async with client.guard() as stream:
            await stream.send("All is well ")
            await anext(stream)
        ended = await asyncio.wait_for(services.observer.ended(), 30)
        assert ended.outcome == "cancelled"
        assert services.scorer.open_lanes == 0


async def test_one_stream_too_many_is_refused_and_a_place_is_free_afterwards(services):
    async with serving(services, NativeLimits(max_streams=1)) as target, GuardClient(target) as client:
        async with client.guard() as stream:
            with pytest.raises(OverloadedError):
                async with client.guard():
                    pytest.fail("it opened")
            await stream.end()
            assert [event async for event in stream]
        assert (await guarded(client, "ok"))[0] == "ok"


@pytest.mark.parametrize(
    ("limits", "requests"),
    [
        (NativeLimits(open_deadline_s=0.05), []),
        (NativeLimits(idle_deadline_s=0.05), [opening(), chunk("x ")]),
    ],
)
async def test_a_silent_client_is_given_up(services, limits, requests):
    async with stub(services, limits) as native:
        call = native.Guard()
        for request in requests:
            await call.write(request)
        assert await status(call) is grpc.StatusCode.DEADLINE_EXCEEDED
    if requests:
        assert (await services.observer.ended()).outcome == "upstream_error"
    assert services.scorer.open_lanes == 0


class ScriptedDriver:
    """A driver that does what a test wants to see handled."""

    mode, policy_name = "enforce", "test"

    def __init__(self, *outputs, start=None, chunk=None, end=None):
        self.script, self.errors = outputs, {"start": start, "chunk": chunk, "end": end}
        self.told, self.outcome = asyncio.Event(), None

    async def start(self):
        self._raise("start")

    async def chunk(self, lane, text):
        self._raise("chunk")

    async def end_lane(self, lane):
        pass

    async def end(self):
        self._raise("end")

    async def outputs(self):
        for output in self.script:
            yield output
        await asyncio.Event().wait()

    async def cancel(self, outcome):
        self.outcome = outcome
        self.told.set()

    def _raise(self, where):
        if self.errors[where] is not None:
            raise self.errors[where]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("SECRET"), (grpc.StatusCode.INTERNAL, "internal error")),
        (ScoringError("SECRET"), (grpc.StatusCode.INTERNAL, "internal error")),
        (OverloadedError("the queue is full"), (grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")),
    ],
)
@pytest.mark.parametrize("where", ["start", "chunk", "end"])
async def test_a_failure_is_a_status_without_text(services, caplog, where, error, expected):
    driver = ScriptedDriver(**{where: error})
    requests = {"start": opening(), "chunk": chunk("SECRET"), "end": pb.GuardRequest(end=pb.End())}
    async with stub(services, open_stream=lambda opening, services: driver) as native:
        call = native.Guard()
        # Nothing is sent behind the message that fails: gRPC would put its own error over ours.
        for place, request in requests.items():
            await call.write(request)
            if place == where:
                break
        assert (await status(call), await call.details()) == expected
    assert driver.outcome == "error"
    assert "SECRET" not in caplog.text
    assert ("a native call failed" in caplog.text) is (expected[1] == "internal error")


async def test_a_client_that_does_not_read_is_given_up(services):
    driver = ScriptedDriver(*[ReleasedOutput("", "x" * 65_536, 65_536)] * 1000)
    limits = NativeLimits(write_deadline_s=0.2)
    async with stub(services, limits, open_stream=lambda opening, services: driver) as native:
        call = native.Guard()
        await call.write(opening())
        await asyncio.wait_for(driver.told.wait(), 30)
        call.cancel()
    assert driver.outcome == "upstream_error"


async def test_a_driver_that_does_not_close_its_stream_is_our_fault(services):
    class Unfinished(ScriptedDriver):
        async def outputs(self):
            for output in self.script:
                yield output

    driver = Unfinished()
    async with stub(services, open_stream=lambda opening, services: driver) as native:
        call = native.Guard()
        await call.write(opening())
        assert await status(call) is grpc.StatusCode.INTERNAL
    assert driver.outcome == "error"


# -- Score -------------------------------------------------------------------------------------------


async def test_score_sees_what_the_stream_would_see(client, services):
    score = await client.score("Take a rope and stab it", conversation=[("user", "sad")], tokens=True)
    assert score.max == {"self_harm": 0.6, "violence": 0.95}
    assert (score.flagged, score.category, score.severity, score.onset) == (True, "violence", 3, 16)
    assert (score.pack, score.policy) == ("keyword/1", "test")
    assert [(token.start, token.end) for token in score.tokens if token.scores] == [(7, 11), (16, 20)]
    assert services.scorer.open_lanes == 0


async def test_score_judges_by_role(client):
    assert (await client.score("stab", role="user")).flagged is False
    assert (await client.score("rope", role="user")).category == "self_harm"
    assert (await client.score("", role="user")).max == {}


@pytest.mark.parametrize(
    ("request_", "begins"),
    [
        (pb.ScoreRequest(text="SECRET", role=9), "role: "),
        (pb.ScoreRequest(text="SECRET", conversation=[pb.Turn(text="SECRET")]), "conversation[0].role: "),
        (pb.ScoreRequest(text="x" * (messages.MAX_SCORE_CHARS + 1)), "text: "),
    ],
)
async def test_score_refuses_bad_input_by_the_name_of_its_field(services, request_, begins):
    async with stub(services) as native:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await native.Score(request_)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith(begins)
    assert "SECRET" not in caught.value.details()


async def test_a_score_that_fails_or_takes_too_long_is_a_status(services):
    services.scorer.fail = lambda text: True
    async with serving(services) as target, GuardClient(target) as client:
        with pytest.raises(ScoringError, match="internal error"):
            await client.score("SECRET")
    services.scorer.fail, services.scorer.delay_s = None, lambda: 30.0
    async with stub(services, NativeLimits(score_deadline_s=0.05)) as native:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await native.Score(pb.ScoreRequest(text="x"))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert services.scorer.open_lanes == 0


def test_roles_and_kinds_all_have_a_value():
    assert {messages._ROLE_VALUES[role] for role in Role} == {1, 2, 3}
    assert set(messages._KIND_VALUES.values()) == {value for value in pb.InterventionKind.values() if value}
