"""Syntax tree -> a queryset of live profiles, by `Q` and scoped subqueries: parameters only, no SQL text.

The scope in force decides how each word is answered (`fields.AtStore`), and must still be in force when the queryset
runs. Run elsewhere it shows less, never more: a store that runs head office's queryset sees no facts.
"""

from collections.abc import Iterator
from datetime import date

from django.db.models import Q, QuerySet

from campaigns.segments.fields import CODE_LISTS, VOCABULARY, AtStore, Field, Question, codes
from campaigns.segments.language import Group, Leaf, SegmentError, parse
from campaigns.segments.language.parsing import near
from campaigns.segments.measures import Measure
from profiles.models import Profile
from tenants.calendar import brand_today, brand_zone
from tenants.scoping import current_scope


def read(definition: object) -> Group:
    """The tree of a definition in our vocabulary. Raises `SegmentError`."""
    return parse(definition, VOCABULARY)


def to_queryset(tree: Group, today: date | None = None) -> QuerySet[Profile]:
    """The live profiles, of those the scope sees, that the tree describes on a day (default: the brand's today).

    Raises `SegmentError` for a word that the scope may not use.
    """
    return live_profiles().filter(condition(tree, today))


def live_profiles() -> QuerySet[Profile]:
    """Everybody in scope: a merged profile lives on in another one."""
    return Profile.objects.filter(merged_into=None).order_by()


def condition(tree: Group | Leaf, today: date | None = None, path: str = "") -> Q:
    """The tree as a condition on `Profile`."""
    today = today or brand_today()
    if isinstance(tree, Leaf):
        return measure_of(tree, today, path).people(tree)
    parts = [condition(child, today, _below(path, tree, i)) for i, child in enumerate(tree.children)]
    if tree.kind == "all":
        whole = Q()
        for part in parts:
            whole &= part
        return whole
    either = Q()
    for part in parts:
        either |= part
    return either if tree.kind == "any" else ~either


def measure_of(leaf: Leaf, today: date, path: str = "") -> Measure:
    """What stands behind a leaf, in the scope in force. Raises `SegmentError` if nothing may."""
    field = VOCABULARY[leaf.word]
    scope = current_scope()
    if not scope.is_whole_network and field.at_store is AtStore.REFUSED:
        raise SegmentError(f"{path}.field", "head_office_only", field=field.label)
    return field.answer(Question(leaf, today, brand_zone(), scope.is_whole_network))


def check_codes(tree: Group | Leaf, path: str = "") -> None:
    """Refuse stores, regions and tiers that the scope in force does not know. Raises `SegmentError`.

    Asked when conditions are written, not when they are read: a store may look at its part of a national segment
    that names other stores.
    """
    if isinstance(tree, Group):
        for i, child in enumerate(tree.children):
            check_codes(child, _below(path, tree, i))
        return
    for kind, wanted, place in _codes_in(tree, VOCABULARY[tree.word], path):
        known = codes(kind)
        for code in wanted:
            if code not in known:
                raise SegmentError(
                    place, "unknown_code", what=CODE_LISTS[kind], word=code, near=near(code, list(known))
                )


def _codes_in(leaf: Leaf, field: Field, path: str) -> Iterator[tuple[str, tuple, str]]:
    if field.codes in CODE_LISTS:
        yield field.codes, leaf.value if isinstance(leaf.value, tuple) else (leaf.value,), f"{path}.value"
    for name, value in leaf.params:
        if name in CODE_LISTS:
            yield name, value if isinstance(value, tuple) else (value,), f"{path}.{name}"


def _below(path: str, group: Group, i: int) -> str:
    return f"{path}.{group.kind}[{i}]" if path else f"{group.kind}[{i}]"
