"""French: the catalogue says everything that the code says, and the pages say nothing in English."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from django.contrib import admin
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone, translation

from campaigns import launching
from campaigns.models import Campaign, Segment
from campaigns.segments.saving import save
from cdp.admin_sites import platform_site
from cdp.store_area.segment_templates import TEMPLATES
from loyalty import starter, till
from profiles import merging
from profiles.intake import ConsentStatement, Shown, Statement, Ticket, TicketLine, take_in_records
from profiles.models import MatchCandidate, Merge, Profile, Source
from tenants import invitations
from tenants.network.deeds import DEEDS
from tenants.network.models import AuditEvent, Job, Staff
from tenants.roles import Role
from tenants.scoping import whole_network
from tests import catalogue

FRENCH = catalogue.ROOT / "locale/fr/LC_MESSAGES/django.po"
PLACE = re.compile(r"%\(\w+\)[sd]|%[sd%]|\{\w*\}")

# --- The catalogue ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def entries() -> list:
    return [message for message in catalogue.read(FRENCH) if message.id]


def both(message) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The forms of the message and those of its translation."""
    one = isinstance(message.id, str)
    return ((message.id,), (message.string,)) if one else (tuple(message.id), tuple(message.string))


def test_every_entry_is_translated(entries):
    assert [message.id for message in entries if message.fuzzy or not all(both(message)[1])] == []


def test_everything_that_is_said_stands_in_the_catalogue(entries):
    known = {(message.context, text) for message in entries for text in both(message)[0]}
    said = catalogue.said_by_us() | catalogue.said_by_unfold("fr")
    forms = {
        (context, form) for context, text in said for form in ([text] if isinstance(text, str) else text)
    }
    assert sorted(str(form) for form in forms - known) == [], "make messages, then translate what it lists"


def test_translations_keep_the_places_of_values(entries):
    wrong = []
    for message in entries:
        originals, translations = both(message)
        wrong += [
            (original, text)
            for original, text in zip(originals, translations, strict=True)
            # A singular may leave its number out: «the one».
            if not set(PLACE.findall(text)) <= set(PLACE.findall(" ".join(originals)))
            or (
                isinstance(message.id, str) and sorted(PLACE.findall(original)) != sorted(PLACE.findall(text))
            )
        ]
    assert wrong == []


def test_the_typography_is_french(entries):
    texts = [re.sub(r"<[^>]*>", "", text) for message in entries for text in both(message)[1]]
    assert [text for text in texts if re.search(r"\w'\w| [:;?!»%](?![\w(])|« ", text)] == []


def test_every_deed_of_the_audit_trail_has_words():
    sources = "".join(
        path.read_text(encoding="utf-8")
        for package in catalogue.PACKAGES
        for path in (catalogue.ROOT / package).rglob("*.py")
    )
    verbs = set(re.findall(r'\baudit\(\s*[^,"]*(?:"system"|"matching")?,\s*"([a-z ]+)"', sources))
    assert len(verbs) > 15
    assert verbs - set(DEEDS) == set()


# --- The pages ----------------------------------------------------------------------------------------------------

# Words that French does not have, save in the names of this test's people and things.
ENGLISH = re.compile(
    r"\b(the|and|of|with|this|that|your|are|from|into|not|add|save|delete|search|filters|select|home|welcome|log|sign|"
    r"view|customers?|birthdays?|today|yes|choose|run|back|since)\b",
    re.IGNORECASE,
)
READ_ALOUD = {"alt", "aria-label", "label", "placeholder", "title"}
UNSPOKEN = {"script", "style", "code", "template"}


class Spoken(HTMLParser):
    """Collects what a reader sees or hears: texts, and the attributes that are shown or read aloud."""

    def __init__(self, page: str):
        super().__init__()
        self.language = ""
        self.words: list[str] = []
        self._silenced: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "html":
            self.language = attributes.get("lang", "")
        # Icons are spelled as ligatures of English words; a person's language is named in that language.
        silent = tag in UNSPOKEN or "material-symbols-outlined" in (attributes.get("class") or "").split()
        if (silent or self._silenced) and tag not in {
            "input",
            "img",
            "br",
            "link",
            "meta",
            "hr",
            "use",
            "path",
        }:
            self._silenced.append(tag)
        self.words += [value for name, value in attributes.items() if name in READ_ALOUD and value]
        if attributes.get("type") in {"submit", "button"} and attributes.get("value"):
            self.words.append(attributes["value"])

    def handle_endtag(self, tag):
        if self._silenced and self._silenced[-1] == tag:
            self._silenced.pop()

    def handle_data(self, data):
        if not self._silenced and data.strip():
            self.words.append(" ".join(data.split()))


