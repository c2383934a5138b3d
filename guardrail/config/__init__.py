"""guardrail.config."""
