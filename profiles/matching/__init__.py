"""Which records are about one person: blocking rules, comparisons, match weights, verdicts and clusters.

Pure: no Django, no database. Callers hand over :class:`~profiles.matching.records.Comparable` values and get verdicts
with their reasons; ``profiles/resolution.py`` decides what to do about them.
"""

from profiles.matching.blocking import FREQUENT, blocking_keys
from profiles.matching.clusters import Resolution, agree, resolve
from profiles.matching.decision import Match, Verdict, compare
from profiles.matching.explanation import Evidence, sentence
from profiles.matching.records import Comparable
from profiles.matching.weights import MODEL, Model

__all__ = [
    "FREQUENT",
    "MODEL",
    "Comparable",
    "Evidence",
    "Match",
    "Model",
    "Resolution",
    "Verdict",
    "agree",
    "blocking_keys",
    "compare",
    "resolve",
    "sentence",
]
