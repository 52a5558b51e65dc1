"""The WSGI entrance: `granian --interface wsgi cdp.wsgi:application`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cdp.settings")
handler = get_wsgi_application()

# Its models can be loaded once Django is set up.
from cdp.till_lane import Entrance  # noqa: E402

application = Entrance(handler)
