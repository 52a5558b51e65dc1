"""Django's own WSGI entrance, as a stock project has it."""

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
