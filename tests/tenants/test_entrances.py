"""What the entrances do at their edges: a task that may see nothing, a request while the database is away."""

from types import SimpleNamespace

from django.db import OperationalError
from django_tenants.middleware.main import TenantMainMiddleware

from tenants.scoping import NOTHING, WHOLE_NETWORK, Scope, scoped_to
from tenants.tasks import SCOPE_HEADER, _headers_with_scope, _scope_in


def _request(headers):
    return SimpleNamespace(headers=headers, get=lambda name: None)


def test_a_scope_travels_with_its_task_and_an_empty_one_stays_empty():
    for scope in (NOTHING, Scope.of([3, 7]), WHOLE_NETWORK):
        with scoped_to(scope):
            assert _scope_in(_request(_headers_with_scope(None))) == scope
    assert _scope_in(_request({SCOPE_HEADER: ""})) == NOTHING
    assert _scope_in(_request({})) == WHOLE_NETWORK


def test_a_till_is_told_to_come_back_while_the_database_is_away(client_of, monkeypatch):
    def away(self, request):
        raise OperationalError("the connection was refused")

    monkeypatch.setattr(TenantMainMiddleware, "process_request", away)
    response = client_of().get("/api/v1/profiles")
    assert response.status_code == 503
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Retry-After"] == "5"
    assert response.json()["code"] == "unavailable"
