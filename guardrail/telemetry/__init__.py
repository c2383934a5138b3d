"""guardrail.telemetry."""
