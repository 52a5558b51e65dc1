"""A brand to measure in, which is gone afterwards."""

from contextlib import contextmanager


@contextmanager
def scratch_brand(slug: str, stores: int = 0):
    """The connection stands in the schema of a brand made for this, which is dropped again."""
    from django.db import connection

    from tenants import blueprint
    from tenants.models import Brand, Domain
    from tenants.network.models import Region, Store
    from tenants.scoping import whole_network

    connection.set_schema_to_public()
    for left_behind in Brand.objects.filter(slug=slug):
        left_behind.delete(force_drop=True)
    brand = Brand.objects.create(name=slug, slug=slug, schema_name=slug)
    Domain.objects.create(tenant=brand, domain=f"{slug}.localhost", is_primary=True)
    try:
        blueprint.build(brand)
        connection.set_tenant(brand)
        with whole_network():
            region = Region.objects.create(code="nord", name="Nord")
            for number in range(1, stores + 1):
                Store.objects.create(code=f"MAG-{number:03}", name=f"Magasin {number}", region=region)
            yield brand
    finally:
        connection.set_schema_to_public()
        Brand.objects.get(slug=slug).delete(force_drop=True)
