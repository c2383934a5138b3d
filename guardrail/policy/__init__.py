"""guardrail.policy."""
