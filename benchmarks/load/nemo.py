"""NeMo Guardrails' ``stream_async`` with an output rail that does nothing, in process, without any server.

Runs in the peers' environment. Prints ``ready`` and then, for every line on standard input, how long
its streams took.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator

from nemoguardrails import LLMRails, RailsConfig
from nemoguardrails.actions.rail_outcome import RailOutcome

from benchmarks.load import script

_YAML = """
models: []
rails:
  output:
    flows: [noop]
    streaming: {enabled: true, chunk_size: CHUNK, context_size: CONTEXT}
"""
_COLANG = """
define subflow noop
  $allowed = execute noop_action
  if $allowed.is_blocked
    bot refuse to respond
    stop
"""


def _rails(chunk_size: int, context_size: int) -> LLMRails:
    yaml = _YAML.replace("CHUNK", str(chunk_size)).replace("CONTEXT", str(context_size))
    rails = LLMRails(RailsConfig.from_content(colang_content=_COLANG, yaml_content=yaml))
    rails.register_action(noop_action, "noop_action")
    return rails


async def noop_action(**_: object) -> RailOutcome:
    """Allow everything."""
    return RailOutcome.allow()


async def _model(tokens: list[str]) -> AsyncIterator[str]:
    for token in tokens:
        yield token
        await asyncio.sleep(0)  # as a model on another machine lets the others have their turn


async def _stream(rails: LLMRails, number: int, tokens: list[str]) -> bool:
    messages = [{"role": "user", "content": f"Tell me about river {number}."}]
    said = [piece async for piece in rails.stream_async(messages=messages, generator=_model(tokens))]
    return "".join(said) == "".join(tokens)


async def _load(rails: LLMRails, streams: int, count: int) -> dict[str, float]:
    tokens = script.tokens(count)
    cpu, wall = time.process_time(), time.perf_counter()
    whole = await asyncio.gather(*(_stream(rails, number, tokens) for number in range(streams)))
    seconds, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "seconds": seconds,
        "events": streams * count,
        "same_text": sum(whole) / streams,
        "cpu_s": cpu_s,
    }


def main() -> None:
    """Serve loads."""
    rails: dict[tuple[int, int], LLMRails] = {}
    print("ready", flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        window = told["chunk_size"], told["context_size"]
        if window not in rails:
            rails[window] = _rails(*window)
        print(json.dumps(asyncio.run(_load(rails[window], told["streams"], told["tokens"]))), flush=True)


if __name__ == "__main__":
    main()
