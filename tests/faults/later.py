"""What the timetable sends at its next turn, for one brand: `python -m tests.faults.later BRAND TASK...`"""

import sys

import django

if __name__ == "__main__":
    django.setup()

    from django_tenants.utils import tenant_context

    from cdp.celery import app
    from tenants.models import Brand

    app.loader.import_default_modules()
    slug, *names = sys.argv[1:]
    with tenant_context(Brand.objects.get(slug=slug)):
        for name in names:
            app.tasks[name].delay()
