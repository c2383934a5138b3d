"""The default pack: a causal MiniLM with one linear head per role on every token."""

from __future__ import annotations
