"""guardrail: a streaming guardrail that steps in constructively, in mid-stream."""

from __future__ import annotations

__version__ = "0.1.0"