def patterns(entries) -> list[re.Pattern]:
    """What must not be seen: every message longer than twelve letters that French says otherwise."""
    found = []
    for message in entries:
        for original, text in zip(*both(message), strict=True):
            literal = [re.escape(" ".join(part.split())) for part in PLACE.split(original)]
            if original != text and max(map(len, literal)) > 12:
                found.append(re.compile(rf"\b{'.+'.join(literal)}".replace(r"\b\W", r"\W")))
    return found


@pytest.fixture(scope="module")
def forbidden(entries) -> list[re.Pattern]:
    with translation.override("fr"):
        if translation.gettext("Possible duplicates") == "Possible duplicates":
            pytest.fail("the translations are not compiled: make setup")
    return patterns(entries)


def english_on(
    client: Client, address: str, forbidden: list[re.Pattern], post: dict | None = None
) -> list[str]:
    """What the page says in English. A page that leads on to another, or is not for this person, says nothing."""
    response = client.get(address) if post is None else client.post(address, post)
    if response.status_code != 200 or "html" not in response.headers["Content-Type"]:
        return []
    spoken = Spoken(response.text)
    if "<html" in response.text:
        assert spoken.language == "fr", address
    said = [
        f"{address}: {words}"
        for words in spoken.words
        if ENGLISH.search(words) or any(pattern.search(words) for pattern in forbidden)
    ]
    return [*dict.fromkeys(said)]


def admin_pages(site) -> Iterator[str]:
    """The address of every page of an admin site: lists, forms, and for each row its own pages."""
    for model in site._registry:
        for pattern in site._registry[model].get_urls():
            name, arguments = getattr(pattern, "name", None), pattern.pattern.converters
            if name and not arguments:
                yield reverse(f"{site.name}:{name}")
            elif name and len(arguments) == 1:
                with whole_network():
                    keys = list(model._base_manager.order_by("-pk").values_list("pk", flat=True)[:1])
                for key in keys:
                    yield reverse(f"{site.name}:{name}", kwargs=dict.fromkeys(arguments, key))


@pytest.fixture
def life(lille_till, lyon_till, alice, bruno, diane):
    """A brand's days in French: customers, tickets, a doubtful pair, a merge, a segment, a frozen campaign, a job."""
    with translation.override("fr"):
        return _life(lille_till[0], lyon_till[0], (alice, bruno, diane))


def _life(lille, lyon, staff) -> dict:
    Staff.objects.filter(pk__in=[person.pk for person in staff]).update(language="fr")
    starter.open_programme("Europe/Paris", timezone.localdate() - timedelta(days=90))
    crm = Source.objects.create(code="crm", name="Fichier du siège", kind=Source.Kind.CRM, trust=80)
    yes = [ConsentStatement("email", granted=True, at=datetime(2026, 1, 2, tzinfo=UTC))]
    people = [
        {"first_name": name, "last_name": "Dupont", "email": f"{name}@exemple.fr", "card": f"29910000000{n}"}
        for n, name in ((17, "Paul"), (24, "Paule"), (31, "Zoé"), (48, "Jeanne"))
    ]
    people[0]["birth_date"] = (timezone.localdate() + timedelta(days=2)).replace(year=1980).isoformat()
    statements = [
        Statement(f"K{n}", fields, {}, store_code="ACM-001", consents=yes) for n, fields in enumerate(people)
    ]
    ids = [outcome.profile_id for outcome in take_in_records(crm, statements)]
    paul, paule, zoe, jeanne = (Profile.objects.get(pk=pk) for pk in ids)
    line = TicketLine("SKU1", 1234, "Fromage", "CRÉMERIE", Decimal(2))
    for day in (50, 40, 35):
        for number, card in enumerate((people[0]["card"], people[1]["card"], None)):
            shown = Shown("card", card) if card else None
            at = timezone.now() - timedelta(days=day, minutes=number)
            till.record_purchase(lille, Ticket(f"R{day}{number}", at, [line], shown))
            till.record_purchase(lyon, Ticket(f"Y{day}{number}", at, [line], shown))
    evidence = [{"field": "last_name", "level": "exact", "weight": 7.2, "a": "dupont", "b": "dupont"}]
    MatchCandidate.objects.create(
        left=paul, right=paule, weight=3.0, probability=0.9, evidence=evidence, model_version="essai"
    )
    merging.merge(zoe, jeanne, ground=Merge.Ground.PERSON, by=staff[0])
    buyers = {"all": [{"field": "purchases", "op": ">=", "value": 1}]}
    national = Segment(name="Acheteurs", shared=True)
    save(national, buyers, staff[0], "pour commencer")
    own = Segment(name="Habitués", store=lille.store)
    save(own, buyers, staff[1])
    goal = {"goal": Campaign.Goal.VISIT, "goal_days": 30, "goal_uplift": Decimal(1), "channel": "email"}
    Campaign.objects.create(name="Brouillon", segment=national, created_by=staff[0], **goal)
    frozen = Campaign.objects.create(name="Printemps", segment=national, created_by=staff[0], **goal)
    launching.freeze(frozen, staff[0])
    Job.objects.create(kind="import", title="clients.csv", state=Job.State.RUNNING, done=1, total=2)
    AuditEvent.objects.create(actor="Alice", verb="export", object_type="campaign")
    return {"customer": paul, "segment": own}


