"""The platform's own site: its administrators open brands there, and nobody else reaches it."""

from types import SimpleNamespace

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django_tenants.utils import tenant_context

from tenants import onboarding
from tenants.models import Brand
from tenants.network.models import AuditEvent, Job, Staff
from tenants.plan import SAMPLE_CSV
from tenants.roles import PERMISSIONS, Role
from tenants.scoping import whole_network

PLATFORM_PAGES = [
    "/tenants/brand/",
    "/tenants/brand/add/",
    "/tenants/brand/add/stores.csv",
    "/tenants/brand/add/availability/?slug=boree",
    "/tenants/domain/",
]


@pytest.fixture
def platform(db):
    connection.set_schema_to_public()
    cache.clear()
    with whole_network():
        yield
    connection.set_schema_to_public()


def client_of(staff: Staff | None = None) -> Client:
    client = Client(headers={"host": "localhost"})
    if staff is not None:
        client.force_login(staff, backend="tenants.network.auth.RoleBackend")
    return client


def somebody(role: str) -> Staff:
    return Staff.objects.create_user(f"{role}@platform.example", full_name=role, role=role, language="en")


@pytest.fixture
def olga(platform):
    """Administers the platform."""
    return somebody(Role.PLATFORM_ADMIN)


def form(**changes) -> dict:
    return {
        "name": "Maison Borée",
        "slug": "boree",
        "domain": "",
        "language": "fr",
        "currency": "EUR",
        "time_zone": "Europe/Paris",
        "stores": SimpleUploadedFile("stores.csv", SAMPLE_CSV.encode()),
        "staff": "zoe@boree.example;Zoé Le Goff;brand_admin\nyann@boree.example;Yann;store_manager;001",
        **changes,
    }


@pytest.mark.parametrize("page", PLATFORM_PAGES)
def test_an_administrator_of_the_platform_opens_its_pages(olga, page):
    assert client_of(olga).get(page).status_code == 200


def test_the_first_page_counts_brands_and_jobs(olga):
    Brand.objects.create(schema_name="boree", slug="boree", name="Maison Borée")
    for state in (Job.State.RUNNING, Job.State.WAITING, Job.State.FAILED, Job.State.DONE):
        Job.objects.create(kind="onboarding", title="Open", state=state, asked_by=olga)
    page = client_of(olga).get("/")
    told = {card.url: card.value for card in page.context["home"]["cards"]}
    brands = Brand.objects.exclude(schema_name="public").count()
    assert told["/tenants/brand/"] == brands
    assert (told["/network/job/"], told["/network/job/?state__exact=failed"]) == (2, 1)
    assert "Maison Borée" in page.content.decode()


@pytest.mark.parametrize("page", PLATFORM_PAGES)
def test_nobody_else_does(platform, page):
    assert client_of().get(page).status_code == 302
    for role in set(Role) - {Role.PLATFORM_ADMIN}:
        assert client_of(somebody(role)).get(page).status_code in {302, 403}, role


@pytest.mark.parametrize("page", PLATFORM_PAGES)
def test_a_brands_site_has_no_such_page(diane, client_of, page):
    assert client_of(diane).get(page).status_code == 404


def test_no_role_of_a_brand_has_a_deed_on_brands():
    for role, deeds in PERMISSIONS.items():
        if role != Role.PLATFORM_ADMIN:
            assert not [deed for deed in deeds if deed.startswith("tenants.")]


def test_a_brand_is_opened_from_the_form(olga, django_capture_on_commit_callbacks):
    client = client_of(olga)
    with django_capture_on_commit_callbacks() as sent:
        answer = client.post("/tenants/brand/add/", form())
    job = Job.objects.get()
    assert answer.url == f"/tenants/brand/onboarding/{job.pk}/"

    waiting = client.get(answer.url).content.decode()
    assert "hx-trigger" in waiting
    assert "Show the keys now" not in waiting
    (send,) = sent
    send()

    done = client.get(f"{answer.url}progress/").content.decode()
    assert "every 1s" not in done
    assert "http://boree.localhost/" in done
    assert done.count("http://boree.localhost/invitation/") == 2
    assert "Invitations accepted: 0 of 2" in done
    assert "Tills that have called: 0 of 3" in done

    assert client.get(f"{answer.url}keys/").status_code == 302, "only a button shows keys"
    keys = client.post(f"{answer.url}keys/")
    assert "no-store" in keys["Cache-Control"]
    assert keys.content.decode().count("001;T") == 2
    assert "001;T" not in client.post(f"{answer.url}keys/").content.decode()
    assert "Show the keys now" not in client.get(answer.url).content.decode()

    assert "boree.localhost" in client.get("/tenants/brand/").content.decode()
    brand = Brand.objects.get(slug="boree")
    assert client.get(f"/tenants/brand/{brand.pk}/change/").status_code == 200


