"""The WSGI entrance: `granian --interface wsgi cdp.wsgi:application`."""

import gc
import os
from importlib import import_module

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cdp.settings")
handler = get_wsgi_application()

# Its models can be loaded once Django is set up.
from cdp.till_lane import Entrance  # noqa: E402

application = Entrance(handler)

# What every request needs is loaded now, and stays: the collector, which would look through all of it again and again
# (a tenth of a second each time), need not.
for urls in (settings.ROOT_URLCONF, settings.PUBLIC_SCHEMA_URLCONF):
    import_module(urls)
gc.collect()
gc.freeze()
