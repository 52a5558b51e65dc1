"""The pages of marketing: who may open them, what they say, and what a store sees of them."""

import json
from datetime import date

import pytest
from django.urls import reverse

from campaigns.models import Campaign, Export, Recipient, Segment
from campaigns.segments.saving import save
from tenants.network.models import AuditEvent
from tests.campaigns import factories
from tests.conftest import HOST

EVERYBODY = {"all": []}
BUYERS = {"all": [{"field": "purchases", "op": ">=", "value": 1}]}
ADD = reverse("admin:campaigns_segment_add", urlconf="cdp.urls")
COUNT = reverse("admin:campaigns_segment_count", urlconf="cdp.urls")


def at(name, *args) -> str:
    return reverse(f"admin:campaigns_{name}", args=args, urlconf="cdp.urls")


def content(response) -> str:
    return response.content.decode()


@pytest.fixture
def people(today, lille, lyon):
    """Three of Lille, two of Lyon with a canary's name, all of whom bought and allow e-mail."""
    made = []
    for i, (store, name) in enumerate([(lille, "Nord")] * 3 + [(lyon, "Canari")] * 2):
        made.append(
            factories.person(
                allows=["email"], email=f"p{i}@exemple.fr", first_name="Zoé", last_name=f"{name}{i}",
                search_text=f"zoe {name.lower()}{i}",
            )
        )  # fmt: skip
        factories.ticket(made[-1], store, date(2026, 5, 2), ("DAIRY", 1999))
    return made


@pytest.fixture
def segment(people, alice):
    made = Segment(name="Buyers", shared=True)
    save(made, BUYERS, alice, "to begin with")
    return made


# On the customer page -----------------------------------------------------------------------------------------------


def test_the_customer_page_names_the_segments_of_the_person(client_of, alice, segment, people):
    page = reverse("admin:profiles_profile_change", args=[people[0].pk], urlconf="cdp.urls")
    why = at("segment_explain", segment.pk) + f"?customer={people[0].pk}"
    assert why in content(client_of(alice).get(page))
    stranger = factories.person(first_name="Nobody", last_name="Yet")
    page = reverse("admin:profiles_profile_change", args=[stranger.pk], urlconf="cdp.urls")
    assert "In none of the segments now" in content(client_of(alice).get(page))


# Building ------------------------------------------------------------------------------------------------------------


def test_a_marketer_builds_a_segment(client_of, alice, people):
    client = client_of(alice)
    page = content(client.get(ADD))
    assert 'id="builder"' in page
    assert '"points_expiring"' in page
    posted = {"name": "Regulars", "definition": json.dumps(BUYERS), "reason": "spring", "shared": "on"}
    client.post(ADD, posted)
    made = Segment.objects.get(name="Regulars")
    assert (made.created_by, made.shared, made.current.definition) == (alice, True, BUYERS)
    client.post(
        at("segment_change", made.pk), {**posted, "definition": json.dumps(EVERYBODY), "reason": "all"}
    )
    assert made.current.number == 2
    page = content(client.get(at("segment_change", made.pk)))
    assert "All customers." in page
    assert "− at least 1 purchase" in page


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ('{"all": [{"field": "foo"}]}', "unknown field «foo»"),
        ('{"all": [{"field": "home_store", "op": "=", "value": "ACM-9"}]}', "unknown store «ACM-9»"),
        ("{", "This is no JSON"),
        ("[" * 40_000, "This is no JSON"),
    ],
)
def test_a_mistake_is_shown_and_nothing_is_saved(client_of, alice, definition, said):
    page = content(client_of(alice).post(ADD, {"name": "Wrong", "definition": definition}))
    assert said in page
    assert not Segment.objects.exists()


def test_the_live_count_tells_numbers_and_words(client_of, alice, people):
    answer = client_of(alice).post(COUNT, {"definition": json.dumps(BUYERS)})
    page = content(answer)
    assert answer.status_code == 200
    assert '<span class="cdp-big">5</span>' in page
    assert "Customers with at least 1 purchase." in page
    assert "Lyon Bellecour" in page
    assert "Zoé Canari4" in page


def test_the_live_count_names_the_place_of_a_mistake(client_of, alice):
    wrong = {"all": [{"field": "purchases", "op": ">=", "value": -1}]}
    answer = client_of(alice).post(COUNT, {"definition": json.dumps(wrong)})
    assert answer.status_code == 422
    assert 'data-path="all[0].value"' in content(answer)