def test_the_invitation_on_the_page_opens_on_the_brands_site(olga, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        answer = client_of(olga).post("/tenants/brand/add/", form())
    page = client_of(olga).get(answer.url)
    _person, link = page.context["invitations"][0]
    path = link.removeprefix("http://boree.localhost")
    assert Client(headers={"host": "boree.localhost"}).get(path).status_code == 200
    assert Client(headers={"host": "acme.localhost"}).get(path).status_code == 410


def test_a_job_that_failed_shows_why_and_resumes(olga, monkeypatch, django_capture_on_commit_callbacks):
    client = client_of(olga)
    client.post("/tenants/brand/add/", form())
    job = Job.objects.get()
    monkeypatch.setattr(onboarding, "_make_tills", lambda plan: 1 / 0)
    with pytest.raises(onboarding.StepFailed):
        onboarding.onboard(job)
    monkeypatch.undo()

    assert "Onboarding not finished" in client.get("/tenants/brand/").content.decode()
    page = client.get(f"/tenants/brand/onboarding/{job.pk}/").content.decode()
    assert "Tills and their keys: division by zero" in page
    with django_capture_on_commit_callbacks(execute=True):
        client.post(f"/tenants/brand/onboarding/{job.pk}/resume/")
    job.refresh_from_db()
    assert job.state == Job.State.DONE


@pytest.mark.parametrize(
    ("change", "field", "fault"),
    [
        ({"slug": "acme"}, "slug", "The short name acme is taken."),
        ({"slug": "No Slug"}, "slug", "Two to thirty-one lower-case letters and digits, a letter first."),
        ({"domain": "acme.localhost"}, "domain", "The host name acme.localhost is taken."),
        (
            {"stores": SimpleUploadedFile("s.csv", b"code;name;region\n1;Lille;\n")},
            "stores",
            "line 2, column “region”: A region of 1 to 80 characters is needed.",
        ),
        (
            {"staff": "zoe@boree.example;Zoé;pope"},
            "staff",
            "A brand needs an administrator: invite one (brand_admin).",
        ),
        ({"staff": "zoe@boree.example"}, "staff", "line 1: write: e-mail;name;role;store codes"),
    ],
)
def test_a_mistake_stands_beside_its_field_and_nothing_is_made(olga, change, field, fault):
    answer = client_of(olga).post("/tenants/brand/add/", form(**change))
    assert answer.status_code == 200
    assert fault in answer.context["form"].errors[field]
    assert not Job.objects.exists()


def test_the_page_says_whether_names_are_free(olga):
    ask = SimpleNamespace(
        get=lambda query: client_of(olga).get(f"/tenants/brand/add/availability/{query}").content.decode()
    )
    assert "boree.localhost is free" in ask.get("?slug=boree")
    assert "acme is taken" in ask.get("?slug=acme")
    assert "acme.localhost is taken" in ask.get("?slug=boree&domain=ACME.localhost")
    assert ask.get("?slug=").strip() == ""


def test_a_host_name_given_or_taken_is_written_down(olga):
    brand = Brand.objects.create(schema_name="boree", slug="boree", name="Maison Borée")
    words = {"domain": "boree.example.com", "tenant": brand.pk, "is_primary": "on"}
    assert client_of(olga).post("/tenants/domain/add/", words).status_code == 302
    event = AuditEvent.objects.get(object_type="domain")
    assert (event.actor, event.verb) == (str(olga), "added")


def test_the_platform_itself_is_no_brand_in_the_list(olga):
    page = client_of(olga).get("/tenants/brand/")
    assert [brand.slug for brand in page.context["cl"].queryset] == ["acme"]


def test_brands_are_not_deleted_by_a_click(olga):
    brand = Brand.objects.get(slug="acme")
    assert client_of(olga).post(f"/tenants/brand/{brand.pk}/delete/", {"post": "yes"}).status_code == 403


def test_the_first_administrator_is_invited_by_a_command(platform, capsys):
    call_command("invite_platform_admin", "Olga@platform.example", "Olga")
    link = capsys.readouterr().out.strip()
    path = link.removeprefix("http://localhost:8000")
    client = client_of()
    assert "Olga" in client.get(path).content.decode()
    words = {"new_password1": "neuf chevaux verts", "new_password2": "neuf chevaux verts"}
    assert client.post(path, words).status_code == 302
    assert client.get("/tenants/brand/").status_code == 200


def test_a_brands_staff_cannot_sign_in_on_the_platform(olga):
    acme = Brand.objects.get(slug="acme")
    with tenant_context(acme):
        Staff.objects.create_user(
            "di@acme.example", "correct horse battery", full_name="Di", role=Role.BRAND_ADMIN
        )
    client = client_of()
    answer = client.post("/login/", {"username": "di@acme.example", "password": "correct horse battery"})
    assert answer.status_code == 200
    assert "_auth_user_id" not in client.session
