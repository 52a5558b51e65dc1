"""What a load balancer hears while the cache is away."""

from django.core.cache import cache
from redis.exceptions import ConnectionError as RedisConnectionError


def test_without_a_cache_it_is_not_ready_and_says_so(client_of, monkeypatch):
    def away(*_about, **_more):
        raise RedisConnectionError("refused")

    client = client_of()
    assert client.get("/readyz").json() == {"database": "ok", "cache": "ok"}
    monkeypatch.setattr(cache, "set", away)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"database": "ok", "cache": "ConnectionError"})
    assert client.get("/livez").status_code == 200
