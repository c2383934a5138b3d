"""The shape of a policy: what a policy file can say, as frozen dataclasses, and what must hold between keys.

Whoever reads files validates against these types; nothing here opens one. Every field's string below
it is the reference documentation of the policy file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Literal

from guardrail.core.verdicts import FailureStance, Kind, Role
from guardrail.policy.taxonomy import CATEGORIES

Mode = Literal["enforce", "observe"]
Severity = Literal[1, 2, 3]
KindName = Literal["allow", "annotate", "mask", "redirect", "replace"]
StanceName = Literal["pass", "hold", "redirect"]
FinishReason = Literal["stop", "content_filter"]

DEFAULT_PACK = "default"
"""The pack of a policy that names none."""

_LOCALE = re.compile(r"(?:[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*)?")
OperatingPoints = Mapping[Role, Mapping[str, Mapping[int, float] | None]]

_STRICT = {"extra": "forbid", "strict": False}


def kind(name: KindName) -> Kind:
    """The ladder's step of that name."""
    return Kind[name.upper()]


def _probability(value: float, what: str) -> None:
    if not 0.0 < value <= 1.0:
        msg = f"{what} must be over 0 and at most 1, got {value}"
        raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRules:
    """What is done about one category in one role's text."""

    interventions: Mapping[Severity, KindName]
    """Severity to what is done about it."""
    thresholds: Mapping[Severity, float] | None = None
    """Severity to the risk score from which on a text has it; must name the same severities and not fall
    as severity rises. Unset: the operating points that the pack's makers chose."""
    watch: float | None = None
    """Score from which on text is held back; unset: 0.8 times the lowest threshold that intervenes, and
    never more than that threshold. Categories that only annotate never hold text."""
    debounce_tokens: int | None = None
    """Consecutive tokens over a threshold that make a finding; unset: the policy's, but 1 where the
    intervention is ``mask``. Only for ``assistant``: of a user's turn each complete sentence stands for itself."""

    def __post_init__(self) -> None:
        if not self.interventions:
            raise ValueError("interventions is empty: leave the role out to switch the category off for it")
        if self.watch is not None:
            _probability(self.watch, "watch")
        if self.debounce_tokens is not None and self.debounce_tokens < 1:
            raise ValueError("debounce_tokens must be at least 1")
        if self.thresholds is None:
            return
        if set(self.thresholds) != set(self.interventions):
            msg = (
                f"thresholds name severities {sorted(self.thresholds)}, "
                f"interventions name {sorted(self.interventions)}: they must be the same"
            )
            raise ValueError(msg)
        ordered = [self.thresholds[severity] for severity in sorted(self.thresholds)]
        for value in ordered:
            _probability(value, "a threshold")
        if ordered != sorted(ordered):
            msg = f"thresholds must not fall as severity rises, got {dict(self.thresholds)}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryRules:
    """What is done about one category."""

    user: RoleRules | None = None
    """Rules for the user's turns; what they decide is done in the answer. Unset: not judged."""
    assistant: RoleRules | None = None
    """Rules for the model's text. Unset: not judged."""
    on_failure: StanceName | None = None
    """What happens to text that could not be scored; unset: the policy's. The strictest category of a
    role wins: redirect over hold over pass."""
    on_overload: StanceName | None = None
    """The same for text whose scores are late, or refused because the engine has too much to do; unset: the
    policy's ``on_overload``, and where that is unset what ``on_failure`` says here."""
    floor: Mapping[Severity, KindName] = field(default_factory=dict)
    """Hard limit: never less than this, whatever the rules choose."""
    ceiling: Mapping[Severity, KindName] = field(default_factory=dict)
    """Hard limit: never more than this; wins over nothing but must not lie below the floor."""

    def __post_init__(self) -> None:
        if self.user is not None and self.user.watch is not None:
            raise ValueError("user.watch has no effect: what a user says is not held back")
        if self.user is not None and self.user.debounce_tokens not in {None, 1}:
            raise ValueError("user.debounce_tokens can only be 1: each sentence of a user stands for itself")
        for severity, name in self.floor.items():
            top = self.ceiling.get(severity)
            if top is not None and kind(top) < kind(name):
                msg = f"severity {severity}: ceiling {top} lies below floor {name}"
                raise ValueError(msg)
        for severity, name in (self.user.interventions if self.user is not None else {}).items():
            if self.clamp(kind(name), severity) is Kind.MASK:
                msg = (
                    f"user.interventions: severity {severity} would be masked, but what a user says has reached "
                    "the model before it is judged; the most that can be done about a span there is annotate"
                )
                raise ValueError(msg)

    def role(self, role: Role) -> RoleRules | None:
        """The rules for a role's text."""
        return {Role.USER: self.user, Role.ASSISTANT: self.assistant}.get(role)

    def clamp(self, chosen: Kind, severity: int) -> Kind:
        """``chosen`` inside the hard limits of ``severity``."""
        low, high = self.floor.get(severity), self.ceiling.get(severity)  # type: ignore[call-overload]
        if low is not None:
            chosen = max(chosen, kind(low))
        if high is not None:
            chosen = min(chosen, kind(high))
        return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Deadlines; every wait has one (invariant 10)."""

    open_word_deadline_ms: float = 250.0
    """How long a word may stay open before it is scored as it stands; 0 waits for the word's end."""
    scoring_deadline_ms: float = 1000.0
    """How long scores may take before they count as late; stance ``pass`` lets the text go then."""
    abandon_ms: float = 15000.0
    """How long late scores are waited for before the text counts as failed and the stance is followed."""

    def __post_init__(self) -> None:
        if not 0 <= self.open_word_deadline_ms < inf:
            raise ValueError("open_word_deadline_ms must be a number of milliseconds, not negative")
        if not 0 < self.scoring_deadline_ms <= self.abandon_ms < inf:
            raise ValueError("needs 0 < scoring_deadline_ms <= abandon_ms, both finite")

    @property
    def engine_wait_s(self) -> float:
        """How long what is queued may take before the engine refuses more.

        Half the scoring deadline: what is taken is scored in time, even if it had to ask more than once.
        """
        return self.scoring_deadline_ms / 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldBackRules:
    """How far text may be held while risk is watched."""

    max_held_chars: int = 800
    """At most this many characters are held by the watch state before whole sentences leave."""
    settle_tokens: int = 6
    """Tokens below the watch threshold (less ``margin``) until a watched lane counts as settled."""
    margin: float = 0.05
    """How far below the watch threshold a score must fall to count towards settling; at most half of it."""

    def __post_init__(self) -> None:
        if self.max_held_chars < 80 or self.settle_tokens < 1 or not 0 <= self.margin < 1:
            raise ValueError("needs max_held_chars >= 80, settle_tokens >= 1 and 0 <= margin < 1")


