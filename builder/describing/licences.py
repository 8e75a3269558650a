"""Which licence a wheel is under: SPDX where what it says is certain, its own words elsewhere."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from cyclonedx.model.license import DisjunctiveLicense, License, LicenseAcknowledgement, LicenseExpression
from cyclonedx.spdx import fixup_id, is_expression

if TYPE_CHECKING:
    from builder.describing.wheel_facts import WheelFacts

_MAX_NAME = 100
# Classifiers that mean one SPDX licence and no other; BSD's, GPL's and many more do not say which version.
_CERTAIN = {
    "Apache Software License": "Apache-2.0",
    "Blue Oak Model License (BlueOak-1.0.0)": "BlueOak-1.0.0",
    "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": "CC0-1.0",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU Affero General Public License v3 or later (AGPLv3+)": "AGPL-3.0-or-later",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v2 (LGPLv2)": "LGPL-2.0-only",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "Zero-Clause BSD (0BSD)": "0BSD",
    "Zope Public License": "ZPL-2.1",
}


def licences(facts: WheelFacts) -> list[License]:
    """Return the licences that *facts* declare; [] where they declare none.

    PEP 639's expression counts first, then the text of License where it is short enough to be a name,
    then the classifiers. One expression, or any number of single licences, as CycloneDX wants it.
    """
    for text in (facts.licence_expression, facts.licence):
        if text and len(text) <= _MAX_NAME and text.upper() != "UNKNOWN":
            return [_from_text(text)]
    names = dict.fromkeys(item.rpartition(" :: ")[2] for item in facts.classifiers)
    names.pop("OSI Approved", None)
    return [_from_text(_CERTAIN.get(name, name)) for name in names]


@functools.cache
def _from_text(text: str) -> License:
    """Return *text* as an SPDX id, else as an expression of several, else as a name."""
    declared = LicenseAcknowledgement.DECLARED
    if (known := fixup_id(text)) is not None:
        return DisjunctiveLicense(id=known, acknowledgement=declared)
    if any(word in text for word in (" OR ", " AND ", " WITH ")) and is_expression(text):
        return LicenseExpression(text, acknowledgement=declared)
    return DisjunctiveLicense(name=text, acknowledgement=declared)
