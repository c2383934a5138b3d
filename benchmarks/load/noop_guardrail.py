"""A LiteLLM guardrail that does nothing to a stream; runs in the proxy's environment, not in ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from litellm.integrations.custom_guardrail import CustomGuardrail


class Noop(CustomGuardrail):
    """Passes every chunk on."""

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: Any, response: AsyncIterator[Any], request_data: dict[str, Any]
    ) -> AsyncIterator[Any]:
        """The hook every streamed answer goes through."""
        async for chunk in response:
            yield chunk
