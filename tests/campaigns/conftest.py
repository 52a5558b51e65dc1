"""What the tests of campaigns share: a frozen clock and files that leave nothing behind."""

from datetime import date

import pytest
import time_machine

TODAY = date(2026, 6, 15)


@pytest.fixture
def today(brand):
    """Noon of 15 June 2026 in Paris."""
    with time_machine.travel("2026-06-15T10:00:00Z", tick=False):
        yield TODAY


@pytest.fixture
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    return tmp_path
