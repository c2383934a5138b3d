"""guardrail.cli."""