class KeyedError(ValueError):
    """What is wrong at a key within the mapping that is checked.

    Args:
        keys: from the mapping to the value that is wrong.
        reason: what is wrong with it.
    """

    def __init__(self, keys: Sequence[str | int], reason: str) -> None:
        super().__init__(reason)
        self.keys = keys


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRules:
    """The pack that decides which conversations another one is asked about, and when it does."""

    pack: str
    """The gate: another entry of ``packs``, as it is named there."""
    threshold: float
    """Its score from which on the other pack is asked; what stays below is missed."""
    categories: Sequence[str] = ()
    """Categories of the gate that count; none: all."""

    def __post_init__(self) -> None:
        _probability(self.threshold, "threshold")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackRules:
    """One entry of ``packs``; a bare name stands for one with nothing but ``pack``."""

    pack: str
    """A shipped name or a directory."""
    gated_by: GateRules | None = None
    """Asked only about conversations in which another pack saw something; unset: about all."""
    gates_only: bool = False
    """Its own scores count for nothing but what it gates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One policy: everything an operator decides."""

    version: Literal[1]
    """Version of this file format."""
    name: str
    """Shown in records, metrics and response metadata."""
    mode: Mode = "enforce"
    """enforce acts; observe only reports. A request may ask for the stricter one, never the laxer."""
    pack: str = ""
    """Classifier pack: a shipped name or a directory. Unset, and no ``packs`` either: default."""
    packs: Sequence[PackRules] = ()
    """Several packs, instead of ``pack``. All of them score every text, unless another gates them; where several
    score a category, its highest score counts and the thresholds are those of the first that has any."""
    default_locale: str = ""
    """BCP 47 tag assumed for requests that state none; decides which country's resources are offered."""
    finish_reason: FinishReason = "stop"
    """Finish reason of an answer that an intervention ended. Several clients raise on content_filter."""
    on_failure: StanceName = "redirect"
    """What happens to text that could not be scored, for categories that do not say."""
    on_overload: StanceName | None = None
    """What happens to text that the engine is too slow for, for categories that do not say; unset: what
    ``on_failure`` says."""
    debounce_tokens: int = 2
    """Consecutive tokens over a threshold that make a finding, for roles that do not say."""
    timing: Timing = field(default_factory=Timing)
    hold_back: HoldBackRules = field(default_factory=HoldBackRules)
    categories: Mapping[str, CategoryRules]
    """Category name to its rules; categories left out are not judged."""

    def __post_init__(self) -> None:
        if not _LOCALE.fullmatch(self.default_locale):
            msg = f"default_locale must be a BCP 47 tag such as en-GB, got {self.default_locale!r}"
            raise ValueError(msg)
        if self.pack and self.packs:
            raise ValueError("pack and packs are both given: name one pack, or list all of them under packs")
        _check_packs(self.packs)
        if not self.categories:
            raise ValueError("categories is empty: this policy would guard nothing")
        for name in self.categories:
            if name not in CATEGORIES:
                msg = f"unknown category {name!r}; known: {', '.join(CATEGORIES)}"
                raise ValueError(msg)
        if self.debounce_tokens < 1:
            raise ValueError("debounce_tokens must be at least 1")

    @property
    def pack_names(self) -> tuple[str, ...]:
        """The packs it asks for, by name or directory."""
        return tuple(entry.pack for entry in self.packs) or (self.pack or DEFAULT_PACK,)

    def stance(self, role: Role, *, overload: bool = False) -> FailureStance:
        """The strictest stance among the categories judged for ``role``.

        Args:
            role: whose text could not be scored.
            overload: the engine is too slow for it; False: scoring failed.
        """
        order = (FailureStance.PASS, FailureStance.HOLD, FailureStance.REDIRECT)
        own = self.on_overload if overload else None
        stances = [
            FailureStance((overload and rules.on_overload) or own or rules.on_failure or self.on_failure)
            for rules in self.categories.values()
            if rules.role(role) is not None
        ]
        return max(stances, key=order.index, default=FailureStance(own or self.on_failure))


