"""Head office's pages: who may open which, the customer page, the review queue, tills, staff and rules."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib import admin
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone

from loyalty import starter, till
from loyalty.models import Programme, Rule
from profiles import consent, merging
from profiles.intake import ConsentStatement, Shown, Statement, Ticket, TicketLine, take_in_records
from profiles.models import MatchCandidate, Merge, Profile, ProfileFacts, Source
from tenants.network.models import AuditEvent, Job, Region, Staff, Till
from tenants.roles import Role
from tenants.scoping import whole_network

pytestmark = pytest.mark.django_db

EVIDENCE = [
    {"field": "last_name", "level": "exact", "weight": 7.2, "a": "dupont", "b": "dupont"},
    {"field": "first_name", "level": "other", "weight": -4.0, "a": "paul", "b": "pauline"},
]


@pytest.fixture
def sources(brand):
    return {
        code: Source.objects.create(code=code, name=name, kind="other", trust=trust)
        for code, name, trust in (
            ("crm", "Head-office CRM", 80),
            ("web", "Web shop", 60),
            ("game", "Contest", 30),
        )
    }


def told(source, external_id, store_code="", consents=(), **fields) -> Profile:
    """The profile that a statement of a source led to."""
    (outcome,) = take_in_records(
        source, [Statement(external_id, fields, {"As typed": external_id}, None, store_code, consents)]
    )
    return Profile.objects.get(pk=outcome.profile_id)


@pytest.fixture
def paul(sources, lille_till, lyon_till):
    """Paul, known to three sources that a person found to be one; he bought in Lille and in Lyon."""
    starter.open_programme("Europe/Paris")
    crm = told(
        sources["crm"], "K1", "ACM-001", [ConsentStatement("email", granted=True)],
        first_name="Paul", last_name="Dupont", card="2991000000017", phone="06 12 34 56 78",
    )  # fmt: skip
    web = told(sources["web"], "W1", first_name="Paul", last_name="Dupond", email="paul@dupont-famille.fr")
    game = told(sources["game"], "G1", first_name="P", last_name="Dupont", postcode="59000")
    for other in (web, game):
        merging.merge(crm, other, ground=Merge.Ground.PERSON)
    now = timezone.now() - timedelta(minutes=5)
    for place, cents, label in ((lille_till, 1234, "Maroilles"), (lyon_till, 98765, "Quenelle-de-Lyon")):
        lines = [TicketLine("SKU1", cents, label, "DAIRY", Decimal(1))]
        till.record_purchase(place[0], Ticket("R1", now, lines, Shown("card", "2991000000017")))
    return Profile.objects.get(pk=crm.pk)


@pytest.fixture
def analyst(brand):
    return Staff.objects.create_user(
        "ana@acme.example", "x", full_name="Ana", role=Role.ANALYST, language="en"
    )


def page_of(profile) -> str:
    return reverse("admin:profiles_profile_change", args=[profile.pk])


@pytest.fixture
def pair(sources):
    """Two profiles in the queue, and a second pair behind them."""
    people = [
        told(sources["crm"], name, first_name=name, last_name="Durand")
        for name in ("Anne", "Marc", "Luc", "Zoé")
    ]
    likely, less = (
        MatchCandidate.objects.create(
            left=people[n], right=people[n + 1], weight=weight, probability=probability, evidence=EVIDENCE,
            model_version="test",
        )
        for n, weight, probability in ((0, 3.0, 0.9), (2, 1.0, 0.7))
    )  # fmt: skip
    return likely, less


class TestEveryPage:
    @pytest.mark.parametrize("role", [Role.BRAND_ADMIN, Role.MARKETER, Role.ANALYST, Role.STORE_MANAGER])
    def test_lists_and_pages_answer_whoever_may_see_them(self, client_of, lille, paul, pair, role):
        staff = Staff.objects.create_user("x@acme.example", "x", full_name="X", role=role, language="en")
        staff.stores.set([lille])
        Job.objects.create(kind="import", title="Import", store=lille)
        client = client_of(staff)
        for model, model_admin in admin.site._registry.items():
            meta = model._meta
            if meta.app_label == "campaigns" or meta.model_name == "importrun":
                continue  # their own tests open these
            name = f"admin:{meta.app_label}_{meta.model_name}"
            may = staff.has_perm(f"{meta.app_label}.view_{meta.model_name}")
            answer = client.get(reverse(f"{name}_changelist"))
            assert answer.status_code == (200 if may else 403), (role, name)
            row = model._base_manager.first()
            if row is not None and may:
                page = client.get(reverse(f"{name}_change", args=[row.pk]))
                assert page.status_code in (200, 302), (role, name)
            if model_admin.has_add_permission(answer.wsgi_request):
                assert client.get(reverse(f"{name}_add")).status_code == 200, (role, name)


class TestCustomers:
    @pytest.mark.parametrize(
        "term", ["dupont", "DUPONT paul", "06 12 34 56 78", "+33612345678", "2991000000017"]
    )
    def test_a_customer_is_found_by_any_word(self, client_of, alice, paul, term):
        answer = client_of(alice).get(reverse("admin:profiles_profile_changelist"), {"q": term})
        assert [row.pk for row in answer.context["cl"].result_list] == [paul.pk]

    def test_the_page_shows_three_sources_and_why_each_value_won(self, client_of, alice, paul):
        answer = client_of(alice).get(page_of(paul))
        for words in (
            "Head-office CRM",
            "Web shop",
            "Contest",
            "the most trusted of those that say it",
            "Why merged",
            "Dupond",
        ):
            assert words in answer.text, words
        assert len(answer.context["records"]) == 3
        assert "Quenelle-de-Lyon" in answer.text
        assert "Points" in answer.text

    def test_looking_at_somebody_is_written_down(self, client_of, alice, paul):
        client_of(alice).get(page_of(paul))
        seen = AuditEvent.objects.get(verb="viewed")
        assert (seen.actor, seen.object_id) == ("Alice Martin", str(paul.pk))

    def test_a_manager_sees_own_tickets_no_points_and_no_sources(self, client_of, bruno, paul):
        answer = client_of(bruno).get(page_of(paul))
        assert "Maroilles" in answer.text
        for hidden in ("Quenelle", "987.65", "Lyon", "Web shop", "Why merged", "points-title", "Separate"):
            assert hidden not in answer.text, hidden

    def test_a_manager_does_not_find_somebody_else_s_customer(self, client_of, bruno, sources, lyon):
        stranger = told(sources["crm"], "Y1", "ACM-002", first_name="Zénobie", last_name="Canari")
        client = client_of(bruno)
        assert client.get(page_of(stranger)).status_code == 302
        assert "Canari" not in client.get(reverse("admin:profiles_profile_changelist")).text
        assert not AuditEvent.objects.filter(verb="viewed").exists()

    def test_a_merged_profile_leads_to_the_one_it_lives_on_in(self, client_of, alice, paul):
        merged = Profile.objects.filter(merged_into=paul).first()
        assert client_of(alice).get(page_of(merged)).url == page_of(paul)

    def test_consent_is_noted_with_who_took_the_word_down(self, client_of, alice, paul):
        address = reverse("admin:profiles_profile_consent", args=[paul.pk])
        client = client_of(alice)
        client.post(address, {"channel": "email", "verdict": "withdraw"})
        assert not consent.may_contact(paul, "email")
        client.post(address, {"channel": "sms", "verdict": "grant"})
        assert consent.current(paul)["sms"].told_by == "Alice Martin"
        assert client.post(address, {"channel": "pigeon", "verdict": "grant"}).status_code == 400

    def test_only_who_may_change_notes_a_consent(self, client_of, analyst, bruno, paul):
        address = reverse("admin:profiles_profile_consent", args=[paul.pk])
        for staff in (analyst, bruno):
            answer = client_of(staff).post(address, {"channel": "sms", "verdict": "grant"})
            assert answer.status_code == 403
        assert "sms" not in consent.current(paul)

    def test_a_wrong_merge_is_separated(self, client_of, alice, analyst, paul):
        merge = Merge.objects.filter(winner=paul).first()
        address = reverse("admin:profiles_profile_separate", args=[paul.pk, merge.pk])
        assert client_of(analyst).post(address).status_code == 403
        assert client_of(alice).get(address).status_code == 403
        client_of(alice).post(address)
        merge.refresh_from_db()
        assert merge.undone_by == alice
        assert Profile.objects.get(pk=merge.loser_id).merged_into is None


class TestReview:
    def decide(self, client, candidate, decision):
        address = reverse("admin:profiles_matchcandidate_decide", args=[candidate.pk])
        return client.post(address, {"decision": decision})

    def test_the_page_compares_field_by_field(self, client_of, alice, pair):
        answer = client_of(alice).get(reverse("admin:profiles_matchcandidate_change", args=[pair[0].pk]))
        rows = {row["name"]: row for row in answer.context["rows"]}
        assert rows["last name"]["verdict"].word == "same"
        assert rows["first name"]["verdict"].word == "different"
        assert "same last name" in answer.text
        assert answer.context["next"] == pair[1]
        assert answer.context["previous"] is None
        assert 'id="merge"' in answer.text

    def test_merging_leads_to_the_next_pair_and_can_be_undone_there(self, client_of, alice, pair):
        client = client_of(alice)
        answer = self.decide(client, pair[0], "merge")
        deed = Merge.objects.get()
        assert answer.url == reverse("admin:profiles_matchcandidate_change", args=[pair[1].pk])
        assert 'id="undo"' in client.get(answer.url).text
        back = client.post(reverse("admin:profiles_matchcandidate_undo"))
        assert back.url == reverse("admin:profiles_matchcandidate_change", args=[pair[0].pk])
        deed.refresh_from_db()
        assert deed.undone_at
        assert MatchCandidate.objects.get(pk=pair[0].pk).status == "open"

    def test_the_last_decision_can_be_undone_from_the_list(self, client_of, alice, pair):
        client = client_of(alice)
        self.decide(client, pair[0], "merge")
        answer = self.decide(client, pair[1], "never")
        assert answer.url == reverse("admin:profiles_matchcandidate_changelist") + "?status__exact=open"
        page = client.get(answer.url)
        assert page.status_code == 200
        assert 'id="undo"' in page.text
        undo = reverse("admin:profiles_matchcandidate_undo")
        for taken_back in (pair[1], pair[0]):
            client.post(undo)
            assert MatchCandidate.objects.get(pk=taken_back.pk).status == "open"
        assert not Merge.objects.filter(undone_at=None).exists()
        assert client.post(undo).url == answer.url
        assert 'id="undo"' not in client.get(answer.url).text

    def test_the_head_of_the_page_names_the_pair(self, client_of, alice, pair):
        answer = client_of(alice).get(reverse("admin:profiles_matchcandidate_change", args=[pair[0].pk]))
        head = answer.text.split("<h1")[1].split("</h1>")[0]
        assert f"{pair[0].left} ~ {pair[0].right}" in head
        assert head.count("Possible duplicates") == 1

    def test_not_the_same_is_kept_and_the_end_of_the_queue_is_the_list(self, client_of, alice, pair):
        client = client_of(alice)
        self.decide(client, pair[0], "never")
        answer = self.decide(client, pair[1], "never")
        assert set(MatchCandidate.objects.values_list("status", flat=True)) == {"never"}
        assert answer.url.startswith(reverse("admin:profiles_matchcandidate_changelist"))

    def test_a_pair_is_decided_once(self, client_of, alice, pair):
        client = client_of(alice)
        self.decide(client, pair[0], "never")
        self.decide(client, pair[0], "merge")
        assert not Merge.objects.exists()

    def test_an_unknown_decision_is_refused(self, client_of, alice, pair):
        assert self.decide(client_of(alice), pair[0], "perhaps").status_code == 400

    def test_an_analyst_looks_but_does_not_decide(self, client_of, analyst, pair):
        client = client_of(analyst)
        page = client.get(reverse("admin:profiles_matchcandidate_change", args=[pair[0].pk]))
        assert page.status_code == 200
        assert 'id="merge"' not in page.text
        assert self.decide(client, pair[0], "merge").status_code == 403
        assert not Merge.objects.exists()

    def test_a_manager_hears_nothing_of_people_the_store_does_not_know(self, client_of, bruno, pair):
        client = client_of(bruno)
        listed = client.get(reverse("admin:profiles_matchcandidate_changelist"))
        assert listed.status_code == 200
        assert list(listed.context["cl"].result_list) == []
        assert self.decide(client, pair[0], "merge").status_code == 404


class TestTills:
    def test_the_key_is_shown_once_and_opens_the_till(self, client_of, diane, lille):
        client = client_of(diane)
        told = {"store": lille.pk, "code": "T9", "channel": "till"}
        answer = client.post(reverse("admin:network_till_add"), told)
        key = answer.context["key"]
        assert key in answer.text
        assert "no-store" in answer["Cache-Control"]
        till_made = Till.objects.get(code="T9")
        assert key.startswith(till_made.key_prefix)
        assert key not in client.get(reverse("admin:network_till_change", args=[till_made.pk])).text

    def test_a_key_is_renewed_and_revoked(self, client_of, diane, lille_till):
        till_made, key = lille_till
        client = client_of(diane)
        answer = client.post(reverse("admin:network_till_renew", args=[till_made.pk]))
        assert answer.context["key"] != key
        client.post(reverse("admin:network_till_revoke", args=[till_made.pk]))
        till_made.refresh_from_db()
        assert till_made.revoked_at

    def test_a_manager_sees_own_tills_and_touches_none(self, client_of, bruno, lille_till, lyon_till):
        client = client_of(bruno)
        listed = client.get(reverse("admin:network_till_changelist")).context["cl"].result_list
        assert [row.pk for row in listed] == [lille_till[0].pk]
        assert client.post(reverse("admin:network_till_renew", args=[lille_till[0].pk])).status_code == 403


class TestStaff:
    def add(self, client, **fields):
        told = {"full_name": "Nina", "email": "Nina@Acme.example", "language": "fr", "is_active": "on"}
        return client.post(reverse("admin:network_staff_add"), told | fields)

    def test_a_person_is_invited(self, client_of, diane, lille):
        client = client_of(diane)
        answer = self.add(client, role="store_manager", stores=[lille.pk])
        nina = Staff.objects.get(email="nina@acme.example")
        assert list(nina.stores.all()) == [lille]
        assert not nina.has_usable_password()
        assert "/invitation/" in client.get(answer.url).text

    @pytest.mark.parametrize("role", ["brand_admin", "platform_admin"])
    def test_nobody_is_made_an_administrator_here(self, client_of, diane, role):
        assert "Select a valid choice" in self.add(client_of(diane), role=role).text
        assert not Staff.objects.filter(email="nina@acme.example").exists()

    def test_a_manager_needs_a_store(self, client_of, diane):
        assert "choose at least one" in self.add(client_of(diane), role="store_manager").text

    def test_another_administrator_cannot_be_changed(self, client_of, diane):
        other = Staff.objects.create_user("e@acme.example", "x", full_name="Eve", role=Role.BRAND_ADMIN)
        client = client_of(diane)
        client.post(reverse("admin:network_staff_change", args=[other.pk]), {"full_name": "Mallory"})
        assert client.post(reverse("admin:network_staff_invite", args=[other.pk])).status_code == 403
        other.refresh_from_db()
        assert other.full_name == "Eve"


class TestJobs:
    def test_the_page_asks_how_far_the_work_got(self, client_of, alice):
        job = Job.objects.create(
            kind="import", title="Import", state="running", done=3, total=12, step="reading"
        )
        client = client_of(alice)
        assert "job.js" in client.get(reverse("admin:network_job_change", args=[job.pk])).text
        answer = client.get(reverse("admin:network_job_progress", args=[job.pk])).json()
        assert (answer["percent"], answer["step"], answer["over"]) == (25, "reading", False)
        job.finish(received=12)
        assert client.get(reverse("admin:network_job_progress", args=[job.pk])).json()["over"]
        assert "job.js" not in client.get(reverse("admin:network_job_change", args=[job.pk])).text


class TestRules:
    @pytest.fixture
    def base(self, brand):
        starter.open_programme("Europe/Paris")
        return Rule.objects.get(kind="base")

    def publish(self, client, rule, **words):
        """Draft it, and confirm what the next page says."""
        answer = client.post(reverse("admin:loyalty_rule_new_version", args=[rule.pk]), words)
        if answer.status_code != 302:
            return answer
        shown = client.get(answer.url)
        return client.post(answer.url, {"confirmed": shown.context["form"]["confirmed"].value()})

    def test_a_new_version_ends_the_one_before(self, client_of, alice, base):
        words = {
            "terms_points": 2, "terms_per_cents": 100, "terms_rounding": "ticket", "terms_expiry_months": 6,
            "conditions_categories": "DAIRY, WINE", "conditions_min_total_cents": "10.50", "reason": "spring",
        }  # fmt: skip
        answer = self.publish(client_of(alice), base, **words)
        assert answer.url == reverse("admin:loyalty_rule_change", args=[base.pk])
        first, second = base.versions.order_by("number")
        assert first.effective_to == second.effective_from
        assert second.terms == {"points": 2, "per_cents": 100, "rounding": "ticket", "expiry_months": 6}
        assert json.loads(json.dumps(second.conditions)) == {
            "categories": ["DAIRY", "WINE"], "min_total_cents": 1050,
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("words", "field"),
        [
            ({"terms_points": 1, "terms_per_cents": 0}, "terms_per_cents"),
            ({"terms_points": 1}, "terms_per_cents"),
            ({"terms_points": 1, "terms_per_cents": 100, "conditions_hours": "18:00"}, "conditions_hours"),
            ({"terms_points": 1, "terms_per_cents": 100, "conditions_stores": "NOPE"}, "conditions_stores"),
        ],
    )
    def test_a_wrong_word_is_named_where_it_stands(self, client_of, alice, base, words, field):
        answer = self.publish(client_of(alice), base, **words)
        assert field in answer.context["form"].errors
        assert base.versions.count() == 1

    def test_an_analyst_publishes_nothing(self, client_of, analyst, base):
        answer = self.publish(client_of(analyst), base, terms_points=9, terms_per_cents=100)
        assert answer.status_code == 403


def test_a_reward_step_without_points_or_worth_is_refused(client_of, diane, brand):
    starter.open_programme("Europe/Paris")
    programme = Programme.objects.get()
    page = reverse("admin:loyalty_programme_change", args=[programme.pk])
    asked = client_of(diane).get(page).context["adminform"].form
    words = {name: asked[name].value() or "" for name in asked.fields}
    words |= {"reward_points": "0", "reward_cents": "0"}
    answer = client_of(diane).post(page, words)
    assert set(answer.context["adminform"].form.errors) == {"reward_points", "reward_cents"}
    with pytest.raises(IntegrityError, match="reward_step_is_positive"), transaction.atomic():
        Programme.objects.update(reward_points=0)


def test_what_past_tickets_rest_on_stays_as_it_was_made(client_of, diane, lille, brand):
    starter.open_programme("Europe/Paris")
    client = client_of(diane)
    rule = Rule.objects.first()
    page = client.get(reverse("admin:loyalty_rule_change", args=[rule.pk]))
    assert "priority" not in page.context["adminform"].form.fields
    assert "priority" in client.get(reverse("admin:loyalty_rule_add")).context["adminform"].form.fields
    page = client.get(reverse("admin:network_store_change", args=[lille.pk]))
    assert not {"code", "time_zone"} & set(page.context["adminform"].form.fields)
    assert {"code", "time_zone"} <= set(
        client.get(reverse("admin:network_store_add")).context["adminform"].form.fields
    )


def test_a_change_of_trust_is_written_down_and_settles_people_anew(
    client_of, diane, sources, paul, django_capture_on_commit_callbacks
):
    with whole_network():
        assert Profile.objects.get(pk=paul.pk).last_name == "Dupont"
    page = reverse("admin:profiles_source_change", args=[sources["web"].pk])
    with django_capture_on_commit_callbacks(execute=True):
        answer = client_of(diane).post(
            page,
            {"name": "Web shop", "kind": "other", "trust": "95", "direction": "in", "identified_by": "own"},
        )
    assert answer.status_code == 302
    with whole_network():
        assert Profile.objects.get(pk=paul.pk).last_name == "Dupond"
    event = AuditEvent.objects.filter(object_type="source").first()
    assert (event.verb, event.detail["fields"]) == ("changed", ["trust"])


def test_whom_a_store_is_home_to_moves_region_with_it(client_of, diane, paul, lille):
    region = Region.objects.create(code="elsewhere", name="Elsewhere")
    page = reverse("admin:network_store_change", args=[lille.pk])
    words = {"name": lille.name, "region": region.pk, "phone_region": "FR"}
    assert client_of(diane).post(page, words).status_code == 302
    with whole_network():
        facts = ProfileFacts.objects.get(pk=paul.pk)
    assert (facts.home_store, facts.home_region) == (lille, region)
