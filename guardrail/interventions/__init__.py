"""The words of interventions: templates and the places where help is.

The files, from the inside out:

* ``locales`` - what a BCP 47 tag says of language and country.
* ``documents`` - YAML into validated records, with errors that name file and key.
* ``resources`` - the catalogue of places where help is.
* ``templates`` - the reviewed wordings, one file a language.
* ``rotation`` - which of several wordings comes next.
* ``referrals`` - places as lines of text.
* ``composer`` - ``Composer``, what the driver asks.
"""

from __future__ import annotations

from guardrail.interventions.composer import Composer, every_composition, load_composer
from guardrail.interventions.resources import Catalogue, load_catalogue

__all__ = ["Catalogue", "Composer", "every_composition", "load_catalogue", "load_composer"]
