"""What an operator writes: policy files and process settings, read and validated at start (invariant 9)."""
