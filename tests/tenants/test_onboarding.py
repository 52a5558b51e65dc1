"""A brand is opened: by plan, by file, by a job that fails half-way and goes on.

Everything here happens in one transaction that is rolled back, schemas included: PostgreSQL creates and drops
schemas like rows.
"""

import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client
from django_tenants.utils import schema_exists, tenant_context

from tenants import blueprint, invitations, onboarding
from tenants.models import Brand, Domain
from tenants.network.models import Job, Region, Staff, Store, Till
from tenants.onboarding import BadPlan, BrandPlan, StaffPlan, StorePlan
from tenants.plan import SAMPLE_CSV, plan_from_config, staff_from_lines, stores_from_csv
from tenants.roles import Role
from tenants.scoping import Scope, scoped_to, whole_network

PLAN = BrandPlan(
    name="Maison Borée",
    slug="boree",
    domain="boree.localhost",
    stores=(
        StorePlan("B1", "Brest Siam", "ouest", "Ouest", "29200", "Brest", tills=("T1", "T2")),
        StorePlan(
            "B2", "Nantes Crébillon", "ouest", "Ouest", "44000", "Nantes", "Europe/London", "GB", "Nantes SAS"
        ),
    ),
    staff=(
        StaffPlan("Zoe@boree.example", "Zoé Le Goff", Role.BRAND_ADMIN),
        StaffPlan("yann@boree.example", "Yann Kerr", Role.STORE_MANAGER, ("B2",), language="en"),
    ),
)


@pytest.fixture
def platform(db):
    """The connection stands in the public schema, as on the platform's site and its workers."""
    connection.set_schema_to_public()
    cache.clear()
    with whole_network():
        yield Brand.objects.get(schema_name="public")
    connection.set_schema_to_public()


@pytest.fixture
def olga(platform):
    """Administers the platform."""
    return Staff.objects.create_user(
        "olga@platform.example",
        "correct horse battery",
        full_name="Olga",
        role=Role.PLATFORM_ADMIN,
        language="en",
    )


def faults_of(plan: BrandPlan) -> list[str]:
    with pytest.raises(BadPlan) as bad:
        plan.check()
    return [f"{fault.part}: {fault.message}" for fault in bad.value.faults]


# --- A database of another version --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (
            "INSERT INTO django_migrations (app, name, applied) VALUES ('loyalty', '0002_ledger_invariants', now())",
            "it has taken the steps loyalty.0002_ledger_invariants, which are not ours",
        ),
        (
            "ALTER TABLE tenants_brand RENAME COLUMN slug TO nickname",
            "column tenants_brand.slug does not exist",
        ),
    ],
    ids=["other steps", "other columns"],
)
def test_a_database_of_another_version_is_left_alone_and_said_to_be(platform, made, why):
    with connection.cursor() as cursor:
        cursor.execute(made)
    with pytest.raises(CommandError) as refused, transaction.atomic():
        onboarding.open_platform()
    told = str(refused.value)
    assert f"was made by another version of this platform ({why})" in told
    assert "`make reset` makes it empty, and every brand and customer in it is lost" in told
    assert "\n" not in told


# --- The happy path ----------------------------------------------------------------------------------------------


def test_a_plan_becomes_a_brand_that_answers(platform):
    heard = []
    onboarded = onboarding.onboard_brand(PLAN, report=lambda step: heard.append(str(step)))

    assert [line.partition(" ")[0] for line in heard] == [
        f"{n}/{len(heard)}" for n in range(1, len(heard) + 1)
    ]
    assert onboarded.brand.schema_name == "boree"
    assert Domain.objects.get(domain="boree.localhost").tenant == onboarded.brand
    assert connection.schema_name == "public"
    with tenant_context(onboarded.brand):
        assert list(Region.objects.values_list("code", "name")) == [("ouest", "Ouest")]
        brest, nantes = Store.objects.all()
        assert (brest.time_zone, brest.phone_region) == ("Europe/Paris", "FR")
        assert (nantes.time_zone, nantes.phone_region, nantes.legal_name) == (
            "Europe/London",
            "GB",
            "Nantes SAS",
        )
        zoe, yann = Staff.objects.order_by("-email")
        assert (zoe.email, zoe.language, zoe.has_usable_password()) == ("zoe@boree.example", "fr", False)
        assert yann.scope == Scope.of([nantes.pk])
    assert Client(headers={"host": "boree.localhost"}).get("/").status_code in {200, 302}


