"""What an application imports to have its model's answers guarded by a sidecar over gRPC.

Knows the protocol and the package's errors; scoring, policy and the sidecar itself are strangers to it.
"""

from __future__ import annotations

from guardrail.client.blocking import BlockingGuardClient
from guardrail.client.client import GuardClient
from guardrail.client.events import (
    Event,
    Finding,
    Intervention,
    LaneClosed,
    Opened,
    Released,
    Resource,
    Score,
    StopUpstream,
    Summary,
    TokenScore,
)
from guardrail.client.failures import UnavailableError
from guardrail.client.stream import GuardStream

__all__ = [
    "BlockingGuardClient",
    "Event",
    "Finding",
    "GuardClient",
    "GuardStream",
    "Intervention",
    "LaneClosed",
    "Opened",
    "Released",
    "Resource",
    "Score",
    "StopUpstream",
    "Summary",
    "TokenScore",
    "UnavailableError",
]
