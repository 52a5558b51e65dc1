"""What a request may see is settled here, before any view runs: the brand by host name, the stores by person."""

import time

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.http import HttpResponse, JsonResponse
from django.utils import translation
from django_tenants.middleware.main import TenantMainMiddleware

from tenants.models import Brand, Domain
from tenants.scoping import NOTHING, scoped_to


class BrandMiddleware(TenantMainMiddleware):
    """Host name -> brand -> schema. An unknown host gets a plain answer that names it, not a stack trace."""

    def process_request(self, request):
        """The first query of each request: where the database is away, it is told to come back."""
        try:
            return super().process_request(request)
        except (InterfaceError, OperationalError):
            body = {
                "type": "/problems/unavailable", "title": "The database cannot be reached: try again", "status": 503,
                "code": "unavailable", "detail": "The database cannot be reached: try again",
            }  # fmt: skip
            return JsonResponse(
                body, status=503, headers={"Retry-After": "5"}, content_type="application/problem+json"
            )

    def no_tenant_found(self, request, hostname):
        return HttpResponse(
            f"No brand answers at {hostname}.", status=404, content_type="text/plain; charset=utf-8"
        )


# For this long a host name that was given or taken away in another process may still lead where it led.
SECONDS_REMEMBERED = 2.0

_remembered: dict[str, tuple[float, Brand]] = {}


def brand_at(hostname: str) -> Brand | None:
    """The brand that answers at this host name, looked up at most every two seconds."""
    at, brand = _remembered.get(hostname, (0.0, None))
    if brand is None or time.monotonic() - at > SECONDS_REMEMBERED:
        connection.set_schema_to_public()
        domain = Domain.objects.select_related("tenant").filter(domain=hostname).first()
        if domain is None:
            return None
        brand = domain.tenant
        _remembered[hostname] = time.monotonic(), brand
    return brand


@receiver([post_save, post_delete], sender=Domain)
@receiver([post_save, post_delete], sender=Brand)
def forget_brands(**_sent) -> None:
    """After a deed of this process: the next call is looked up."""
    _remembered.clear()


class StaffLanguageMiddleware:
    """Pages speak the language of the person who signed in; before that, the browser's, then the brand's."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        language = getattr(request.user, "language", None)
        if language is None and not request.headers.get("Accept-Language"):
            language = getattr(request.tenant, "language", None)
        if language in dict(settings.LANGUAGES):
            translation.activate(language)
            request.LANGUAGE_CODE = language
        return self.get_response(request)


class ScopeMiddleware:
    """Opens the scope of the person who signed in; whoever did not sees nothing.

    Tills are not people: `loyalty/api.py` opens the till's own scope around each of its calls.
    """

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        scope = request.user.scope if request.user.is_authenticated else NOTHING
        # A streamed body is produced after this block: whoever streams rows opens a scope of its own.
        with scoped_to(scope):
            return self.get_response(request)
