"""The wall between stores: nothing of Lyon is ever shown in Lille.

The tests enumerate what exists — every model, admin page, API path, segment word — so a new one is tested the moment
it stands. Lyon's people bear canary names and its tickets canary amounts; whatever Bruno, who manages Lille, can
open must hold none of them.
"""

import re
from base64 import b64encode
from contextvars import Context
from datetime import timedelta
from decimal import Decimal
from itertools import product

import pytest
from django.apps import apps
from django.contrib import admin
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from campaigns.models import Campaign, Segment
from campaigns.segments.compiler import to_queryset
from campaigns.segments.fields import VOCABULARY, AtStore
from campaigns.segments.language import SegmentError, Takes, parse
from campaigns.segments.saving import save
from loyalty import claims, till, vouchers
from loyalty.models import Cashier, Coupon, Reward, RewardStock, StorePlace
from profiles.intake import (
    ConsentStatement,
    EventStatement,
    RefundLineStatement,
    RefundStatement,
    Sender,
    Shown,
    Statement,
    Ticket,
    TicketLine,
    record_events,
    take_in_records,
)
from profiles.models import Profile, Purchase, Source, SourceRecord
from tenants.network.models import Store
from tenants.scoping import NetworkWide, NoScope, StoreScoped, scoped_to, whole_network
from tests.conftest import PASSWORD
from tests.loyalty.conftest import programme  # noqa: F401 - a fixture

OUR_APPS = ("network", "profiles", "loyalty", "campaigns")
OUR_MODELS = [model for app in OUR_APPS for model in apps.get_app_config(app).get_models()]
SCOPED = [model for model in OUR_MODELS if issubclass(model, StoreScoped)]

# Names, addresses, receipts and amounts that stand in Lyon's rows alone.
CANARIES = (
    "Zyxquist",
    "zyxquist",
    "Rue du Canari",
    "REC-LYON",
    "7777",
    "7,777",
    "66.66",
    "Lyon Bellecour",
    "Secret de Lyon",
)


@pytest.fixture
def network(lille_till, lyon_till, programme, alice, bruno, chloe):  # noqa: F811
    """Lille and Lyon with customers, tickets, consents, segments and campaigns of their own, and one shared person."""
    source = Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM, trust=80)
    yes = [ConsentStatement("email", True, wording="Secret de Lyon")]
    people = [
        _person(
            "L1",
            "Ysoline",
            "Zyxquist",
            "ysoline.zyxquist@mail.example",
            "ACM-002",
            street="3 Rue du Canari",
            consents=yes,
        ),
        _person(
            "L2", "Ysaline", "Zyxquist", "ysaline.zyxquist@mail.example", "ACM-002", street="3 Rue du Canari"
        ),
        _person("N1", "Nadine", "Nordmann", "nadine@mail.example", "ACM-001", card="2990000000017"),
        _person("B1", "Berthe", "Partagée", "berthe@mail.example", "ACM-001", card="2990000000024"),
    ]
    take_in_records(source, people)
    lyon, lille = lyon_till[0], lille_till[0]
    sold = [("L", lyon, "email", "ysoline.zyxquist@mail.example"), ("S", lyon, "card", "2990000000024")]
    for name, machine, kind, value in sold:
        till.record_purchase(machine, _ticket(f"REC-LYON-{name}", 777700, Shown(kind, value)))
        till.record_purchase(machine, _ticket(f"REC-LYON-{name}2", 6666, Shown(kind, value)))
    for value in ("2990000000017", "2990000000024"):
        till.record_purchase(lille, _ticket(f"REC-LILLE-{value[-2:]}", 1200, Shown("card", value)))
    for machine, told, value in (
        (lyon, "Secret de Lyon", "2990000000024"),
        (lille, "Lille", "2990000000024"),
    ):
        visits = [
            EventStatement(
                f"{told}-{n}", "store_visited", timezone.now(), shown=shown, properties={"said": told}
            )
            for n, shown in enumerate((Shown("card", value), None))
        ]
        record_events(Sender.of_till(machine), [*visits, EventStatement(f"{told}-q", told, timezone.now())])
    cashier = {"cashier": "Secret de Lyon"}
    nobodys = Ticket("REC-LYON-N", timezone.now(), [TicketLine(sku="S1", amount_cents=777700)], **cashier)
    till.record_purchase(lyon, nobodys)
    claims.at_till(
        lyon, "C1", Shown("card", "2990000000024"), claims.Told("REC-LYON-N", 777700, "ACM-002"), "other"
    )
    claims.tally(timezone.now().date() - timedelta(days=timezone.now().weekday()))
    till.refund(
        lyon,
        RefundStatement("REC-LYON-B", timezone.now(), "REC-LYON-U", [RefundLineStatement(1, Decimal(1))]),
    )
    Cashier.objects.create(store=lyon.store, code="Secret de Lyon", name="Zyxquist")
    StorePlace.objects.create(store=lyon.store, latitude="66.66", longitude="4.83")
    everyone = {"all": [{"field": "purchases", "op": ">=", "value": 1}]}
    national = Segment(name="Buyers", shared=True)
    save(national, everyone, alice)
    save(Segment(name="Secret de Lyon", store=lyon.store), everyone, chloe)
    Campaign.objects.create(
        name="Secret de Lyon", segment=national, goal="visit", goal_days=30, goal_uplift=Decimal(1), store=lyon.store
    )  # fmt: skip
    _benefits(lille.store, lyon.store)
    return {"lille": lille.store, "lyon": lyon.store}


