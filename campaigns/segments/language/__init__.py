"""The segment language, pure: JSON in, a syntax tree out, and the tree told in plain French or English.

A definition is a group, ``{"all": […]}``, ``{"any": […]}`` or ``{"none": […]}``, of groups and leaves. A leaf names
a word of the vocabulary (`campaigns/segments/fields.py`), an operator, a value, and where the word takes them, a
window of time and parameters::

    {"field": "purchases", "category": "DAIRY", "op": ">=", "value": 3, "window": {"last_days": 90}}

Whatever JSON comes in, `parse` returns a tree or raises `SegmentError`, which names the path and says what to mend.
"""

from campaigns.segments.language.errors import SegmentError
from campaigns.segments.language.parsing import MOST_LEAVES, parse
from campaigns.segments.language.telling import tell, tell_leaf
from campaigns.segments.language.tree import DEEPEST, Group, Leaf, Window, leaves, to_json
from campaigns.segments.language.words import Param, Takes, Vocabulary, Word

__all__ = [
    "DEEPEST",
    "MOST_LEAVES",
    "Group",
    "Leaf",
    "Param",
    "SegmentError",
    "Takes",
    "Vocabulary",
    "Window",
    "Word",
    "leaves",
    "parse",
    "tell",
    "tell_leaf",
    "to_json",
]
