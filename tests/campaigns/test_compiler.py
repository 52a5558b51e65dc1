"""Conditions become SQL that finds exactly the people whom plain Python finds in the same rows."""

from calendar import isleap
from collections import defaultdict
from datetime import date, timedelta
from random import Random

import pytest
from django.db import connection

from campaigns import audience
from campaigns.segments import compiler
from campaigns.segments.fields import VOCABULARY, AtStore, may_contact
from campaigns.segments.language import Group, Leaf, SegmentError, Takes, parse
from loyalty.models import Membership, Tier
from profiles import consent, facts, normalise
from profiles.models import (
    Channel,
    Profile,
    ProfileFacts,
    ProfileStore,
    Purchase,
    PurchaseLine,
    Refund,
    RefundLine,
    Source,
    SourceRecord,
)
from tenants.network.models import Store
from tenants.scoping import Scope, scoped_to, whole_network
from tests.campaigns import factories
from tests.campaigns.conftest import TODAY

CATEGORIES = ("DAIRY", "BAKERY", "GROCERY")


def find(tree: Group) -> set[int]:
    return set(compiler.to_queryset(tree).values_list("pk", flat=True))


# The oracle: the meaning of each word, over rows in memory ----------------------------------------------------------


class Oracle:
    """The rows that some stores see (None: the network), and what each word means over them."""

    def __init__(self, stores: set[int] | None):
        def seen(store_id):
            return stores is None or store_id in stores

        with whole_network():
            known = defaultdict(set)
            since = defaultdict(list)
            for row in ProfileStore.objects.all():
                if seen(row.store_id):
                    known[row.profile_id].add(row.store_id)
                    since[row.profile_id].append(row.since.date())
            everyone = Profile.objects.filter(merged_into=None)
            self.people = [p for p in everyone if stores is None or p.pk in known]
            self.known, self.since, self.network = known, since, stores is None
            self.tickets, self.lines = defaultdict(list), defaultdict(list)
            back, line_back = defaultdict(int), defaultdict(int)
            for row in Refund.objects.all():
                back[row.purchase_id] += row.total_cents if seen(row.store_id) else 0
            for row in RefundLine.objects.all():
                line_back[row.line_id] += row.amount_cents if seen(row.store_id) else 0
            for row in Purchase.objects.all():
                if seen(row.store_id):
                    net = row.total_cents - back[row.pk]
                    self.tickets[row.profile_id].append((row.pk, row.store_id, row.business_day, net))
            for row in PurchaseLine.objects.all():
                if seen(row.store_id):
                    net = row.amount_cents - line_back[row.pk]
                    self.lines[row.profile_id].append(
                        (row.purchase_id, row.store_id, row.business_day, net, row.category)
                    )
            self.codes = {store.pk: store.code for store in Store.objects.all()}
            self.regions = {store.pk: store.region.code for store in Store.objects.select_related("region")}
            self.home = {f.profile_id: f.home_store_id for f in ProfileFacts.objects.all()}
            self.tiers = {
                m.profile_id: m.tier.code for m in Membership.objects.select_related("tier") if m.tier
            }
            self.allowed = {
                pk: {channel for channel, told in channels.items() if told.granted}
                for pk, channels in consent.of_profiles(p.pk for p in self.people).items()
            }

    def members(self, tree: Group) -> set[int]:
        return {p.pk for p in self.people if self.holds(tree, p)}

    def holds(self, node: Group | Leaf, person: Profile) -> bool:
        if isinstance(node, Leaf):
            return self.leaf(node, person)
        verdicts = [self.holds(child, person) for child in node.children]
        return {"all": all(verdicts), "any": any(verdicts), "none": not any(verdicts)}[node.kind]

    def leaf(self, leaf: Leaf, person: Profile) -> bool:
        value = getattr(self, leaf.word)(leaf, person)
        takes = VOCABULARY[leaf.word].takes
        if leaf.word == "birthday":
            return self._near(leaf, value)
        if leaf.op in ("exists", "missing"):
            return bool(value) == (leaf.op == "exists")
        if takes is Takes.FLAG:
            return value == leaf.value
        if takes is Takes.CHANNEL:
            asked = leaf.value if isinstance(leaf.value, tuple) else (leaf.value,)
            return bool(set(asked) & value) == (leaf.op != "!=")
        if takes is Takes.CODE:
            asked = set(leaf.value if isinstance(leaf.value, tuple) else (leaf.value,))
            among = bool(asked & value)
            return among if leaf.op in ("=", "in") else not among and (bool(value) or leaf.or_missing)
        if takes is Takes.TEXT:
            return self._text(leaf, value.lower())
        return value is not None and _compares(value, leaf.op, leaf.value)

    @staticmethod
    def _text(leaf: Leaf, value: str) -> bool:
        asked = [text.lower() for text in (leaf.value if isinstance(leaf.value, tuple) else (leaf.value,))]
        if leaf.word == "city":
            asked += [normalise.city(text) or text for text in asked]
        if leaf.op == "contains":
            return any(text in value for text in asked)
        if leaf.op == "starts":
            return any(value.startswith(text) for text in asked)
        if leaf.op in ("=", "in"):
            return value in asked
        return value not in asked and (value != "" or leaf.or_missing)

    @staticmethod
    def _near(leaf: Leaf, born: date | None) -> bool:
        if born is None:
            return False
        for year in (TODAY.year - 1, TODAY.year, TODAY.year + 1):
            leap_child = (born.month, born.day) == (2, 29) and not isleap(year)
            celebrated = date(year, 2, 28) if leap_child else born.replace(year=year)
            away = (celebrated - TODAY).days
            if (abs(away) if leaf.op == "within" else away) in range(leaf.value + 1):
                return True
        return False

    def _rows(self, leaf: Leaf, person: Profile):
        rows = self.tickets[person.pk]
        if leaf.param("category") is not None:
            wanted = leaf.param("category")
            wanted = wanted if isinstance(wanted, tuple) else (wanted,)
            rows = [line for line in self.lines[person.pk] if line[4] in wanted]
        if leaf.param("store") is not None:
            wanted = leaf.param("store")
            wanted = wanted if isinstance(wanted, tuple) else (wanted,)
            rows = [row for row in rows if self.codes[row[1]] in wanted]
        if leaf.window is not None:
            first, last = leaf.window.bounds(TODAY)
            rows = [row for row in rows if first <= row[2] <= last]
        return rows

    def purchases(self, leaf, person):
        return len({row[0] for row in self._rows(leaf, person)})

    def spend(self, leaf, person):
        return sum(row[3] for row in self._rows(leaf, person))

    def days_since_purchase(self, leaf, person):
        days = [row[2] for row in self._rows(leaf, person)]
        return (TODAY - max(days)).days if days else None

    def first_purchase_on(self, leaf, person):
        return min((row[2] for row in self._rows(leaf, person)), default=None)

    def bought_in(self, leaf, person):
        return {self.codes[row[1]] for row in self._rows(leaf, person)}

    def may_contact(self, leaf, person):
        return self.allowed.get(person.pk, set())

    def home_store(self, leaf, person):
        if not self.network:
            return {self.codes[store] for store in self.known[person.pk]}
        return {self.codes[self.home[person.pk]]} if self.home.get(person.pk) else set()

    def home_region(self, leaf, person):
        if not self.network:
            return {self.regions[store] for store in self.known[person.pk]}
        return {self.regions[self.home[person.pk]]} if self.home.get(person.pk) else set()

    def tier(self, leaf, person):
        return {self.tiers[person.pk]} if person.pk in self.tiers else set()

    def points(self, leaf, person):
        return 0  # nobody has an account here; tests of the ledger's words stand below

    def points_expiring(self, leaf, person):
        return 0

    def known_since(self, leaf, person):
        return person.created_at.date() if self.network else min(self.since[person.pk])

    def birthday(self, leaf, person):
        return person.birth_date

    def has_email(self, leaf, person):
        return bool(person.email)

    def has_phone(self, leaf, person):
        return bool(person.phone)

    def __getattr__(self, column):
        return lambda leaf, person: getattr(person, column)


