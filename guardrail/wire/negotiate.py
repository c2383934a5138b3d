"""Which dialect guards what: a request by method and path, a response by what it says it is.

Whatever is not named here passes unguarded, and the caller says so (invariant 7).
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

from guardrail.wire.chat_completion_body import ChatCompletionBody
from guardrail.wire.chat_completions import ChatCompletionsStream
from guardrail.wire.chat_request import parse_chat_request
from guardrail.wire.dialect import GuardedRequest, ResponseStream

RequestParser = Callable[[bytes], GuardedRequest]

CHAT_COMPLETIONS = "chat_completions"
"""The dialect's name in records and metrics."""


def request_parser(method: str, path: str) -> RequestParser | None:
    """Who reads the request's body; None where no dialect knows the path.

    The end of the path counts: gateways and hosted deployments put prefixes of their own before it.
    """
    # Decoded as the server will decode it: another spelling of the path must not be a way round.
    route = unquote(path.partition("?")[0]).rstrip("/")
    if method.upper() == "POST" and route.endswith("/chat/completions"):
        return parse_chat_request
    return None


def response_stream(
    request: GuardedRequest,
    *,
    content_type: str,
    content_encoding: str = "",
    stream_id: str = "",
    created: int = 0,
    prompt_tokens: int = 0,
) -> ResponseStream | None:
    """Who guards the response to ``request``; None where it cannot be read and must pass.

    Args:
        request: what the request said, as ``request_parser`` read it.
        content_type: the response's ``content-type``.
        content_encoding: its ``content-encoding``; a compressed response cannot be read, so requests
            should not offer any.
        stream_id: names the stream where we must write a chunk before the upstream wrote one.
        created: Unix time for such a chunk.
        prompt_tokens: an estimate of the prompt's length, for usage the upstream could not send.
    """
    if content_encoding.strip().lower() not in ("", "identity"):
        return None
    match content_type.partition(";")[0].strip().lower():
        case "text/event-stream":
            return ChatCompletionsStream(
                stream_id=stream_id,
                created=created,
                model=request.model,
                include_usage=request.include_usage,
                prompt_tokens=prompt_tokens,
            )
        case "application/json":
            return ChatCompletionBody(
                stream_id=stream_id, created=created, model=request.model, prompt_tokens=prompt_tokens
            )
        case _:
            return None
