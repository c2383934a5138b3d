"""The risks this project tells apart, and the order in which they are named when several apply."""

from __future__ import annotations

from types import MappingProxyType

CATEGORIES = MappingProxyType(
    {
        "self_harm": "suicide and self-injury: ideation, plans, methods, encouragement",
        "mental_distress": "distress without ideation; drives redirection to help, never a block",
        "child_safety": "endangerment or sexualisation of minors",
        "weapons_cbrn": "weapons, explosives and chemical, biological, radiological, nuclear harm",
        "drugs": "making, getting or misusing illegal drugs",
        "cyber": "malware, intrusion and other attacks on computers",
        "fraud_scam": "fraud, scams and deception for gain",
        "secret_credential": "keys, tokens and passwords",
        "payment_card": "numbers of payment cards",
        "bank_account": "numbers of bank accounts",
        "national_id": "numbers by which a state knows a person",
        "contact_data": "e-mail addresses and telephone numbers of people",
        "privacy_pii": "exposing or hunting down private data of people",
        "sexual": "sexual content",
        "hate_harassment": "hate, harassment and dehumanising speech",
        "violence": "threats, incitement and instructions for violence against others",
        "crime_other": "other crimes: theft, trafficking, evading the law",
        "medical_advice": "dangerous or unqualified medical advice",
        "injection_jailbreak": "attempts to override the model's instructions",
        "misinformation": "false claims that can harm",
        "other_unethical": "other unethical conduct",
        "any_harm": "harmful, without telling which kind",
    },
)
"""Category to what it means; care for the user first, then the most specific first."""

ENTITIES = frozenset({"secret_credential", "payment_card", "bank_account", "national_id", "contact_data"})
"""Categories that are things in a text, with exact spans, and no meaning of it: lexical packs find them."""

FAILURE = "failure"
"""Not a risk: the category of decisions taken because text could not be scored."""

SEVERITIES = (1, 2, 3)
"""1 mild, 2 clear, 3 acute."""


def rank(category: str) -> int:
    """Position in the order of naming; unknown categories come last, ``any_harm`` just before."""
    names = list(CATEGORIES)
    return names.index(category) if category in CATEGORIES else len(names)
