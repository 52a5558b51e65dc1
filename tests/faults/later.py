"""What the timetable sends at its next turn, for the brand `later`: run as a programme, beside the worker's broker."""

import django

if __name__ == "__main__":
    django.setup()

    from django_tenants.utils import tenant_context

    from loyalty.tasks import apply_parked_returns
    from profiles.tasks import match_new_records
    from tenants.models import Brand

    with tenant_context(Brand.objects.get(slug="later")):
        match_new_records.delay()
        apply_parked_returns.delay()