def test_the_keys_are_those_of_the_tills_and_nowhere_else(platform):
    onboarded = onboarding.onboard_brand(PLAN)

    assert {store: set(tills) for store, tills in onboarded.till_keys.items()} == {
        "B1": {"T1", "T2"},
        "B2": {"T1"},
    }
    from tenants.network.auth import till_of_key

    with tenant_context(onboarded.brand):
        till = till_of_key(f"Till {onboarded.till_keys['B1']['T2']}")
        assert str(till) == "B1/T2"
        assert Till.objects.count() == 3


def test_a_second_run_changes_nothing(platform):
    first = onboarding.onboard_brand(PLAN)
    with tenant_context(first.brand):
        Staff.objects.filter(email="zoe@boree.example").update(role=Role.ANALYST)
    second = onboarding.onboard_brand(PLAN)

    assert second.brand == first.brand
    assert second.till_keys == {}
    with tenant_context(first.brand):
        assert (Store.objects.count(), Staff.objects.count(), Till.objects.count()) == (2, 2, 3)
        assert Staff.objects.get(email="zoe@boree.example").role == Role.ANALYST


def test_apps_above_add_their_steps(platform, monkeypatch):
    seen = []
    step = onboarding.Step(
        "programme",
        "Programme",
        lambda brand, plan: seen.append((brand.slug, plan.name, connection.schema_name)),
    )
    monkeypatch.setattr(onboarding, "further_steps", [step])

    onboarding.onboard_brand(PLAN)

    assert seen == [("boree", "Maison Borée", "boree")]


# --- As a job ----------------------------------------------------------------------------------------------------


