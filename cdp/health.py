"""Is it alive, can it work: two answers for supervisors and load balancers, of no brand and on any host name."""

from django.core.cache import cache
from django.db import DatabaseError, connection
from django.http import HttpResponse, JsonResponse
from redis.exceptions import RedisError

from cdp.silence import silence


class HealthMiddleware:
    """Answers /livez and /readyz before a brand is looked for."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if request.path == "/livez":
            return HttpResponse("alive", content_type="text/plain")
        if request.path == "/readyz":
            return ready()
        return self.get_response(request)


def ready() -> JsonResponse:
    """One entry a dependency, each "ok" or what is wrong; status 503 unless all are."""
    checks = {"database": _database(), "cache": _cache()}
    return JsonResponse(checks, status=200 if set(checks.values()) == {"ok"} else 503)


def _database() -> str:
    if silence.turns_away():
        return "silent"
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        return type(error).__name__
    return "ok"


def _cache() -> str:
    try:
        cache.set("ready", "ok", 10)
        return cache.get("ready", "nothing came back")
    except (OSError, RedisError) as error:
        return type(error).__name__
