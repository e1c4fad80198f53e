"""The little that analysis knows of English; text in other languages passes through it unharmed."""

from __future__ import annotations

STOP_WORDS = frozenset(
    """
    a about above after again against all also although am an and any are as at be became because become been before
    being below between both but by can could did do does doing done down during each either else ever every few for
    from further had has have having he hence her here hers herself him himself his how however i if in into is it its
    itself just least less many may me might more most much must my myself near neither no nor not now of off often on
    once one only onto or other others our ours ourselves out over own per rather same several shall she should since
    so some such than that the their theirs them themselves then there therefore these they this those though through
    thus till to too toward towards under unless until up upon us very via was we were what when where whether which
    while who whom whose why will with within without would yes yet you your yours yourself yourselves
    """.split()  # noqa: SIM905  a block of words reads better than 190 quoted strings
)
"""Words that neither name nor distinguish anything."""

ABBREVIATIONS = frozenset(
    """
    adm al approx apr art assoc aug ave bros ca capt cf ch co col corp cpl dec dept dr ed eds eg eq est etc e.g feb fig
    figs fr gen gov hon i.e ie inc jan jr jul jun lt ltd maj mar messrs mr mrs ms mt no nos nov oct op p pp prof rep
    rev sec sen sep sept sgt sr st vol vols vs viz
    """.split()  # noqa: SIM905  a block of words reads better than quoted strings
)
"""What may stand before a full stop that ends no sentence."""

JOINING_WORDS = (
    "of",
    "the",
    "de",
    "van",
    "von",
    "der",
    "den",
    "del",
    "della",
    "di",
    "da",
    "dos",
    "du",
    "la",
    "le",
    "el",
    "al",
    "bin",
    "ibn",
    "für",
    "zu",
)
"""Small words that occur inside names."""