@pytest.mark.parametrize("name", ["alice", "diane", "bruno"])
def test_head_office_reads_no_english(name, life, client_of, forbidden, request):
    client = client_of(request.getfixturevalue(name))
    addresses = [reverse("admin:index"), reverse("admin:password_change"), *admin_pages(admin.site)]
    first = life["segment"].pk
    addresses += [
        reverse("admin:profiles_profile_changelist") + "?q=introuvable",
        reverse("admin:campaigns_segment_explain", args=[first]) + "?customer=paul",
        reverse("admin:campaigns_segment_explain", args=[first]) + "?customer=introuvable",
    ]
    assert [said for address in addresses for said in english_on(client, address, forbidden)] == []


def test_the_builder_counts_and_complains_in_french(life, client_of, alice, forbidden):
    client, count = client_of(alice), reverse("admin:campaigns_segment_count")
    for definition in ('{"all": [{"field": "purchases", "op": ">=", "value": 1}]}', '{"all": []}'):
        assert english_on(client, count, forbidden, {"definition": definition}) == []
    refused = client.post(count, {"definition": "{"})
    assert refused.text == translation.gettext("This is no JSON.") != "This is no JSON."


def test_a_store_reads_no_english(life, client_of, bruno, forbidden):
    client, store = client_of(bruno), ["ACM-001"]
    addresses = [
        reverse(f"store:{page}", args=store)
        for page in ("today", "customers", "segments", "segment_templates", "tills")
    ]
    addresses += [
        reverse("store:choose"),
        reverse("store:customers", args=store) + "?q=introuvable",
        reverse("store:customer", args=[*store, life["customer"].public_id]),
        reverse("store:segment", args=[*store, life["segment"].pk]),
        *(reverse("store:new_segment", args=[*store, template]) for template in TEMPLATES),
    ]
    assert [said for address in addresses for said in english_on(client, address, forbidden)] == []
    for template in TEMPLATES:
        address = reverse("store:new_segment", args=[*store, template])
        assert english_on(client, address, forbidden, {"count": ""}) == []


def test_whoever_has_not_signed_in_yet_reads_no_english(life, client_of, forbidden):
    client = client_of()
    assert english_on(client, reverse("admin:login"), forbidden) == []
    assert english_on(client, reverse("admin:login"), forbidden, {"username": "x", "password": "y"}) == []
    newcomer = Staff.objects.create_user("n@acme.example", full_name="Nour", role=Role.ANALYST, language="fr")
    assert english_on(client, invitations.path_of(newcomer), forbidden) == []
    assert english_on(client, "/invitation/x:y:z/", forbidden) == []


@pytest.fixture
def platform(db):
    connection.set_schema_to_public()
    cache.clear()
    with whole_network():
        yield
    connection.set_schema_to_public()


def test_the_platform_reads_no_english(platform, forbidden):
    olga = Staff.objects.create_user(
        "olga@platform.example", full_name="Olga", role=Role.PLATFORM_ADMIN, language="fr"
    )
    client = Client(headers={"host": "localhost"})
    client.force_login(olga, backend="tenants.network.auth.RoleBackend")
    with translation.override("fr"):
        Job.objects.create(kind="onboarding", title="Mise en service", arguments={"slug": "boree"})
    connection.set_schema_to_public()
    urls = list(_with_public_urls(admin_pages(platform_site)))
    addresses = ["/", *urls, "/tenants/brand/add/availability/?slug=acme"]
    assert len(addresses) > 10
    assert [said for address in addresses for said in english_on(client, address, forbidden)] == []
    assert english_on(client, "/tenants/brand/add/", forbidden, {"name": "", "slug": "A B"}) == []


def _with_public_urls(addresses: Iterator[str]) -> Iterator[str]:
    from django.urls import set_urlconf

    set_urlconf("cdp.urls_public")
    try:
        yield from addresses
    finally:
        set_urlconf(None)
