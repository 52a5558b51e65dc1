"""Who a segment describes: how many, whom we reach, some of them, and why a person is in or out.

Everything is asked inside the scope in force. A store's own segment is asked inside that store, whoever looks:
`inside(segment)` opens that scope.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext as _

from campaigns.models import Campaign, Segment, SegmentVersion
from campaigns.segments.compiler import (
    condition,
    live_profiles,
    measure_of,
    read,
    to_queryset,
)
from campaigns.segments.fields import VOCABULARY, Field, codes, has_address, may_contact
from campaigns.segments.language import Group, Leaf, tell, tell_leaf
from profiles.models import Channel, Profile, ProfileFacts, ProfileStore
from tenants.calendar import brand_today
from tenants.network.models import Store
from tenants.scoping import NOTHING, Scope, current_scope, scoped_to
from tenants.templatetags.money import money


@dataclass(frozen=True)
class Reach:
    """Of the matching people on one channel: `reachable + no_consent + no_address = matching`."""

    channel: str
    reachable: int
    no_consent: int
    no_address: int  # consent is given, the address is missing


@dataclass(frozen=True)
class StoreShare:
    """How many of the matching people go with a store; `code` is "" for those without a home store."""

    code: str
    name: str
    people: int


@dataclass(frozen=True)
class Counts:
    """At head office the stores' shares add up to `matching`: everybody has one home store or none. A manager of
    several stores may find a person in two of them."""

    matching: int
    base: int
    reach: tuple[Reach, ...]
    per_store: tuple[StoreShare, ...]

    @property
    def reachable(self) -> dict[str, int]:
        """Channel -> people whom we may contact there and have the address of."""
        return {reach.channel: reach.reachable for reach in self.reach}

    @property
    def percent(self) -> float:
        """Share of the base, in percent."""
        return 100 * self.matching / self.base if self.base else 0.0


def tree_of(conditions: Group | SegmentVersion) -> Group:
    """The tree of a saved version, or the tree itself."""
    return conditions if isinstance(conditions, Group) else read(conditions.definition)


@contextmanager
def inside(thing: Segment | Campaign) -> Iterator[Scope]:
    """The scope in which something that may belong to one store is asked: that store, if the one in force sees it."""
    scope = current_scope()
    if thing.store_id is not None:
        allowed = scope.store_ids is None or thing.store_id in scope.store_ids
        scope = Scope.of([thing.store_id]) if allowed else NOTHING
    with scoped_to(scope) as opened:
        yield opened


def members(conditions: Group | SegmentVersion, today: date | None = None) -> QuerySet[Profile]:
    """The people, in the order of their ids. Raises `SegmentError`."""
    return to_queryset(tree_of(conditions), today).order_by("pk")


def reachable(people: QuerySet[Profile], channel: str) -> QuerySet[Profile]:
    """Those whom we may contact on the channel now and whose address we have."""
    return people.filter(may_contact(channel), has_address(channel))


def count(conditions: Group | SegmentVersion, today: date | None = None) -> Counts:
    """How many match, are reachable, go with which store. Raises `SegmentError`."""
    people = to_queryset(tree_of(conditions), today)
    wanted = {"matching": Count("pk")}
    for channel in Channel.values:
        allowed = may_contact(channel)
        wanted[f"{channel}_allowed"] = Count("pk", filter=allowed)
        wanted[f"{channel}_reachable"] = Count("pk", filter=allowed & has_address(channel))
    sums = people.aggregate(**wanted)
    reach = tuple(
        Reach(
            channel,
            reachable=sums[f"{channel}_reachable"],
            no_consent=sums["matching"] - sums[f"{channel}_allowed"],
            no_address=sums[f"{channel}_allowed"] - sums[f"{channel}_reachable"],
        )
        for channel in Channel.values
    )
    return Counts(sums["matching"], live_profiles().count(), reach, _per_store(people, sums["matching"]))


def _per_store(people: QuerySet[Profile], matching: int) -> tuple[StoreShare, ...]:
    if current_scope().is_whole_network:
        homes = ProfileFacts.objects.filter(pk__in=people.values("pk"), home_store__isnull=False)
        found = dict(homes.order_by().values_list("home_store").annotate(n=Count("pk")))
    else:
        known = ProfileStore.objects.filter(profile__in=people.values("pk"))
        found = dict(known.order_by().values_list("store").annotate(n=Count("pk")))
    stores = Store.objects.filter(pk__in=found).order_by("code")
    shares = [StoreShare(store.code, store.name, found[store.pk]) for store in stores]
    shares.sort(key=lambda share: (-share.people, share.code))
    if current_scope().is_whole_network and sum(found.values()) < matching:
        shares.append(StoreShare("", _("no home store yet"), matching - sum(found.values())))
    return tuple(shares)


def home_store() -> Subquery:
    """The id of a person's home store, to annotate profiles with (head office only)."""
    return Subquery(ProfileFacts.objects.filter(pk=OuterRef("pk")).values("home_store")[:1])


