"""A policy to begin with: the default one, as far as a pack goes, with the pack's operating points."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

import guardrail.config

POLICY = "policy.yaml"
_DEFAULT = Path(guardrail.config.__file__).parent / "default_policy.yaml"
_HEAD = """\
# The default policy as far as pack {name} goes; thresholds are the pack's operating points, which nobody measured.
# Every key: docs/operators/policy.md.

"""


def first_policy(pack: Path, content: Mapping[str, Any]) -> str:
    """The policy, as text.

    Args:
        pack: where the pack will lie.
        content: its manifest.
    """
    policy = yaml.safe_load(_DEFAULT.read_text(encoding="utf-8"))
    points = content["operating_points"]
    kept: dict[str, Any] = {}
    for name, rules in policy["categories"].items():
        unjudged = [role for role in ("user", "assistant") if not points.get(role, {}).get(name)]
        rest = {key: value for key, value in rules.items() if key not in unjudged}
        if {"user", "assistant"} & rest.keys():
            kept[name] = rest
    policy |= {"name": f"{content['name']}-first", "pack": str(pack), "categories": kept}
    return _HEAD.format(name=content["name"]) + yaml.safe_dump(policy, sort_keys=False)
