"""Schemathesis sends what the OpenAPI document allows, valid and broken: no 500, no answer that it does not tell of."""

import base64
import json
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from loyalty import rulebook, starter
from loyalty.models import Rule
from profiles.models import Site, Source
from tests.conftest import HOST, PASSWORD

quiet = settings(
    max_examples=6, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture
def document(client_of) -> dict:
    return json.loads(client_of().get("/api/v1/openapi.json").content)


@pytest.fixture
def headers(lille_till, diane):
    """Who calls an operation: a till where the document says so, else head office."""
    starter.open_programme("Europe/Paris")
    review = Rule.objects.create(code="review", name="Review", kind="action")
    rulebook.publish(review, {}, {"action": "review", "points": 7})
    Site.objects.create(name="Shop", source=Source.objects.create(code="shop", name="Shop", kind="ecommerce"))
    till = {"Host": HOST, "Authorization": f"Till {lille_till[1]}"}
    office = base64.b64encode(f"{diane.email}:{PASSWORD}".encode()).decode()

    def of(operation) -> dict:
        keys = [name for each in operation.definition.raw.get("security", []) for name in each]
        return till if "tillKey" in keys else {"Host": HOST, "Authorization": f"Basic {office}"}

    return of


def asked(client, case, told: dict) -> Response:
    """The answer of Django's test client, which stays inside the test's transaction, as Schemathesis reads it."""
    sent = requests.Request(**case.as_transport_kwargs(base_url=f"http://{HOST}", headers=told)).prepare()
    address = urlsplit(sent.url)
    path = f"{address.path}?{address.query}" if address.query else address.path
    headers = {
        name: value for name, value in sent.headers.items() if name not in ("Content-Length", "Content-Type")
    }
    kind = sent.headers.get("Content-Type", "")
    heard = client.generic(sent.method, path, sent.body or b"", content_type=kind, headers=headers)
    kept = {name: [value] for name, value in heard.headers.items()}
    return Response(heard.status_code, kept, heard.content, sent, elapsed=0.1, verify=False)


def complaints(client, operation, headers: dict) -> set[str]:
    """What the checks find, of examples that fit the document and of such that do not."""
    found: set[str] = set()

    def send(case):
        with transaction.atomic():
            response = asked(client, case, headers)
            transaction.set_rollback(True)
        for check in CHECKS:
            try:
                case.validate_response(response, checks=[check])
            except FailureGroup as failures:
                found.update(
                    f"{check.__name__}: {response.status_code} {each}"[:400] for each in failures.exceptions
                )

    for mode in GenerationMode:
        quiet(given(case=operation.as_strategy(generation_mode=mode))(send))()
    return found


@pytest.mark.slow
def test_no_answer_that_is_not_told(document, headers, client_of):
    schema = schemathesis.openapi.from_dict(document)
    client = client_of()
    client.raise_request_exception = False
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 30
    wrong = {each.label: found for each in operations if (found := complaints(client, each, headers(each)))}
    assert not wrong, "\n".join(f"{label}\n     " + "\n     ".join(what) for label, what in wrong.items())