def sample(conditions: Group | SegmentVersion, n: int = 20) -> list[Profile]:
    """Some of them: the same ones each time, in no order that means anything."""
    return list(to_queryset(tree_of(conditions)).order_by("public_id")[:n])


@dataclass(frozen=True)
class Explained:
    """A node of the conditions with its verdict for one person. A group has `parts`, a leaf `told` and `value`."""

    holds: bool
    kind: str  # "all", "any", "none", or "leaf"
    told: str = ""
    value: str = ""
    parts: "tuple[Explained, ...]" = ()


def explain(conditions: Group | SegmentVersion, profile: Profile, language: str = "fr") -> Explained:
    """Why the person is in or out: each condition, whether it holds, and what we know. Raises `SegmentError`."""
    return _explain(tree_of(conditions), profile, language, brand_today(), "")


def _explain(node: Group | Leaf, profile: Profile, language: str, today: date, path: str) -> Explained:
    this = live_profiles().filter(pk=profile.pk)
    if isinstance(node, Leaf):
        word = VOCABULARY[node.word]
        value = measure_of(node, today, path).of(profile)
        holds = this.filter(condition(node, today, path)).exists()
        names = Names()
        return Explained(holds, "leaf", tell_leaf(node, word, language, names), _value(word, value, names))
    parts = tuple(
        _explain(child, profile, language, today, f"{path}.{node.kind}[{i}]".lstrip("."))
        for i, child in enumerate(node.children)
    )
    verdicts = [part.holds for part in parts]
    holds = {"all": all(verdicts), "any": any(verdicts), "none": not any(verdicts)}[node.kind]
    return Explained(holds, node.kind, parts=parts)


def _value(word: Field, value: object, names: "Names") -> str:
    if isinstance(value, list):
        return ", ".join(names(word.codes or word.takes.value, item) for item in value)
    return shown(word.takes.value, value)


class Names:
    """Codes as the names people know: stores, regions, tiers, channels; amounts in the brand's currency."""

    def __init__(self) -> None:
        self._lists: dict[str, dict[str, str]] = {}

    def __call__(self, kind: str, value: object) -> str:
        if kind in ("store", "region", "tier"):
            if kind not in self._lists:
                self._lists[kind] = codes(kind)
            return self._lists[kind].get(str(value), str(value))
        return shown(kind, value)


def shown(kind: str, value: object) -> str:
    """A value as a reader of the active language expects it. `kind` is that of `Takes`."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, list | tuple):
        return ", ".join(shown(kind, item) for item in value)
    if isinstance(value, date):
        return date_format(value, "SHORT_DATE_FORMAT")
    if kind == "cents" and isinstance(value, int):
        return money(value)
    if kind == "channel":
        return str(Channel(value).label) if value in Channel.values else str(value)
    if isinstance(value, int):
        return number_format(value, 0)
    return str(value)


def sentence(conditions: Group | SegmentVersion, language: str) -> str:
    """The conditions in plain French or English, with the names of stores, regions and tiers."""
    return tell(tree_of(conditions), VOCABULARY, language, Names())