def test_the_job_is_sent_after_the_commit_and_does_it_all(olga, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        job = onboarding.ask(PLAN, by=olga)
        assert job.state == Job.State.WAITING
        assert not Brand.objects.filter(slug="boree").exists()

    job.refresh_from_db()
    assert (job.state, job.error, job.percent, job.asked_by) == (Job.State.DONE, "", 100, olga)
    assert job.result["brand"] == "boree"
    keys = onboarding.take_till_keys(job)
    assert set(keys) == {"B1", "B2"}
    assert onboarding.take_till_keys(job) == {}, "shown once"
    stored = str(list(Job.objects.values("arguments", "result", "error", "step")))
    assert not any(key in stored for tills in keys.values() for key in tills.values())


def test_a_failure_half_way_names_its_step_and_resumes(olga, monkeypatch, django_capture_on_commit_callbacks):
    invite = onboarding._invite
    monkeypatch.setattr(onboarding, "_invite", _broken)
    job = onboarding.ask(PLAN, by=olga)
    with pytest.raises(onboarding.StepFailed):
        onboarding.onboard(job)

    assert (job.state, job.step) == (Job.State.FAILED, "staff")
    assert job.error == "Invitations: the post office is closed"
    brand = Brand.objects.get(slug="boree")
    with tenant_context(brand):
        kept = list(Store.objects.values_list("pk", flat=True))
        assert len(kept) == 2
        assert not Staff.objects.exists(), "a step is done whole or not at all"

    monkeypatch.setattr(onboarding, "_invite", invite)
    with django_capture_on_commit_callbacks(execute=True):
        onboarding.resume(job, by=olga)
    job.refresh_from_db()
    assert (job.state, job.error) == (Job.State.DONE, "")
    with tenant_context(brand):
        assert list(Store.objects.values_list("pk", flat=True)) == kept
        assert Staff.objects.count() == 2
    assert onboarding.has_till_keys(job), "tills come last, so no key was lost with the failure"


def _broken(plan):
    Staff.objects.create_user("half@done.example", full_name="Half", role=Role.ANALYST)
    raise ConnectionError("the post office is closed")


def test_a_schema_that_fails_leaves_no_trace(platform, monkeypatch):
    monkeypatch.setattr(blueprint.brand_sql, "install", lambda: 1 / 0)
    with pytest.raises(onboarding.StepFailed, match=r"^Tables of its own: "):
        onboarding.onboard_brand(PLAN)
    assert not schema_exists("boree")

    monkeypatch.undo()
    assert onboarding.onboard_brand(PLAN).brand == Brand.objects.get(slug="boree")


def test_a_job_that_is_done_or_at_work_is_not_sent_again(olga, django_capture_on_commit_callbacks):
    job = onboarding.ask(PLAN, by=olga)
    with django_capture_on_commit_callbacks() as sent:
        onboarding.resume(job, by=olga)
    assert sent == [], "it waits for its worker"

    onboarding.onboard(job)
    with django_capture_on_commit_callbacks() as sent:
        onboarding.resume(job, by=olga)
    assert sent == []
    assert onboarding.onboard(job) is None, "delivered twice, done once"


def test_a_job_whose_worker_was_killed_may_be_resumed(olga):
    job = onboarding.ask(PLAN, by=olga)
    job.start()
    assert not onboarding.may_be_resumed(job)
    job.started_at -= onboarding.GIVEN_UP_AFTER * 2
    assert onboarding.may_be_resumed(job)


def test_a_job_never_holds_a_password(olga):
    plan = replace(PLAN, staff=(replace(PLAN.staff[0], password="correct horse battery"), PLAN.staff[1]))
    with pytest.raises(BadPlan, match="passwords"):
        onboarding.ask(plan, by=olga)
    assert "correct horse" not in repr(plan)


# --- Names that are taken ----------------------------------------------------------------------------------------


def test_a_short_name_belongs_to_one_brand(olga):
    with pytest.raises(BadPlan, match="acme is taken"):
        onboarding.ask(replace(PLAN, slug="acme"), by=olga)
    with pytest.raises(BadPlan, match="acme is taken"):
        onboarding.onboard_brand(replace(PLAN, slug="acme"))
    assert not Job.objects.exists()


def test_a_host_name_belongs_to_one_brand(olga):
    with pytest.raises(BadPlan, match=re.escape("acme.localhost is taken")):
        onboarding.ask(replace(PLAN, domain="acme.localhost"), by=olga)
    with pytest.raises(onboarding.StepFailed, match=re.escape("acme.localhost is taken")):
        onboarding.onboard_brand(replace(PLAN, domain="acme.localhost"))


def test_a_name_that_a_waiting_job_was_promised_is_taken(olga):
    onboarding.ask(PLAN, by=olga)
    with pytest.raises(BadPlan) as bad:
        onboarding.ask(replace(PLAN, name="Another"), by=olga)
    assert [fault.part for fault in bad.value.faults] == ["slug", "domain"]


def test_a_host_that_is_not_answered_is_refused(olga):
    with pytest.raises(BadPlan, match="ALLOWED_HOSTS"):
        onboarding.ask(replace(PLAN, domain="boree.example.com"), by=olga)


def test_a_schema_that_is_no_brands_is_left_alone(olga):
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA boree")
    with pytest.raises(BadPlan, match="no brand's"):
        onboarding.ask(PLAN, by=olga)


# --- Mistakes in the plan ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"slug": "Borée"}, "slug: Two to thirty-one lower-case letters"),
        ({"slug": "public"}, "slug: This short name is kept"),
        ({"domain": "bad_host"}, "domain: This is no host name"),
        ({"time_zone": "Mars/Olympus"}, "time_zone: Unknown time zone"),
        ({"currency": "euro"}, "currency: A currency is"),
        ({"stores": ()}, "stores: A brand needs a store."),
        ({"stores": (PLAN.stores[0], PLAN.stores[0], PLAN.stores[1])}, "stores: The code B1 stands twice."),
        ({"staff": ()}, "staff: A brand needs an administrator"),
    ],
)
def test_mistakes_are_said(change, fault):
    assert any(said.startswith(fault) for said in faults_of(replace(PLAN, **change)))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"role": "pope"}, "Unknown role “pope”"),
        ({"role": Role.PLATFORM_ADMIN}, "Unknown role “platform_admin”"),
        ({"email": "nobody"}, "“nobody” is no e-mail address."),
        ({"store_codes": ("B9",)}, "there is no store B9"),
        ({"store_codes": ()}, "manages no store"),
    ],
)
def test_mistakes_about_a_person_are_said(change, fault):
    yann = replace(PLAN.staff[1], **change)
    assert fault in " ".join(faults_of(replace(PLAN, staff=(PLAN.staff[0], yann))))


