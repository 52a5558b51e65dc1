"""The WSGI entrance: `granian --interface wsgi cdp.wsgi:application`."""

import gc
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cdp.settings")

# While all is loaded, next to nothing becomes garbage (1.5 MB): the collector would look through everything again and
# again, for a tenth of the start that tills wait for.
gc.disable()
handler = get_wsgi_application()

# Its models can be loaded once Django is set up.
from cdp.till_lane import Entrance  # noqa: E402

application = Entrance(handler)

# What is loaded by now stays: the collector, which would look through all of it again and again, a tenth of a second
# each time, need not.
gc.freeze()
gc.enable()
