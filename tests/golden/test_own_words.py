"""The text we insert, invariant 12: our own inserted text passes our own classifiers, at the shipped thresholds."""

from __future__ import annotations

import asyncio

import pytest

from guardrail.app.offline import acts
from guardrail.app.wiring import Settings, assemble
from guardrail.core.verdicts import Role
from guardrail.interventions.composer import every_composition
from guardrail.transports.assessment import assess

LOCALES = ("en-US", "de-AT", "es-MX")


@pytest.fixture(scope="module")
def sidecar():
    built = assemble(Settings(), offline=True)
    yield built
    built.close()


def one_text_a_wording(composer):
    """Each wording of each language once; what varies besides are bridges and places."""
    texts = {}
    for request, composition in every_composition(composer, LOCALES):
        if composition.wording.startswith(request.locale[:2]):
            texts.setdefault(composition.wording, composition.text)
    return texts


async def test_our_own_inserts_pass_our_own_classifier(sidecar):
    texts = one_text_a_wording(sidecar.services.composer)
    assert len({wording[:2] for wording in texts}) == len(LOCALES)

    async def findings(wording, text):
        assessment = await assess(sidecar.services, text, Role.ASSISTANT)
        return [
            f"{wording}: {finding.category} {finding.severity} ({finding.score:.2f})"
            for finding in assessment.findings
            if acts(sidecar.services, finding)
        ]

    found = [
        line for lines in await asyncio.gather(*(findings(*item) for item in texts.items())) for line in lines
    ]

    assert found == []
