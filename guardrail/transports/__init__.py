"""guardrail.transports."""
