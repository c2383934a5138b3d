"""Benchmarks: one file a question, answers as ratios measured side by side in one run."""
