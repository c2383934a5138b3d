"""guardrail.engine."""