def test_everything_wrong_is_said_at_once():
    assert len(faults_of(replace(PLAN, name="", currency="x", language="la", stores=(), staff=()))) == 5


# --- Files -------------------------------------------------------------------------------------------------------


def test_the_sample_is_a_file_of_stores():
    lille, lyon = stores_from_csv(SAMPLE_CSV)
    assert (lille.code, lille.region_code, lille.tills) == ("001", "nord", ("T1", "T2"))
    assert lyon.legal_name == "Bellecour Commerce SAS"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("delimiter", [";", ",", "\t"])
def test_french_headers_in_any_order_encoding_and_delimiter(encoding, delimiter):
    text = "Région;Code magasin;Nom;Code postal;Ville;Raison sociale\nÎle-de-France;7;Étoile;75008;Paris;É. SARL\n"
    (store,) = stores_from_csv(text.replace(";", delimiter).encode(encoding))
    assert store == StorePlan(
        "7", "Étoile", "ile-de-france", "Île-de-France", "75008", "Paris", legal_name="É. SARL"
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("code;name;region\n1;Lille;\n", "line 2, column “region”"),
        ("code;name;region\n\n1;Lille;Nord\nun deux;Lyon;Sud\n", "line 4, column “code”"),
        (
            "code;name;region;time_zone\n1;Lille;Nord;Paris\n",
            "line 2, column “time_zone”: Unknown time zone: Paris.",
        ),
        ("code;name\n1;Lille\n", "line 1, column “region”: this column is missing"),
        ("code;name;nom;region\n1;Lille;Lille;Nord\n", "line 1, column “name”: two columns mean the same"),
        ("code;name;region\n1;Lille;Nord;59000\n", "line 2: more values than headers"),
        ('code;name;region\n1;"Lille;Nord\n', "line 2: "),
        ("code;name;region\n", "The file holds no store."),
        ("", "The file holds no store."),
    ],
)
def test_a_bad_file_names_line_and_column(text, fault):
    with pytest.raises(BadPlan) as bad:
        stores_from_csv(text)
    assert fault in str(bad.value)


def test_staff_is_read_from_lines():
    zoe, yann = staff_from_lines(
        "Zoe@boree.example; Zoé Le Goff; Brand administrator\n\nyann@boree.example;Yann;store_manager;B1 B2\n"
    )
    assert (zoe.email, zoe.role) == ("zoe@boree.example", Role.BRAND_ADMIN)
    assert (yann.role, yann.store_codes, yann.line) == (Role.STORE_MANAGER, ("B1", "B2"), 3)
    with pytest.raises(BadPlan, match="line 1: write"):
        staff_from_lines("zoe@boree.example")


CONFIG = """
name = "Maison Borée"
slug = "boree"
stores_file = "stores.csv"

[[staff]]
email = "zoe@boree.example"
full_name = "Zoé Le Goff"
role = "brand_admin"
"""


@pytest.fixture
def config(tmp_path) -> Path:
    (tmp_path / "stores.csv").write_text(SAMPLE_CSV, encoding="utf-8")
    file = tmp_path / "brand.toml"
    file.write_text(CONFIG, encoding="utf-8")
    return file


def test_a_brand_is_opened_from_a_file(platform, config, capsys):
    call_command("create_brand", config=config)

    said = capsys.readouterr().out
    assert "Maison Borée answers at boree.localhost" in said
    assert said.count("key of till") == 3
    (link,) = re.findall(r"http://boree\.localhost:8000(\S+)", said)
    with tenant_context(Brand.objects.get(slug="boree")):
        assert invitations.invited(link.rstrip("/").rpartition("/")[2]).full_name == "Zoé Le Goff"


