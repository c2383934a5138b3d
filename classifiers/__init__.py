"""Training, evaluation and export of the classifier packs; the sidecar never imports this."""

from __future__ import annotations
