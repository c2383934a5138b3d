from __future__ import annotations

import threading

import grpc
import pytest

from guardrail._pb import guardrail_pb2 as pb
from guardrail.client import BlockingGuardClient, Opened, Released, Summary, UnavailableError
from guardrail.errors import InputError, OverloadedError, ScoringError


@pytest.fixture
def sidecar(sidecar_elsewhere):
    return sidecar_elsewhere


@pytest.fixture
def client(sidecar):
    with BlockingGuardClient(sidecar.target) as client:
        yield client


class Source:
    def __init__(self, *pieces, error=None, forever=False):
        self.pieces, self.error, self.forever = pieces, error, forever
        self.closed = threading.Event()

    def __iter__(self):
        try:
            yield from self.pieces
            if self.error is not None:
                raise self.error
            while self.forever:
                yield "x"
        finally:
            self.closed.set()


def test_text_goes_through_in_order(client, sidecar):
    seen = []
    source = Source("one ", "", "two ", "three")
    texts = client.guard_text(source, [("user", "hi")], locale="de-AT", on_event=seen.append)
    assert list(texts) == ["one ", "two ", "three"]
    assert [type(event) for event in seen] == [Opened, Released, Released, Released, Summary]
    assert sidecar.received[0].open.locale == "de-AT"
    assert source.closed.wait(30)


def test_the_source_is_closed_when_the_upstream_is_to_stop(client, sidecar, answers):
    intervention = pb.Intervention(kind=pb.INTERVENTION_KIND_REPLACE, text=" Instead.", enforced=True)
    sidecar.guard = answers.then_stop(
        pb.GuardResponse(intervention=intervention),
        pb.GuardResponse(stop_upstream=pb.StopUpstream()),
        answers.summary,
    )
    source = Source(forever=True)
    assert list(client.guard_text(source)) == [" Instead."]
    assert source.closed.wait(30)


def test_breaking_out_frees_stream_and_source(client):
    source = Source(forever=True)
    texts = client.guard_text(source)
    assert next(texts) == "x"
    texts.close()
    assert source.closed.wait(30)


def test_an_error_of_the_source_comes_after_what_it_said(client):
    texts = client.guard_text(Source("one ", "two", error=RuntimeError("the model crashed")))
    assert [next(texts), next(texts)] == ["one ", "two"]
    with pytest.raises(RuntimeError, match="the model crashed"):
        next(texts)


def test_errors_are_ours(client, sidecar, answers, tmp_path):
    sidecar.guard = answers.refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
    with pytest.raises(OverloadedError, match="full"):
        next(client.guard_text(Source("x")))
    sidecar.guard = answers.refuse(grpc.StatusCode.INTERNAL, "internal error")
    with pytest.raises(ScoringError):
        next(client.guard_text(Source(forever=True)))
    with pytest.raises(InputError):
        client.guard_text([], mode="lenient")
    with BlockingGuardClient(f"unix://{tmp_path}/nobody.sock") as lonely:
        with pytest.raises(UnavailableError):
            next(lonely.guard_text(Source("x")))
        with pytest.raises(UnavailableError):
            lonely.score("x")
        with pytest.raises(UnavailableError):
            lonely.wait_ready(timeout_s=0.05)


def test_opening_has_a_deadline(sidecar):
    async def silence(sidecar, context):
        await sidecar.gone.wait()

    sidecar.guard = silence
    with (
        BlockingGuardClient(sidecar.target, open_timeout_s=0.05) as client,
        pytest.raises(UnavailableError),
    ):
        next(client.guard_text(Source("x")))


def test_score_and_readiness(client, sidecar):
    async def score(request, context):
        return pb.ScoreResponse(max={"self_harm": 0.25}, pack=request.text)

    sidecar.score = score
    client.wait_ready(timeout_s=30)
    result = client.score("text")
    assert (result.max, result.pack, result.onset) == ({"self_harm": 0.25}, "text", None)


def test_credentials_are_used(sidecar):
    with (
        BlockingGuardClient(sidecar.target, credentials=grpc.ssl_channel_credentials()) as client,
        pytest.raises(UnavailableError),  # the sidecar here speaks plaintext
    ):
        client.score("text", timeout_s=5)
