"""The Celery app and the timetable. Each entry runs once in every brand (tenant-schemas-celery's scheduler)."""

import os

from celery.schedules import crontab
from tenant_schemas_celery.app import CeleryApp

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cdp.settings")

app = CeleryApp("cdp", task_cls="tenants.tasks:BrandTask")
# Celery remembers an app for the thread that made it: the web server's threads would ask a bare one, of another broker.
app.set_default()
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["tenants", "profiles", "loyalty", "campaigns"])

app.conf.beat_scheduler = "tenant_schemas_celery.scheduler:TenantAwareScheduler"
app.conf.beat_schedule = {
    "points-become-available": {"task": "loyalty.tasks.release_due", "schedule": crontab(hour=0, minute=5)},
    "points-expire": {"task": "loyalty.tasks.expire_due", "schedule": crontab(hour=0, minute=20)},
    "birthdays-credited": {"task": "loyalty.tasks.credit_birthdays", "schedule": crontab(hour=0, minute=35)},
    "welcomes-credited": {"task": "loyalty.tasks.credit_welcomes", "schedule": crontab(hour=0, minute=45)},
    "vouchers-expire": {"task": "loyalty.tasks.expire_vouchers", "schedule": crontab(hour=0, minute=30)},
    "stores-leave": {"task": "loyalty.tasks.carry_out_exits", "schedule": crontab(hour=0, minute=2)},
    "reservations-end": {"task": "loyalty.tasks.cancel_stale_reservations", "schedule": crontab(minute="*")},
    "parked-returns-applied": {
        "task": "loyalty.tasks.apply_parked_returns",
        "schedule": crontab(minute="7-59/10"),
    },
    "claims-tallied": {
        "task": "loyalty.tasks.tally_claims",
        "schedule": crontab(day_of_week="monday", hour=5, minute=0),
    },
    "settlement-closed": {
        "task": "loyalty.tasks.close_settlement",
        "schedule": crontab(day_of_month=2, hour=3, minute=0),
    },
    "tiers-reviewed": {"task": "loyalty.tasks.review_tiers", "schedule": crontab(hour=1, minute=0)},
    "segments-of-rules-read": {"task": "loyalty.tasks.read_segments", "schedule": crontab(minute="*/5")},
    "replays-carried-on": {"task": "loyalty.tasks.carry_on_replays", "schedule": crontab(minute="*/5")},
    "webhooks-delivered": {"task": "tenants.tasks.deliver_webhooks", "schedule": crontab(minute="*")},
    "webhooks-forgotten": {"task": "tenants.tasks.forget_webhooks", "schedule": crontab(hour=3, minute=30)},
    "ledger-proved": {"task": "loyalty.tasks.prove_ledger", "schedule": crontab(hour=4, minute=0)},
    "overused-values-blocked": {
        "task": "profiles.tasks.block_overused",
        "schedule": crontab(hour=3, minute=0),
    },
    "connections-polled": {"task": "profiles.tasks.poll_connections", "schedule": crontab(minute="*/5")},
    "bulk-decisions-carried-on": {"task": "profiles.tasks.carry_on_bulk", "schedule": crontab(minute="*/5")},
    "imports-carried-on": {"task": "profiles.tasks.carry_on_imports", "schedule": crontab(minute="*/5")},
    "import-files-forgotten": {
        "task": "profiles.tasks.forget_import_files",
        "schedule": crontab(hour=2, minute=45),
    },
    "events-rolled-up": {"task": "profiles.tasks.roll_up_events", "schedule": crontab(hour=2, minute=30)},
    "events-released": {"task": "profiles.tasks.release_events", "schedule": crontab(minute=40)},
    "brand-unified": {
        "task": "profiles.tasks.unify_brand",
        "schedule": crontab(day_of_week="sunday", hour=1, minute=30),
    },
    "records-matched": {"task": "profiles.tasks.match_new_records", "schedule": crontab(minute="*/10")},
}
