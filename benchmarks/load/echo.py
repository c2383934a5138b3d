"""The least an ext_proc server can do: answer everything as it came. What ours is compared with."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import grpc
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as pb_grpc


class Echo(pb_grpc.ExternalProcessorServicer):
    """Headers and trailers pass, bodies are sent back as they came."""

    async def Process(  # noqa: N802 - the protocol's name
        self, requests: AsyncIterator[pb.ProcessingRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.ProcessingResponse]:
        """One HTTP exchange."""
        async for message in requests:
            match message.WhichOneof("request"):
                case "request_headers":
                    yield pb.ProcessingResponse(request_headers=pb.HeadersResponse())
                case "request_body":
                    yield pb.ProcessingResponse(request_body=_same(message.request_body))
                case "request_trailers":
                    yield pb.ProcessingResponse(request_trailers=pb.TrailersResponse())
                case "response_headers":
                    yield pb.ProcessingResponse(response_headers=pb.HeadersResponse())
                case "response_body":
                    yield pb.ProcessingResponse(response_body=_same(message.response_body))
                case "response_trailers":
                    yield pb.ProcessingResponse(response_trailers=pb.TrailersResponse())


def _same(body: pb.HttpBody) -> pb.BodyResponse:
    streamed = pb.StreamedBodyResponse(body=body.body, end_of_stream=body.end_of_stream)
    mutation = pb.BodyMutation(streamed_response=streamed)
    return pb.BodyResponse(response=pb.CommonResponse(body_mutation=mutation))


async def serve(address: str) -> None:
    """Until killed."""
    server = grpc.aio.server()
    pb_grpc.add_ExternalProcessorServicer_to_server(Echo(), server)
    server.add_insecure_port(address)
    await server.start()
    print(f"ready {address}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