def _benefits(lille, lyon) -> None:
    """A reward and a coupon of Lyon's own, one that both stores stock, and vouchers of Lyon's."""
    told = {"kind": "gift", "points": 1, "valid_from": timezone.now().date()}
    own = Reward.objects.create(code="own", name="Secret de Lyon", **told)
    both = Reward.objects.create(code="both", name="Both", is_counted=True, **told)
    coupon = Coupon.objects.create(
        code="LYON", name="Secret de Lyon", kind="amount", amount=7777, starts_at=timezone.now()
    )
    for held in (own, coupon):
        held.stores.set([lyon])
    both.stores.set([lille, lyon])
    RewardStock.objects.bulk_create(
        [RewardStock(reward=both, store=lille, left=5), RewardStock(reward=both, store=lyon, left=7777)]
    )
    berthe = Profile.objects.get(last_name="Partagée")
    vouchers.give(berthe, own, key="own", store=lyon)
    given = vouchers.give(berthe, both, key="both", store=lyon, by="Secret de Lyon")
    vouchers.use(given.code, store=lille, at=timezone.now())


def _person(external_id, first_name, last_name, email, store_code, street="", card="", consents=()):
    fields = {
        "first_name": first_name,
        "last_name": last_name,
        "email": email,
        "street": street,
        "card": card,
    }
    return Statement(external_id, fields, raw=fields, store_code=store_code, consents=consents)


def _ticket(receipt_id, cents, shown) -> Ticket:
    return Ticket(
        receipt_id=receipt_id,
        bought_at=timezone.now() - timedelta(days=2),
        lines=[TicketLine(sku="S1", amount_cents=cents, category="DAIRY")],
        shown=shown,
    )


def opened(client, address: str, *statuses: int) -> tuple[int, list[str]]:
    """Open the address: its status, and the canaries that it shows."""
    response = client.get(address)
    assert response.status_code in statuses, f"{address}: {response.status_code}"
    body = b"".join(response.streaming_content) if response.streaming else response.content
    text = body.decode("utf-8", "replace")
    return response.status_code, [f"{address} shows {canary}" for canary in CANARIES if canary in text]


# --- Models --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", OUR_MODELS, ids=lambda model: model._meta.label)
def test_every_model_says_who_sees_it(model):
    if not model._meta.auto_created:
        assert issubclass(model, StoreScoped) != issubclass(model, NetworkWide)


@pytest.mark.parametrize("model", SCOPED, ids=lambda model: model._meta.label)
def test_every_scoped_model_refuses_to_answer_without_a_scope(brand, model):
    def asked_outside_any_scope():
        with pytest.raises(NoScope):
            list(model._default_manager.all())

    Context().run(asked_outside_any_scope)


@pytest.mark.parametrize("model", SCOPED, ids=lambda model: model._meta.label)
def test_every_rule_of_visibility_compiles_alone_and_as_a_subquery(brand, bruno, model):
    with scoped_to(bruno.scope):
        assert list(model._default_manager.filter(pk__in=model._default_manager.values("pk"))) is not None


