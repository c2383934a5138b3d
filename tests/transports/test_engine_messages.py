"""What goes over the wire comes out as it went in, in as few messages as the bounds allow."""

from __future__ import annotations

import math
import struct
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail._pb import engine_pb2 as pb
from guardrail.core.spans import Span
from guardrail.core.verdicts import Role, TokenScore
from guardrail.engine.identity import Engine, PackIdentity
from guardrail.errors import ProtocolError
from guardrail.transports import engine_messages as messages
from guardrail.transports.engine_messages import (
    BeginTurn,
    Cancel,
    Close,
    Extend,
    Failed,
    Fork,
    Open,
    ResultReader,
    Scored,
)

CATEGORIES = ("crime", "self_harm", "violence")

numbers = st.integers(0, 2**63)
# Every code point there is, lone surrogates included: JSON may hold them.
texts = st.text(st.characters(), max_size=40)
operations = st.lists(
    st.one_of(
        st.builds(Open, numbers),
        st.builds(Fork, numbers, numbers),
        st.builds(BeginTurn, numbers, st.sampled_from(Role)),
        st.builds(Extend, numbers, numbers, texts, tentative=st.booleans(), scored=st.booleans()),
        st.builds(Cancel, numbers, numbers, tentative=st.booleans()),
        st.builds(Close, numbers),
    ),
    max_size=60,
)
scores = st.dictionaries(st.sampled_from(CATEGORIES), st.floats(0, 1, width=32))
tokens = st.builds(
    lambda start, length, scores: TokenScore(Span(start, start + length), scores),
    st.integers(0, 2**30),
    st.integers(0, 2**20),
    scores,
)
results = st.lists(
    st.one_of(
        st.builds(Scored, numbers, st.lists(tokens, max_size=12)),
        st.builds(Failed, numbers, st.text(max_size=20), overloaded=st.booleans()),
    ),
    max_size=20,
    unique_by=lambda result: result.call,
)


def over_the_wire(message):
    return type(message).FromString(message.SerializeToString())


@given(operations, st.integers(1, 8), st.integers(1, 60))
def test_operations_arrive_as_they_were_sent(sent, most, most_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messages, "MAX_TICK_OPERATIONS", most)
        patch.setattr(messages, "MAX_TICK_BYTES", most_bytes)
        ticks = [over_the_wire(message).operations for message in messages.requests(sent)]
    assert [operation for tick in ticks for operation in messages.operations(tick)] == sent
    for tick in ticks:
        count = len(tick.operations)
        assert 1 <= count <= most
        assert count == 1 or sum(len(each.extend.text) for each in tick.operations) <= most_bytes


@given(results, st.integers(1, 5))
def test_results_arrive_as_they_were_sent(sent, most):
    reader = ResultReader(CATEGORIES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messages, "MAX_PART_TOKENS", most)
        ticks = [over_the_wire(message).results for message in messages.responses(sent, CATEGORIES)]
    assert [result for tick in ticks for result in reader.read(tick)] == sent
    assert all(sum(len(result.scores.starts) for result in tick.results) <= most for tick in ticks)


def test_what_gathered_is_one_message():
    sent = [Extend(lane, lane, " word") for lane in range(500)]
    assert len(list(messages.requests(sent))) == 1
    found = [Scored(lane, [TokenScore(Span(0, 4), {"crime": 0.5})]) for lane in range(500)]
    assert len(list(messages.responses(found, CATEGORIES))) == 1


def test_scores_are_rounded_to_float32_and_no_further():
    sent = Scored(1, [TokenScore(Span(0, 1), {"crime": 0.1})])
    (message,) = messages.responses([sent], CATEGORIES)
    (found,) = ResultReader(CATEGORIES).read(message.results)
    (rounded,) = struct.unpack("f", struct.pack("f", 0.1))
    assert found.tokens[0].scores == {"crime": rounded}


def test_an_engine_introduces_itself():
    engine = Engine(
        "a/1+b/2", (PackIdentity("a", "1", "0a"), PackIdentity("b", "2", "0b")), CATEGORIES, "cuda", "", "1"
    )
    message = over_the_wire(messages.welcome(engine, max_lanes=7, max_calls=8)).welcome
    assert messages.engine(message) == engine
    assert (message.max_lanes, message.max_calls) == (7, 8)


def test_another_version_of_the_protocol_is_refused():
    with pytest.raises(ProtocolError, match=r"the engine speaks version 9 of guardrail\.engine.*version 1"):
        messages.engine(pb.Welcome(protocol=9))


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (pb.Operation(lane=1), "operation: carries none"),
        (pb.Operation(lane=1, begin_turn=pb.BeginTurn(role=9)), "begin_turn.role"),
        (pb.Operation(lane=1, extend=pb.Extend(text=b"secret \xff")), "extend.text: is not UTF-8"),
    ],
)
def test_an_operation_nobody_knows_is_refused_without_its_text(operation, reason):  # invariant 8
    with pytest.raises(ProtocolError, match=reason) as caught:
        messages.operations(pb.Operations(operations=[operation]))
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "scores",
    [
        pb.Scores(starts=[0], lengths=[], values=[0.0] * 3),
        pb.Scores(starts=[0], lengths=[1], values=[0.0] * 2),
    ],
)
def test_scores_that_do_not_match_are_refused(scores):
    message = pb.Results(results=[pb.Result(call=1, scores=scores)])
    with pytest.raises(ProtocolError, match="do not match"):
        list(ResultReader(CATEGORIES).read(message))


def test_a_part_that_failed_is_forgotten():
    first = pb.Scores(starts=[0], lengths=[1], values=[0.0, math.nan, 1.0], more=True)
    reader = ResultReader(CATEGORIES)
    assert list(reader.read(pb.Results(results=[pb.Result(call=1, scores=first)]))) == []
    failure = pb.Failure(message="no", reason=pb.FAILURE_REASON_LANE_FAILED)
    assert list(reader.read(pb.Results(results=[pb.Result(call=1, failure=failure)]))) == [Failed(1, "no")]
    last = pb.Scores(starts=[1], lengths=[1], values=[0.5] * 3)
    (found,) = islice(reader.read(pb.Results(results=[pb.Result(call=1, scores=last)])), 1)
    assert len(found.tokens) == 1