def test_a_bad_file_opens_nothing(platform, config):
    (config.parent / "stores.csv").write_text("code;name;region\n1;;Nord\n", encoding="utf-8")
    with pytest.raises(CommandError, match="line 2, column “name”"):
        call_command("create_brand", config=config)
    assert not Brand.objects.filter(slug="boree").exists()


def test_a_file_may_hold_everything_itself(tmp_path):
    plan = plan_from_config(
        {
            "name": "B",
            "slug": "boree",
            "points_from": date(2026, 1, 31),
            "stores": [{"code": 1, "name": "Brest", "region": "Île", "tills": "T1 T2"}],
            "staff": [
                {"email": "z@b.example", "full_name": "Z", "role": "store_manager", "store_codes": ["1"]}
            ],
        },
        tmp_path,
    )
    assert (plan.domain, plan.points_from) == ("boree.localhost", "2026-01-31")
    assert plan.stores == (StorePlan("1", "Brest", "ile", "Île", tills=("T1", "T2")),)
    assert plan.staff == (StaffPlan("z@b.example", "Z", Role.STORE_MANAGER, ("1",)),)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ({"name": "B", "slug": "b", "shops": []}, "“shops” means nothing here."),
        ({"slug": "b"}, "“name” is missing."),
    ],
)
def test_a_file_is_read_strictly(config, words, fault):
    with pytest.raises(BadPlan, match=fault):
        plan_from_config(words, config.parent)


# --- Invitations -------------------------------------------------------------------------------------------------


@pytest.fixture
def zoe(brand):
    return Staff.objects.create_user(
        "zoe@acme.example", full_name="Zoé Le Goff", role=Role.BRAND_ADMIN, language="en"
    )


def test_an_invitation_sets_a_password_once_and_signs_in(zoe, client_of):
    path, client = invitations.path_of(zoe), client_of()
    assert "Zoé Le Goff" in client.get(path).content.decode()

    refused = client.post(path, {"new_password1": "short", "new_password2": "short"})
    assert refused.status_code == 200
    words = {"new_password1": "neuf chevaux verts", "new_password2": "neuf chevaux verts"}
    accepted = client.post(path, words)
    assert accepted.status_code == 302
    assert client.session["_auth_user_id"] == str(zoe.pk)
    zoe.refresh_from_db()
    assert zoe.check_password("neuf chevaux verts")
    assert client_of().get(path).status_code == 410
    assert client_of().post(path, words).status_code == 410


def test_an_invitation_opens_in_its_own_brand_alone(zoe, brand):
    token = invitations.token_of(zoe)
    assert invitations.invited(token) == zoe
    connection.set_schema_to_public()
    with pytest.raises(invitations.InvitationGone):
        invitations.invited(token)
    connection.set_tenant(brand)


def test_an_invitation_ends(zoe, monkeypatch):
    token = invitations.token_of(zoe)
    monkeypatch.setattr(invitations, "VALID_FOR", invitations.VALID_FOR * 0)
    monkeypatch.setattr("django.core.signing.time.time", lambda: 4_000_000_000)
    with pytest.raises(invitations.InvitationGone):
        invitations.invited(token)


@pytest.mark.parametrize("ends", ["set_unusable_password", "leaves", "is tampered with"])
def test_an_invitation_is_withdrawn(zoe, ends):
    token = invitations.token_of(zoe)
    if ends == "is tampered with":
        token = token[:-1] + ("A" if token[-1] != "A" else "B")
    elif ends == "leaves":
        Staff.objects.filter(pk=zoe.pk).update(is_active=False)
    else:
        zoe.set_unusable_password()
        zoe.save()
    with pytest.raises(invitations.InvitationGone):
        invitations.invited(token)


def test_scope_is_not_needed_by_a_command(platform):
    """The demonstration and the commands open no scope: the verb does."""
    with scoped_to(Scope.of([])):
        assert onboarding.onboard_brand(PLAN).till_keys