def test_a_store_changes_nothing_of_another(network, bruno):
    with scoped_to(bruno.scope):
        assert Purchase.objects.filter(receipt_id__startswith="REC-LYON").update(payment="x") == 0
        assert SourceRecord.objects.filter(last_name="Zyxquist").update(line=9) == 0
        assert {str(profile) for profile in Profile.objects.all()} == {"Nadine Nordmann", "Berthe Partagée"}


# --- Admin ---------------------------------------------------------------------------------------------------


def _admin_pages(model):
    """The addresses of a model's admin: the list, the form, and for each row of the whole network its pages."""
    meta = model._meta
    for pattern in admin.site._registry[model].get_urls():
        name = getattr(pattern, "name", None)
        if not name:
            continue
        arguments = pattern.pattern.converters
        if not arguments:
            yield reverse(f"admin:{name}")
        elif len(arguments) == 1:
            (argument,) = arguments
            with whole_network():
                keys = list(model._base_manager.values_list("pk", flat=True)[:30])
            for key in keys:
                yield reverse(f"admin:{name}", kwargs={argument: key})
    yield reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist") + "?q=ysoline"


def test_no_admin_page_shows_a_store_what_is_another_s(network, bruno, client_of):
    client, shown, answered = client_of(bruno), [], 0
    for model in admin.site._registry:
        for address in _admin_pages(model):
            status, canaries = opened(client, address, 200, 302, 403, 404, 405)
            shown += canaries
            answered += status == 200
    assert shown == []
    assert answered > 10


def test_the_first_page_and_the_search_of_a_store_stay_inside(network, bruno, client_of):
    client = client_of(bruno)
    for address in (reverse("admin:index"), reverse("admin:search") + "?s=zyxquist"):
        response = client.get(address)
        assert response.status_code == 200
        # The page repeats the word that was searched for.
        assert "Ysoline" not in response.content.decode()


@pytest.mark.parametrize(
    "model", [model for model in OUR_MODELS if admin.site.is_registered(model)], ids=lambda m: m._meta.label
)
def test_no_list_answers_a_store_s_question_about_what_hangs_on_a_row(model, bruno, rf):
    """A join is not scoped: `?purchases=7` would tell whose ticket of Lyon that is."""
    request = rf.get("/")
    request.user = bruno
    page = admin.site._registry[model]
    with scoped_to(bruno.scope):
        filters = [entry[0] if isinstance(entry, tuple) else entry for entry in page.get_list_filter(request)]
    listed = {entry for entry in filters if isinstance(entry, str)}
    relations = [field for field in model._meta.get_fields(include_hidden=True) if field.is_relation]
    hanging = [field.name for field in relations if field.auto_created]
    beside = [
        field.name
        for field in relations
        if field.name not in listed and issubclass(field.related_model, StoreScoped)
    ]
    with scoped_to(bruno.scope):
        for name in [*hanging, *beside]:
            for lookup in (name, f"{name}__gte", f"{name}__isnull", f"{name}__pk", f"{name}__store"):
                assert not page.lookup_allowed(lookup, "1", request), lookup
        for field in relations:
            if field.name in listed:
                for further in field.related_model._meta.get_fields(include_hidden=True):
                    if further.is_relation:
                        lookup = f"{field.name}__{further.name}__gte"
                        assert not page.lookup_allowed(lookup, "1", request), lookup


def test_a_store_cannot_ask_who_bought_a_ticket_of_another(network, bruno, alice, client_of):
    with whole_network():
        ticket = Purchase.objects.get(receipt_id="REC-LYON-S")
    people = reverse("admin:profiles_profile_changelist")
    for words in (f"purchases={ticket.pk}", "accounts__isnull=0", "provenance__email__source=CRM"):
        answer = client_of(bruno).get(f"{people}?{words}")
        assert answer.status_code != 200
        assert client_of(alice).get(f"{people}?purchases={ticket.pk}").status_code == 200
    # The list's own filters still answer.
    assert client_of(bruno).get(f"{people}?known=recent").status_code == 200
    tickets = reverse("admin:profiles_purchase_changelist")
    address = f"{tickets}?store__id__exact={network['lille'].pk}&period=recent"
    assert client_of(bruno).get(address).status_code == 200


# --- API and store area --------------------------------------------------------------------------------------


def _paths(resolver: URLResolver, prefix: str = ""):
    for pattern in resolver.url_patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _paths(pattern, path)
        elif isinstance(pattern, URLPattern):
            yield path, pattern