def _compares(value, op, wanted) -> bool:
    if op == "between":
        return wanted[0] <= value <= wanted[1]
    return {
        "=": value == wanted, "!=": value != wanted, "<": value < wanted, "<=": value <= wanted,
        ">": value > wanted, ">=": value >= wanted,
    }[op]  # fmt: skip


# A small world, and random conditions over it ------------------------------------------------------------------------


@pytest.fixture
def world(today, lille, lyon):
    draw = Random(41)
    source = Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM)
    tiers = [
        Tier.objects.create(code=code, name=code.title(), threshold=n)
        for n, code in enumerate(("blue", "gold"))
    ]
    people = []
    for number in range(70):
        profile = Profile.objects.create(
            first_name=draw.choice(["Élodie", "Marc", "Zoé", ""]),
            last_name=draw.choice(["Martin", "Petit", "de La Tour"]),
            city=draw.choice(["Lille", "LYON", "saint etienne", ""]),
            postcode=draw.choice(["59000", "69002", ""]),
            email=draw.choice([f"p{number}@exemple.fr", ""]),
            phone=draw.choice([f"+336000000{number:02d}", ""]),
            birth_date=draw.choice(
                [
                    None,
                    date(1984, 2, 29),
                    date(1990, 6, 15),
                    date(1971, 6, 20),
                    date(1999, 12, 30),
                    date(2000, 1, 2),
                ]
            ),
        )
        people.append(profile)
        for store in draw.choice([[lille], [lyon], [lille, lyon]]):
            ProfileStore.objects.create(profile=profile, store=store)
            for _ticket in range(draw.choice([0, 0, 1, 2, 4])):
                day = TODAY - timedelta(days=draw.choice([0, 1, 29, 30, 31, 40, 89, 90, 91, 300]))
                lines = [
                    (draw.choice(CATEGORIES), draw.randrange(100, 5000)) for _ in range(draw.randrange(1, 4))
                ]
                bought = factories.ticket(profile, store, day, *lines, keep_facts=False)
                if draw.random() < 0.2:
                    factories.refund(
                        bought.lines.get(number=1), 100, draw.choice([lille, lyon]), keep_facts=False
                    )
        if draw.random() < 0.4:
            Membership.objects.create(profile=profile, tier=draw.choice([*tiers, None]))
        _consents(profile, source, draw)
    for winner, loser in [(people[0], people[1]), (people[2], people[3])]:
        factories.merge_into(winner, loser)
    facts.refresh(p.pk for p in people)
    return people


