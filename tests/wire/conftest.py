"""Makes ``wire_streams`` importable: tests are imported by path, so siblings are not found by themselves."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