def _addresses_below(root: str):
    """Every address below a root, with each key of the whole network in the place of its arguments."""
    with whole_network():
        public_ids = [str(key) for key in Profile._base_manager.values_list("public_id", flat=True)]
        codes = list(Store._base_manager.values_list("code", flat=True))
        numbers = {key for model in SCOPED for key in model._base_manager.values_list("pk", flat=True)[:8]}
    texts = {"code": codes, "store": codes, "store_code": codes}
    for path, _pattern in _paths(get_resolver("cdp.urls")):
        if not path.startswith(root):
            continue
        choices = []
        for part in re.findall(r"<[^>]+>", path):
            kind, _colon, name = part.strip("<>").rpartition(":")
            anything = [*public_ids, *map(str, sorted(numbers))]
            choices.append(
                {"uuid": public_ids, "int": map(str, sorted(numbers))}.get(kind, texts.get(name, anything))
            )
        for keys in product(*choices):
            replacement = iter(keys)
            yield "/" + re.sub(r"<[^>]+>", lambda _part, r=replacement: next(r), path)


@pytest.mark.parametrize("root", ["api/v1/", "store/"])
def test_no_path_of_the_api_or_the_store_area_shows_a_store_what_is_another_s(
    network, bruno, client_of, root
):
    client = client_of(bruno)
    addresses = list(_addresses_below(root))
    assert addresses
    answered = 0
    shown = []
    for address in addresses:
        status, canaries = opened(client, address, 200, 302, 308, 400, 401, 403, 404, 405)
        answered += status == 200
        shown += canaries
    assert shown == []
    assert answered


def test_a_program_that_signs_in_with_each_request_sees_what_its_person_sees(
    network, alice, bruno, client_of
):
    """HTTP Basic is recognised inside the view, after the middleware: the scope must follow."""
    for staff, names in ((alice, {"Nordmann", "Partagée", "Zyxquist"}), (bruno, {"Nordmann", "Partagée"})):
        told = b64encode(f"{staff.email}:{PASSWORD}".encode()).decode()
        response = client_of().get("/api/v1/profiles", headers={"authorization": f"Basic {told}"})
        assert {profile["last_name"] for profile in response.json()["results"]} == names
    assert client_of().get("/api/v1/profiles").status_code in (401, 403)


def test_a_till_finds_no_member_of_another_store_by_id(network, lille_till, till_client):
    client = till_client(lille_till[1])
    for profile in Profile.objects.all():
        response = client.get(f"/api/v1/members/{profile.public_id}")
        known = profile.last_name in ("Nordmann", "Partagée")
        assert response.status_code == (200 if known else 404)


# --- Segments ------------------------------------------------------------------------------------------------

VALUES = {
    Takes.NUMBER: (">=", 1), Takes.CENTS: (">=", 1), Takes.DAYS: ("<=", 5000), Takes.DAY: (">=", "2020-01-01"),
    Takes.TEXT: ("contains", "a"), Takes.CODE: ("=", "ACM-001"), Takes.CHANNEL: ("=", "email"), Takes.FLAG: ("=", True),
}  # fmt: skip


def _leaf(word) -> dict:
    op, value = VALUES[word.takes]
    if word.operators:
        op, value = word.operators[0], min(value, 100) if word.takes is Takes.DAYS else value
    required = {param.name: 400 for param in word.params if param.required}
    return {"field": word.name, "op": op, "value": value, **required}


def test_no_segment_word_finds_people_of_another_store(network, bruno):
    with scoped_to(bruno.scope):
        own = set(Profile.objects.values_list("pk", flat=True))
        for word in VOCABULARY.values():
            for kind in ("all", "none"):
                tree = parse({kind: [_leaf(word)]}, VOCABULARY)
                if word.at_store is AtStore.REFUSED:
                    with pytest.raises(SegmentError):
                        to_queryset(tree)
                else:
                    assert set(to_queryset(tree).values_list("pk", flat=True)) <= own, word.name


def test_a_store_counts_its_own_purchases_of_a_person_it_shares(network, bruno):
    """Berthe spent 78,436 cents in Lyon and 1,200 in Lille: Lille knows of 1,200."""
    with scoped_to(bruno.scope):
        for least, names in ((1, {"Nordmann", "Partagée"}), (1201, set())):
            tree = parse({"all": [{"field": "spend", "op": ">=", "value": least}]}, VOCABULARY)
            assert set(to_queryset(tree).values_list("last_name", flat=True)) == names
