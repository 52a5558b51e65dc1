"""One cluster and one web server for all faults, and a brand whose tills are driven through most of them."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import environ
import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from cdp import embedded
from loyalty import starter
from loyalty.models import Programme
from tenants import blueprint, onboarding
from tenants.models import Brand, Domain
from tenants.network.models import Region, Store, Till
from tenants.scoping import whole_network
from tests.faults.servers import Cluster, Web, served
from tests.faults.tills import Book, Machine, busy

STORES, TILLS_A_STORE = 4, 2


def pytest_addoption(parser):
    parser.addoption("--times", type=int, default=1, help="faults: so many times as long as usual")


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/faults/" in str(item.path):
            item.add_marker(pytest.mark.faults)


@dataclass
class World:
    """What a fault befalls. `book` holds everything that was acknowledged in `brand` since the world began."""

    cluster: Cluster
    brand: Brand
    machines: list[Machine]
    book: Book


@pytest.fixture(scope="session")
def times(request) -> int:
    return request.config.getoption("times", default=1)


@pytest.fixture
def chance(request) -> random.Random:
    return random.Random(request.node.name)


@pytest.fixture(scope="package")
def cluster() -> Iterator[Cluster]:
    with clustered() as made:
        yield made


@contextmanager
def clustered(folder: Path | None = None) -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(embedded.UNSAFE_VARIABLE, raising=False)
        # Who is told to end cleans up as after Ctrl-C: servers of ours would outlive us.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        made = Cluster(folder)
        try:
            yield made
        finally:
            made.remove()
            signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="package")
def world(cluster, django_db_blocker) -> Iterator[World]:
    with django_db_blocker.unblock(), settled(cluster, "faults") as made:
        yield made


@contextmanager
def settled(cluster: Cluster, slug: str) -> Iterator[World]:
    """Django speaks to the cluster as well, to prepare and to compare; what it had been told before is put back."""
    told = connection.settings_dict
    before = dict(told)
    connection.close()
    address = environ.Env.db_url_config(cluster.database_url)
    told.update({name: address[name] for name in ("HOST", "PORT", "USER", "PASSWORD", "NAME")})
    try:
        onboarding.open_platform()
        brand, machines = opened(slug)
        # As on a server that has run for a while: not everything since its making has to be replayed.
        with connection.cursor() as cursor:
            cursor.execute("CHECKPOINT")
        yield World(cluster, brand, machines, Book())
    finally:
        connection.close()
        told.update(before)


def opened(slug: str) -> tuple[Brand, list[Machine]]:
    """A brand with its programme and tills. Its limits are off: tills that send as fast as they can would be held."""
    connection.set_schema_to_public()
    brand = Brand.objects.create(name=slug, slug=slug, schema_name=slug)
    host = f"{slug}.{settings.BASE_DOMAIN}"
    Domain.objects.create(tenant=brand, domain=host, is_primary=True)
    blueprint.build(brand)
    connection.set_tenant(brand)
    machines = []
    with whole_network():
        starter.open_programme("Europe/Paris", points_from=(timezone.now() - timedelta(days=60)).date())
        limits = ("velocity_tickets", "velocity_cents", "distance_km", "cashier_card_uses", "debt_floor")
        Programme.objects.update(**dict.fromkeys(limits, 0))
        region = Region.objects.create(code="nord", name="Nord")
        for number in range(1, STORES + 1):
            store = Store.objects.create(code=f"MAG-{number}", name=f"Magasin {number}", region=region)
            for code in range(1, TILLS_A_STORE + 1):
                till = Till(store=store, code=f"T{code}")
                key = till.issue_key()
                machines.append(Machine(till.pk, key, host, store.code))
    return brand, machines


@pytest.fixture(scope="package")
def web(world) -> Iterator[Web]:
    with served(world.cluster) as running:
        # Its first requests load what later ones find loaded.
        with busy(running.port, world.machines, world.book, "warm"):
            time.sleep(2)
        yield running


@pytest.fixture
def say(capsys):
    """Print a figure past pytest's capture: what was measured is a result."""

    def print_it(line: str) -> None:
        with capsys.disabled():
            os.write(1, f"\n    {line}".encode())

    return print_it
