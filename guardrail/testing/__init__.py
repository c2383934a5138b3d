"""guardrail.testing."""