def _consents(profile: Profile, source: Source, draw: Random) -> None:
    records = [
        SourceRecord.objects.create(
            source=source, external_id=f"{profile.pk}-{n}", content_hash="0" * 64, stated_at="2026-01-01T00:00Z",
            profile=profile,
        )
        for n in range(2)
    ]  # fmt: skip
    start = date(2026, 1, 1)
    told = set()
    for _change in range(draw.randrange(5)):
        record, channel = draw.choice([None, *records]), draw.choice(Channel.values)
        at = f"{start + timedelta(days=draw.randrange(6))}T00:00Z"
        if (record, channel, at) not in told:
            told.add((record, channel, at))
            factories.tell_consent(
                profile, channel, granted=draw.random() < 0.6, at=at, record=record, keep_facts=False
            )


VALUES = {
    "purchases": [0, 1, 2, 3, 5], "spend": [0, 1500, 4000, 9000], "days_since_purchase": [0, 1, 29, 30, 31, 90],
    "first_purchase_on": [date(2026, 6, 14), date(2026, 5, 16), date(2025, 1, 1)],
    "bought_in": ["ACM-001", "ACM-002"], "home_store": ["ACM-001", "ACM-002"], "home_region": ["nord", "sud"],
    "may_contact": list(Channel.values), "city": ["lille", "Lyon", "St-Etienne", "il"], "postcode": ["59000", "69"],
    "first_name": ["élodie", "Marc"], "last_name": ["petit", "de"], "birthday": [0, 1, 5, 60, 108, 182],
    "has_email": [True, False], "has_phone": [True, False], "known_since": [TODAY, date(2026, 6, 1)],
    "tier": ["blue", "gold"], "points": [0, 10], "points_expiring": [0, 10],
}  # fmt: skip