def _check_packs(packs: Sequence[PackRules]) -> None:
    """Each once, and each gate one of the others, in no circle."""
    names = [entry.pack for entry in packs]
    if len(set(names)) != len(names) or "" in names:
        raise KeyedError(["packs"], f"must name each pack once, got {names}")
    gates = {entry.pack: entry.gated_by.pack for entry in packs if entry.gated_by is not None}
    for place, entry in enumerate(packs):
        chain = [entry.pack]
        while (gate := gates.get(chain[-1])) is not None:
            chain.append(gate)
            at: list[str | int] = ["packs", place, "gated_by", "pack"]
            if gate not in names:
                at[1] = names.index(chain[-2])
                raise KeyedError(at, f"{gate} is not among packs: {', '.join(names)}; list it there, too")
            if gate in chain[:-1]:
                raise KeyedError(at, f"gates itself, and would never be asked: {' < '.join(chain)}")
        if entry.gates_only and entry.pack not in gates.values():
            raise KeyedError(["packs", place, "gates_only"], f"{entry.pack} gates no other pack")


def with_operating_points(policy: Policy, points: OperatingPoints) -> Policy:
    """``policy`` with its packs' thresholds where it names none of its own.

    A category the packs' makers advise not to judge in a role is switched off there, unless the policy
    gives it thresholds.

    Args:
        policy: as read from a file.
        points: role, category, severity to the score from which it holds; None: not to be judged.
    """
    categories = {
        name: replace(
            rules,
            user=_filled(rules.user, points[Role.USER].get(name)),
            assistant=_filled(rules.assistant, points[Role.ASSISTANT].get(name)),
        )
        for name, rules in policy.categories.items()
    }
    return replace(policy, categories=categories)


def _filled(rules: RoleRules | None, points: Mapping[int, float] | None) -> RoleRules | None:
    if rules is None or rules.thresholds is not None:
        return rules
    if points is None:
        return None
    return replace(rules, thresholds={severity: points[severity] for severity in rules.interventions})


# Read by pydantic where files are validated: an unknown key is an error, not a comment.
for _shape in (RoleRules, CategoryRules, Timing, HoldBackRules, GateRules, PackRules, Policy):
    setattr(_shape, "__pydantic_config__", _STRICT)  # noqa: B010 - pydantic's name, not ours to declare
