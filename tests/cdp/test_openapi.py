"""The interface as it is told, `/api/v1/openapi.json`, and as it answers: one and the same."""

import json
from datetime import UTC, datetime

import msgspec
import pytest
from django.urls import URLPattern, get_resolver

from loyalty import api as till_api
from loyalty import rulebook
from loyalty import till_schemas as schemas
from loyalty.models import Programme, Rule
from profiles import events_api
from profiles.models import Site, Source
from profiles.wire import ProblemAnswer
from tests.loyalty.conftest import LONG_AGO, programme  # noqa: F401 - a fixture

SCHEMA_WORDS = {
    "$ref", "allOf", "anyOf", "oneOf", "type", "enum", "const", "properties", "items", "additionalProperties",
}  # fmt: skip
METHODS = {"get", "post", "put", "patch", "delete"}
NOON = datetime(2026, 11, 2, 11, tzinfo=UTC).isoformat()
CARD = {"card": "2990000001234"}


@pytest.fixture
def document(client_of, diane) -> dict:
    response = client_of(diane).get("/api/v1/openapi.json")
    assert response.status_code == 200
    return json.loads(response.content)


def operations(document):
    for path, item in document["paths"].items():
        for method in METHODS & set(item):
            yield f"{method} {path}", item[method]


def nodes(value):
    """Every object inside the document."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from nodes(inner)


def test_it_is_openapi_3_1_with_a_title(document):
    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"]
    assert document["info"]["version"]


def test_every_reference_leads_somewhere(document):
    references = {node["$ref"] for node in nodes(document) if isinstance(node.get("$ref"), str)}
    assert references
    for reference in references:
        target = document
        assert reference.startswith("#/")
        for part in reference[2:].split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]


def test_every_operation_is_named_once_and_answers_something(document):
    names = [operation["operationId"] for _where, operation in operations(document)]
    assert len(names) == len(set(names))
    for where, operation in operations(document):
        assert operation["responses"], where
        for status, response in operation["responses"].items():
            assert status.isdigit(), where
            assert "description" in response, where


def test_every_parameter_of_a_path_is_told(document):
    for path, item in document["paths"].items():
        named = {part.strip("{}") for part in path.split("/") if part.startswith("{")}
        for method in METHODS & set(item):
            told = {p["name"] for p in item[method].get("parameters", []) if p["in"] == "path"}
            assert told == named, (method, path)


def test_every_schema_says_what_it_is(document):
    for name, schema in document["components"]["schemas"].items():
        assert SCHEMA_WORDS & set(schema), name


def test_every_path_of_version_1_is_told(document):
    told = {path.rstrip("/") for path in document["paths"]}
    for pattern in get_resolver("cdp.api_v1").url_patterns:
        assert isinstance(pattern, URLPattern)
        path = "/api/v1/" + str(pattern.pattern)
        if pattern.name == "schema":
            continue
        parts = ["{" if "<" in part else part for part in path.split("/")]
        alike = [p for p in told if ["{" if "{" in part else part for part in p.split("/")] == parts]
        assert alike, path


@pytest.mark.parametrize("path", [*till_api.PATHS, "/api/v1/members/{id}"])
def test_every_path_of_a_till_tells_its_problems(document, path):
    operation = document["paths"][path]["get" if "members" in path else "post"]
    problems = {status for status in operation["responses"] if int(status) >= 400}
    assert problems >= {"401", "404"}
    if "members" not in path:
        assert problems >= set(till_api.PROBLEMS)
    for status in problems:
        content = operation["responses"][status]["content"]
        assert content["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/ProblemAnswer"}
    assert operation["security"] == [{"tillKey": []}]
    assert operation["summary"]


def test_the_path_of_events_tells_its_keys_and_problems(document):
    operation = document["paths"]["/api/v1/events"]["post"]
    assert operation["security"] == [{"siteKey": []}, {"tillKey": []}]
    assert set(operation["requestBody"]["content"]) == {"application/json", "text/plain"}
    assert {status for status in operation["responses"] if int(status) >= 400} == set(events_api.PROBLEMS)
    assert document["components"]["securitySchemes"]["siteKey"]["in"] == "query"


def test_what_a_site_hears_is_what_was_told(client_of, brand):
    source = Source.objects.create(code="shop", name="Shop", kind=Source.Kind.ECOMMERCE)
    site = Site.objects.create(name="Shop", source=source)
    event = {"id": "e1", "type": "cart_exploded", "at": NOON, "consent": True}
    answer = client_of().post(f"/api/v1/events?key={site.key}", json.dumps(event), content_type="text/plain")
    msgspec.json.decode(answer.content, type=refuse_unknown(events_api.EventsAnswer), strict=True)
    refused = client_of().post("/api/v1/events", json.dumps(event), content_type="text/plain")
    assert refused.status_code == 401
    msgspec.json.decode(refused.content, type=refuse_unknown(ProblemAnswer), strict=True)


def test_both_ways_to_sign_in_are_told(document):
    assert document["components"]["securitySchemes"]["tillKey"]["in"] == "header"
    assert document["paths"]["/api/v1/purchases"].keys() >= {"get", "post"}


# --- And as it answers ------------------------------------------------------------------------------------------


def sale(receipt_id="R1", member=CARD, amount="150.00") -> dict:
    lines = [{"sku": "A", "amount": amount, "category": "DAIRY"}]
    return {"receipt_id": receipt_id, "bought_at": NOON, "member": member, "lines": lines}


REFUND = {"refund_id": "B1", "refunded_at": NOON, "receipt_id": "R1", "lines": [{"number": 1}]}
REDEMPTION = {"redemption_id": "P1", "member": CARD, "points": 100, "redeemed_at": NOON}
ACTION = {"action": "review", "action_key": "A1", "member": CARD, "occurred_at": NOON}
CLAIM = {"claim_id": "C1", "member": CARD, "receipt_id": "R2", "total": "150.00"}
PROBLEM = ProblemAnswer
RESERVATION = {"reservation_id": "V1", "member": CARD, "points": 100}
CALLS = [
    ("identify", {"member": CARD}, 404, PROBLEM),
    ("quotes", sale(member=None), 200, schemas.QuoteAnswer),
    ("purchases", sale(), 201, schemas.PurchaseAnswer),
    ("purchases", sale("R2", None), 201, schemas.PurchaseAnswer),
    ("purchases", sale(amount="1.00"), 422, PROBLEM),
    ("purchases", [], 400, PROBLEM),
    ("identify", {"member": CARD}, 200, schemas.MemberAnswer),
    ("identify", {"member": {"email": "a@b.example"}, "create": {"first_name": "A"}}, 200, schemas.MemberAnswer),
    ("quotes", sale("R3"), 200, schemas.QuoteAnswer),
    ("purchases/batch", {"purchases": [sale(), sale("R4"), sale("R5", amount="1.001")]}, 200, schemas.BatchAnswer),
    ("purchases", sale("R6"), 201, schemas.PurchaseAnswer),
    ("reservations", RESERVATION, 201, schemas.ReservationAnswer),
    ("reservations/cancel", {"reservation_id": "V1"}, 201, schemas.ReservationCancelled),
    ("reservations/commit", {"reservation_id": "V1"}, 409, PROBLEM),
    ("reservations", RESERVATION | {"reservation_id": "V2"}, 201, schemas.ReservationAnswer),
    ("reservations/commit", {"reservation_id": "V2"}, 201, schemas.ReservationAnswer),
    ("redemptions", REDEMPTION, 201, schemas.RedemptionAnswer),
    ("redemptions", REDEMPTION | {"redemption_id": "P2", "points": 10**6}, 409, PROBLEM),
    ("refunds", REFUND, 201, schemas.RefundAnswer),
    ("refunds", REFUND | {"refund_id": "B2", "receipt_id": "R9"}, 202, schemas.RefundAnswer),
    ("refunds", REFUND | {"refund_id": "B3", "store": "ACM-999"}, 409, PROBLEM),
    ("actions", ACTION, 201, schemas.ActionAnswer),
    ("actions", ACTION | {"action": "unheard"}, 422, PROBLEM),
    ("claims", CLAIM, 201, schemas.ClaimAnswer),
    ("claims", CLAIM | {"claim_id": "C2"}, 409, PROBLEM),
]  # fmt: skip


def refuse_unknown(kind: type) -> type:
    """The type itself, but an answer with a field that it does not tell is refused."""
    fields = [(f.name, f.type, f.default) if f.default is not msgspec.NODEFAULT else (f.name, f.type)
              for f in msgspec.structs.fields(kind) if f.default_factory is msgspec.NODEFAULT]  # fmt: skip
    fields += [(f.name, f.type, msgspec.field(default_factory=f.default_factory))
               for f in msgspec.structs.fields(kind) if f.default_factory is not msgspec.NODEFAULT]  # fmt: skip
    return msgspec.defstruct(kind.__name__, fields, forbid_unknown_fields=True, kw_only=True)


def test_what_a_till_hears_is_what_was_told(programme, lille_till, till_client):  # noqa: F811
    client = till_client(lille_till[1])
    # However long ago noon is when this runs.
    Programme.objects.update(claim_days=30_000)
    review = Rule.objects.create(code="review", name="Review", kind="action")
    rulebook.publish(review, {}, {"action": "review", "points": 7}, effective_from=LONG_AGO)
    for path, body, status, kind in CALLS:
        response = client.post(f"/api/v1/{path}", json.dumps(body), content_type="application/json")
        assert response.status_code == status, (path, response.content)
        answer = msgspec.json.decode(response.content, type=refuse_unknown(kind), strict=True)
        if kind is schemas.PurchaseAnswer and answer.member:
            told = client.get(f"/api/v1/members/{answer.member}")
            msgspec.json.decode(told.content, type=refuse_unknown(schemas.MemberAnswer), strict=True)
    covered = {f"/api/v1/{path}" for path, _body, status, _kind in CALLS if status < 300}
    assert covered == set(till_api.PATHS)
