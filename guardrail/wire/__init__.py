"""guardrail.wire."""
