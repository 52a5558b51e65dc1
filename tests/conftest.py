"""The cast, and a brand on the real PostgreSQL for them to play in.

Acme has two stores: Lille in the North, Lyon in the South. **Alice** is a head-office marketer, **Diane** the brand's
administrator, **Bruno** manages Lille, **Chloé** manages Lyon and must never see anything of Lille. Each store has one
till. Tests run inside the brand's schema and see the whole network unless they open another scope; entrances (views,
tasks) open their own.
"""

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.utils import translation

from tenants import blueprint
from tenants.models import Brand, Domain
from tenants.network.models import Region, Staff, Store, Till
from tenants.roles import Role
from tenants.scoping import whole_network

HOST = "acme.localhost"
PASSWORD = "correct horse battery"


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        assert settings.DATABASES["default"]["NAME"].startswith("test_"), "tests never touch a real database"
        connection.set_schema_to_public()
        if not Brand.objects.filter(slug="acme").exists():
            platform = Brand.objects.create(name="Platform", slug="platform", schema_name="public")
            Domain.objects.create(tenant=platform, domain="localhost", is_primary=True)
            acme = Brand.objects.create(name="Maison Acme", slug="acme", schema_name="acme")
            Domain.objects.create(tenant=acme, domain=HOST, is_primary=True)
            blueprint.build(acme)
        connection.set_schema_to_public()


@pytest.fixture(autouse=True)
def english():
    """Every test begins in English: the last request left the language of its reader behind in this thread."""
    translation.activate("en")


@pytest.fixture
def brand(db):
    """The brand Acme; the connection stands in its schema for the test's time."""
    connection.set_schema_to_public()
    acme = Brand.objects.get(slug="acme")
    connection.set_tenant(acme)
    cache.clear()
    with whole_network():
        yield acme
    connection.set_schema_to_public()


@pytest.fixture
def north(brand):
    return Region.objects.create(code="nord", name="Nord")


@pytest.fixture
def south(brand):
    return Region.objects.create(code="sud", name="Sud")


@pytest.fixture
def lille(north):
    return Store.objects.create(
        code="ACM-001",
        name="Lille Centre",
        region=north,
        city="Lille",
        postcode="59000",
        legal_name="Lille SARL",
    )


@pytest.fixture
def lyon(south):
    return Store.objects.create(
        code="ACM-002",
        name="Lyon Bellecour",
        region=south,
        city="Lyon",
        postcode="69002",
        legal_name="Lyon SAS",
    )


def _till(store) -> tuple[Till, str]:
    till = Till(store=store, code="T1")
    return till, till.issue_key()


@pytest.fixture
def lille_till(lille):
    """(till, key in clear) of Lille."""
    return _till(lille)


@pytest.fixture
def lyon_till(lyon):
    """(till, key in clear) of Lyon."""
    return _till(lyon)


def _staff(email, name, role, *stores) -> Staff:
    staff = Staff.objects.create_user(email, PASSWORD, full_name=name, role=role, language="en")
    staff.stores.set(stores)
    return staff


@pytest.fixture
def alice(brand):
    """Head-office marketer."""
    return _staff("alice@acme.example", "Alice Martin", Role.MARKETER)


@pytest.fixture
def diane(brand):
    """The brand's administrator."""
    return _staff("diane@acme.example", "Diane Perrot", Role.BRAND_ADMIN)


@pytest.fixture
def bruno(lille):
    """Manager of Lille."""
    return _staff("bruno@acme.example", "Bruno Caron", Role.STORE_MANAGER, lille)


@pytest.fixture
def chloe(lyon):
    """Manager of Lyon."""
    return _staff("chloe@acme.example", "Chloé Faure", Role.STORE_MANAGER, lyon)


@pytest.fixture
def client_of(brand):
    """`client_of(alice)`: a test client on the brand's site, signed in as that person (nobody if omitted)."""

    def make(staff: Staff | None = None) -> Client:
        client = Client(headers={"host": HOST})
        if staff is not None:
            client.force_login(staff, backend="tenants.network.auth.RoleBackend")
        return client

    return make


@pytest.fixture
def till_client(brand):
    """`till_client(key)`: a test client that calls as the till with this key."""

    def make(key: str) -> Client:
        return Client(headers={"host": HOST, "authorization": f"Till {key}"})

    return make