def test_the_page_speaks_the_readers_language(client_of, alice, people):
    alice.language = "fr"
    alice.save()
    page = content(client_of(alice).post(COUNT, {"definition": json.dumps(BUYERS)}))
    assert "Clients avec au moins 1 achat." in page


def test_a_segment_in_use_is_not_deleted(client_of, alice, segment):
    campaign = Campaign.objects.create(name="Spring letter", segment=segment, goal="visit", goal_uplift=1)
    client = client_of(alice)
    page = content(client.post(at("segment_delete", segment.pk), {"post": "yes"}, follow=True))
    assert "Spring letter" in page
    assert Segment.objects.filter(pk=segment.pk).exists()
    campaign.delete()
    client.post(at("segment_delete", segment.pk), {"post": "yes"})
    assert not Segment.objects.exists()


def test_why_a_customer_is_in(client_of, alice, segment, people):
    client = client_of(alice)
    page = content(client.get(at("segment_explain", segment.pk), {"customer": "nord1"}))
    assert "✓ in the segment" in page
    assert "at least 1 purchase" in page
    assert "Whom do you mean?" in content(client.get(at("segment_explain", segment.pk), {"customer": "zoe"}))
    assert "Nobody is found" in content(client.get(at("segment_explain", segment.pk), {"customer": "xyz"}))


# A store's part ------------------------------------------------------------------------------------------------------


def test_a_manager_reads_the_own_part_of_a_shared_segment(client_of, bruno, segment):
    page = content(client_of(bruno).get(at("segment_change", segment.pk)))
    assert '<span class="cdp-big">3</span>' in page
    assert 'id="builder"' not in page
    assert "Canari" not in page
    assert "Lyon" not in page


def test_a_manager_may_not_change_a_national_segment(client_of, bruno, segment):
    client = client_of(bruno)
    posted = {"name": "Mine", "definition": json.dumps(EVERYBODY)}
    assert client.post(at("segment_change", segment.pk), posted).status_code == 403
    assert client.post(at("segment_delete", segment.pk), {"post": "yes"}).status_code == 403


def test_a_manager_builds_segments_of_the_own_store_only(client_of, bruno, lille, lyon, people):
    client = client_of(bruno)
    page = content(client.get(ADD))
    assert '"points_expiring"' not in page
    assert "Lyon" not in page
    posted = {"name": "Regulars", "definition": json.dumps(BUYERS), "store": lyon.pk}
    client.post(ADD, posted)
    assert not Segment.objects.exists()
    client.post(ADD, {**posted, "store": lille.pk, "shared": "on"})
    made = Segment.objects.get(name="Regulars")
    assert (made.store, made.shared) == (lille, False)


def test_a_managers_count_stays_in_the_store(client_of, bruno, lyon, people):
    client = client_of(bruno)
    for store in ("", lyon.pk):
        page = content(client.post(COUNT, {"definition": json.dumps(BUYERS), "store": store}))
        assert '<span class="cdp-big">3</span>' in page
        assert "Canari" not in page


def test_an_analyst_reads_and_does_not_build(client_of, diane, segment):
    client = client_of(diane)
    assert client.get(ADD).status_code == 403
    assert 'id="builder"' not in content(client.get(at("segment_change", segment.pk)))


# Campaigns and files -------------------------------------------------------------------------------------------------


@pytest.fixture
def campaign(segment):
    return Campaign.objects.create(
        name="Spring letter", segment=segment, goal="visit", goal_uplift=2, control_percent=0
    )


