from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from guardrail._pb import guardrail_pb2 as pb
from guardrail.transports import health

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
NAMES = ("", health.READINESS, health.NATIVE, health.EXTERNAL_PROCESSOR)


@pytest.fixture
async def running():
    """A health service and a channel to its server."""
    server, service = grpc.aio.server(), health.HealthService()
    await service.attach(server)
    health.enable_reflection(server, [health.NATIVE])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield service, channel
    await server.stop(None)


async def check(channel, name):
    response = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
    return response.status


async def statuses(channel):
    return {await check(channel, name) for name in NAMES}


def test_the_service_is_called_as_the_protocol_calls_it():
    assert pb.DESCRIPTOR.services_by_name["GuardrailService"].full_name == health.NATIVE


async def test_it_serves_between_warm_up_and_drain(running):
    service, channel = running
    assert await statuses(channel) == {NOT_SERVING}
    await service.warmed_up()
    assert await statuses(channel) == {SERVING}
    await service.drain()
    assert await statuses(channel) == {NOT_SERVING}
    await service.warmed_up()  # too late: a drained server does not come back
    assert await statuses(channel) == {NOT_SERVING}


async def test_it_is_alive_all_the_time(running):
    service, channel = running
    for change in (service.warmed_up, service.drain):
        assert await check(channel, health.LIVENESS) == SERVING
        await change()
    assert await check(channel, health.LIVENESS) == SERVING


async def test_who_watches_is_told(running):
    service, channel = running
    request = health_pb2.HealthCheckRequest(service=health.READINESS)
    watch = health_pb2_grpc.HealthStub(channel).Watch(request)
    assert (await watch.read()).status == NOT_SERVING
    await service.warmed_up()
    assert (await watch.read()).status == SERVING
    await service.drain()
    assert (await watch.read()).status == NOT_SERVING
    watch.cancel()


async def test_nobody_vouches_for_a_service_that_is_not_here(running):
    _, channel = running
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await check(channel, "somebody.else.Service")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_and_describes(running):
    _, channel = running
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    listed = {service.name for service in (await call.read()).list_services_response.service}
    assert listed == {
        health.NATIVE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=health.NATIVE))
    assert pb.DESCRIPTOR.serialized_pb in (await call.read()).file_descriptor_response.file_descriptor_proto
    call.cancel()


async def test_scoring_may_be_impossible_for_a_while_and_readiness_stands(running):
    """Invariant 6: what happens to text then is the policy's word, not a probe's."""
    service, channel = running
    assert await check(channel, health.SCORING) == NOT_SERVING
    await service.warmed_up()
    assert await check(channel, health.SCORING) == SERVING
    await service.scoring(possible=False)
    assert await check(channel, health.SCORING) == NOT_SERVING
    assert await statuses(channel) == {SERVING}
    await service.scoring(possible=True)
    assert await check(channel, health.SCORING) == SERVING
