"""The brand's own day: what "today" means for points, windows and reports, wherever the server stands."""

from datetime import date
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import connection
from django.utils import timezone


def brand_zone() -> ZoneInfo:
    """The zone whose midnight separates the brand's days; the platform's own where no brand is chosen."""
    return ZoneInfo(getattr(connection.tenant, "time_zone", None) or settings.TIME_ZONE)


def brand_today() -> date:
    return timezone.now().astimezone(brand_zone()).date()
