"""Wire dialects: bytes of an LLM protocol to lane text and back, one file a dialect, sans-io."""
