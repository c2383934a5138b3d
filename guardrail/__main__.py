"""``python -m guardrail``."""

from __future__ import annotations

import sys

from guardrail.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