def test_from_a_goal_to_a_file(client_of, alice, segment, media, django_capture_on_commit_callbacks):
    client = client_of(alice)
    client.post(
        at("campaign_add"),
        {
            "name": "Spring letter", "goal": "visit", "goal_uplift": "2", "goal_days": "30", "segment": segment.pk,
            "channel": "email", "control_percent": "0",
        },
    )  # fmt: skip
    campaign = Campaign.objects.get()
    assert campaign.created_by == alice
    page = content(client.get(at("campaign_change", campaign.pk)))
    assert "Freeze the audience" in page
    client.post(at("campaign_freeze", campaign.pk))
    assert Recipient.objects.count() == 5
    with django_capture_on_commit_callbacks(execute=True):
        client.post(at("campaign_export", campaign.pk), {"format": "brevo", "purpose": "spring letter"})
    page = content(client.get(at("campaign_change", campaign.pk)))
    assert "Download" in page
    assert "No control group: the effect cannot be told" in page
    export = Export.objects.get()
    answer = client.get(at("export_download", export.pk))
    text = b"".join(answer.streaming_content).decode()
    assert text.startswith("EMAIL;SMS;EXT_ID;PRENOM;NOM;MAGASIN\r\n")
    assert len(text.splitlines()) == 6
    assert answer["X-Content-SHA256"] == export.sha256
    assert AuditEvent.objects.get(verb="download").detail["rows"] == 5
    assert "spring letter" in content(client.get(at("export_changelist")))
    assert export.sha256 in content(client.get(at("export_change", export.pk)))


def test_a_campaign_without_a_positive_goal_is_refused(client_of, alice, segment):
    posted = {"name": "X", "goal": "visit", "goal_uplift": "0", "goal_days": "30", "segment": segment.pk}
    page = content(
        client_of(alice).post(at("campaign_add"), {**posted, "channel": "email", "control_percent": "10"})
    )
    assert "a positive number" in page
    assert not Campaign.objects.exists()


def test_a_frozen_campaign_keeps_its_goal(client_of, alice, campaign):
    client = client_of(alice)
    client.post(at("campaign_freeze", campaign.pk))
    client.post(
        at("campaign_change", campaign.pk), {"name": "Renamed", "goal_uplift": "9", "control_percent": "50"}
    )
    campaign.refresh_from_db()
    assert (campaign.name, campaign.goal_uplift, campaign.control_percent) == ("Renamed", 2, 0)


def test_whoever_may_not_export_or_download_is_refused(client_of, diane, bruno, alice, campaign):
    client_of(alice).post(at("campaign_freeze", campaign.pk))
    export = Export.objects.create(
        campaign=campaign, segment_version=campaign.segment.current, format="brevo", purpose="x"
    )
    for staff in (diane, bruno):
        client = client_of(staff)
        assert (
            client.post(at("campaign_export", campaign.pk), {"format": "brevo", "purpose": "x"}).status_code
            == 403
        )
        assert client.get(at("export_download", export.pk)).status_code == 403
    assert client_of(alice).get(at("export_download", export.pk)).status_code == 404  # not written yet


# API -----------------------------------------------------------------------------------------------------------------


def test_the_api_counts_a_segment_in_the_callers_scope(client_of, alice, bruno, segment):
    for staff, matching in ((alice, 5), (bruno, 3)):
        client = client_of(staff)
        body = client.get(f"/api/v1/segments/{segment.pk}/count", headers={"host": HOST}).json()
        assert (body["version"], body["matching"]) == (1, matching)
        for reach in body["reach"]:
            assert reach["reachable"] + reach["no_consent"] + reach["no_address"] == matching
        listed = client.get("/api/v1/segments?national=true").json()["results"]
        assert [row["definition"] for row in listed] == [BUYERS]


def test_the_api_tells_why_a_store_gets_no_count(client_of, alice, bruno, people):
    shared = Segment(name="Rich", shared=True)
    save(shared, {"all": [{"field": "points", "op": ">", "value": 1}]}, alice)
    answer = client_of(bruno).get(f"/api/v1/segments/{shared.pk}/count")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "all[0].field"


def test_the_api_lists_campaigns_results_and_exports(client_of, alice, bruno, campaign):
    client = client_of(alice)
    assert client.get(f"/api/v1/campaigns/{campaign.pk}/results").status_code == 404
    client.post(at("campaign_freeze", campaign.pk))
    assert client.get(f"/api/v1/campaigns/{campaign.pk}/results").json()["treated"]["people"] == 5
    assert client.get("/api/v1/campaigns?state=frozen").json()["results"][0]["name"] == "Spring letter"
    assert client.get("/api/v1/exports").json()["results"] == []
    # A manager sees the own store's campaigns: this one is the whole network's.
    assert client_of(bruno).get("/api/v1/campaigns").json()["results"] == []
    assert client_of(bruno).get(f"/api/v1/campaigns/{campaign.pk}/results").status_code == 404
    assert client_of(bruno).get("/api/v1/exports").status_code == 403