def random_leaf(draw: Random, words: list[str]) -> dict:
    word = VOCABULARY[draw.choice(words)]
    values = VALUES[word.name]
    op = draw.choice(word.allowed_operators)
    leaf: dict = {"field": word.name, "op": op}
    if op in ("in", "not_in"):
        leaf["value"] = draw.sample(values, draw.randrange(1, 3))
    elif op == "between":
        leaf["value"] = [plain(value) for value in sorted(draw.choices(values, k=2))]
    elif op not in ("exists", "missing"):
        leaf["value"] = plain(draw.choice(values))
    if word.windowed and draw.random() < 0.6:
        leaf["window"] = draw.choice(
            [
                {"last_days": 30},
                {"last_days": 90},
                {"month": "previous"},
                {"from": "2026-03-01", "to": "2026-05-31"},
            ]
        )
    for param in word.params:
        if param.required or draw.random() < 0.5:
            leaf[param.name] = {
                "category": draw.choice(["DAIRY", ["BAKERY", "GROCERY"]]),
                "store": draw.choice(["ACM-001", ["ACM-001", "ACM-002"]]),
                "within_days": 30,
            }[param.name]
    if op in ("!=", "not_in") and word.may_be_missing:
        leaf["or_missing"] = draw.random() < 0.5
    return leaf


def plain(value):
    return value.isoformat() if isinstance(value, date) else value


def random_group(draw: Random, words: list[str], depth: int) -> dict:
    children = [
        random_group(draw, words, depth - 1)
        if depth > 1 and draw.random() < 0.4
        else random_leaf(draw, words)
        for _ in range(draw.randrange(1, 4))
    ]
    return {draw.choice(["all", "any", "none"]): children}


def test_every_word_finds_whom_the_oracle_finds(world):
    oracle, draw = Oracle(None), Random(5)
    for name in VOCABULARY:
        for _again in range(25):
            tree = parse({"all": [random_leaf(draw, [name])]}, VOCABULARY)
            assert find(tree) == oracle.members(tree), tree


def test_random_trees_find_whom_the_oracle_finds(world):
    oracle, draw = Oracle(None), Random(6)
    sizes = set()
    for _again in range(150):
        tree = parse(random_group(draw, list(VOCABULARY), 3), VOCABULARY)
        assert find(tree) == oracle.members(tree), tree
        sizes.add(len(find(tree)))
    assert len(sizes) > 20


def test_a_store_is_answered_from_its_own_rows(world, lille):
    allowed = [name for name, field in VOCABULARY.items() if field.at_store is not AtStore.REFUSED]
    oracle, draw = Oracle({lille.pk}), Random(7)
    with scoped_to(Scope.of([lille.pk])):
        for _again in range(150):
            tree = parse(random_group(draw, allowed, 3), VOCABULARY)
            assert find(tree) == oracle.members(tree), tree


def test_an_explanation_agrees_with_the_search(world, lille):
    draw = Random(8)
    for scope in (Scope.of(None), Scope.of([lille.pk])):
        with scoped_to(scope):
            allowed = [
                n
                for n, f in VOCABULARY.items()
                if scope.is_whole_network or f.at_store is not AtStore.REFUSED
            ]
            seen = list(compiler.live_profiles())
            for name in allowed:
                tree = parse({"any": [random_leaf(draw, [name])]}, VOCABULARY)
                inside = find(tree)
                for somebody in draw.sample(seen, 4):
                    told = audience.explain(tree, somebody, "en")
                    assert told.holds == (somebody.pk in inside), tree
                    assert told.parts[0].told
                    assert told.parts[0].value


