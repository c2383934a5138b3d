"""guardrail.client."""