def test_consent_read_by_a_store_is_the_consent_of_the_history(world, lille, lyon):
    with scoped_to(Scope.of([lille.pk, lyon.pk])):
        for channel in Channel.values:
            by_sql = set(Profile.objects.filter(may_contact(channel)).values_list("pk", flat=True))
            by_history = {
                pk
                for pk, told in consent.of_profiles(Profile.objects.values_list("pk", flat=True)).items()
                if channel in told and told[channel].granted
            }
            assert by_sql == by_history


# Stories -----------------------------------------------------------------------------------------------------------

LAPSED_DAIRY_NORTH = {
    "all": [
        {"field": "purchases", "category": "DAIRY", "op": ">=", "value": 3, "window": {"last_days": 90}},
        {"field": "days_since_purchase", "op": ">=", "value": 30},
        {"field": "may_contact", "op": "=", "value": "email"},
        {"field": "home_region", "op": "in", "value": ["nord"]},
    ]
}
RECOUNT = """
    SELECT count(*) FROM profiles_profile p
    JOIN profiles_profilefacts f ON f.profile_id = p.id
    JOIN network_region r ON r.id = f.home_region_id
    WHERE p.merged_into_id IS NULL AND r.code = 'nord'
      AND (SELECT count(DISTINCT l.purchase_id) FROM profiles_purchaseline l
           WHERE l.profile_id = p.id AND l.category = 'DAIRY'
             AND l.business_day BETWEEN %(today)s::date - 90 AND %(today)s) >= 3
      AND (SELECT max(b.business_day) FROM profiles_purchase b WHERE b.profile_id = p.id) <= %(today)s::date - 30
      AND (SELECT c.granted FROM profiles_consentchange c
           WHERE c.profile_id = p.id AND c.channel = 'email' ORDER BY c.at DESC LIMIT 1)
"""


def test_lapsed_dairy_buyers_of_the_north_are_counted_as_plain_sql_counts_them(today, lille, lyon):
    for number in range(24):
        somebody = factories.person(allows=["email"] if number % 3 else [], email=f"d{number}@exemple.fr")
        store = lille if number % 4 else lyon
        for visit in range(number % 6):
            factories.ticket(somebody, store, today - timedelta(days=20 + number + 9 * visit), ("DAIRY", 300))
    with connection.cursor() as cursor:
        cursor.execute(RECOUNT, {"today": today})
        (by_hand,) = cursor.fetchone()
    counts = audience.count(compiler.read(LAPSED_DAIRY_NORTH))
    assert counts.matching == by_hand > 0
    assert counts.reachable["email"] == by_hand


def test_whoever_never_bought_has_zero_purchases_and_no_last_day(today, lille):
    never = factories.person(lille)
    assert find(compiler.read({"all": [{"field": "purchases", "op": "<=", "value": 2}]})) == {never.pk}
    assert find(compiler.read({"all": [{"field": "days_since_purchase", "op": ">=", "value": 0}]})) == set()


def test_a_store_may_not_ask_for_points(today, lille):
    tree = compiler.read({"all": [{"any": [{"field": "points", "op": ">", "value": 10}]}]})
    with scoped_to(Scope.of([lille.pk])), pytest.raises(SegmentError) as caught:
        compiler.to_queryset(tree)
    assert str(caught.value).startswith(
        "all[0].any[0].field: «loyalty points» is answered at head office only"
    )


def test_unknown_codes_are_refused_when_conditions_are_written(today, lille):
    with pytest.raises(SegmentError) as caught:
        compiler.check_codes(
            compiler.read({"all": [{"field": "home_region", "op": "in", "value": ["norf"]}]})
        )
    assert str(caught.value) == "all[0].value: unknown region «norf»; did you mean «nord»?"


def test_head_offices_queryset_run_by_a_store_shows_no_facts(today, lille):
    factories.ticket(factories.person(lille), lille, today)
    tree = compiler.read({"all": [{"field": "purchases", "op": ">=", "value": 1}]})
    queryset = compiler.to_queryset(tree)
    assert queryset.count() == 1
    with scoped_to(Scope.of([lille.pk])):
        assert queryset.count() == 0
        assert compiler.to_queryset(tree).count() == 1
