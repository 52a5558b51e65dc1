"""The documentation tells the truth: links lead somewhere, commands exist, codes and words are told, examples hold."""

import ast
import json
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import chain
from pathlib import Path

import pytest
from django.conf import settings

from campaigns.segments.fields import VOCABULARY
from cdp.api_errors import RETRY_AFTER_SECONDS, STATUS_OF_CODE, TABLE
from loyalty import ledger, proof, rulebook, starter, till
from loyalty.models import Account, Coupon, Lot, Posting, Programme, Reward, Rule, Transaction
from profiles.intake import RefundLineStatement, RefundStatement, Shown
from tests.loyalty.conftest import CARD, programme, ticket  # noqa: F401 - a fixture

ROOT = Path(settings.BASE_DIR)
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, ROOT / "CHANGELOG.md", *DOCS]

LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(page: Path) -> str:
    """The page without its blocks of code, where a bracket and a parenthesis are no link."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What a heading is called in an address: lower case, hyphens for spaces, other signs dropped."""
    headings = HEADING.findall(prose(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_every_link_leads_somewhere(page):
    for target, anchor in LINK.findall(prose(page)):
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), f"{names(page)} links to {target}"
        if anchor:
            assert anchor in anchors(there), f"{names(page)} links to {target}#{anchor}"


def test_the_readme_names_every_page_of_the_documentation():
    linked = {target for target, _anchor in LINK.findall(README.read_text())}
    assert {names(page) for page in DOCS} <= linked


def test_every_make_target_that_the_pages_name_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE))
        assert named <= targets, names(page)
    assert "`make test`" in README.read_text()


def test_every_path_in_code_type_exists():
    """`loyalty/till/selling.py` and its like: files of ours that a page names in passing."""
    ours = re.compile(r"`((?:cdp|tenants|profiles|loyalty|campaigns|tests|docs)/[\w/.]+\.(?:py|sql|md))`")
    for page in PAGES:
        for path in ours.findall(page.read_text()):
            assert (ROOT / path).exists(), f"{names(page)} names {path}"


# --- Tables of the code that a page repeats --------------------------------------------------------------------


# What intake and loyalty raise of which each says its own code: exception -> status.
STATUSES = {"Problem": 422, "Conflict": 422, "Refused": 409, "Reason": 409}


def codes_of_problems() -> dict[str, int]:
    """The code of each `Problem(...)` and its like that intake and loyalty raise, read from their source."""
    found = {}
    for path in chain((ROOT / "profiles/intake").glob("*.py"), (ROOT / "loyalty").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in STATUSES
                and isinstance(node.args[0], ast.Constant)
            ):
                found[node.args[0].value] = STATUSES[node.func.id]
    return found


# Refusals that only head office's pages can hear.
OFFICE = {"exit_known", "exit_to_itself", "buyer_leaves"}


def test_the_page_for_tills_explains_every_code_with_its_status():
    statuses = {code: status for _kind, status, code, _title in TABLE if code}
    statuses |= codes_of_problems() | STATUS_OF_CODE | {"not_found": 404}
    statuses = {code: status for code, status in statuses.items() if code not in OFFICE}
    row = re.compile(r"^\| `(\w+)` \| (\d{3}) \|", re.MULTILINE)
    told = {code: int(status) for code, status in row.findall((ROOT / "docs/till-api.md").read_text())}
    assert told == statuses
    assert statuses.keys() >= RETRY_AFTER_SECONDS.keys()


@pytest.mark.parametrize("word", sorted(VOCABULARY))
def test_the_page_of_segments_names_every_word(word):
    assert f"`{word}`" in (ROOT / "docs/segments.md").read_text()


# --- The examples of the till API ------------------------------------------------------------------------------

EXAMPLE = re.compile(
    r"^```sh\ntill (\S+)(?: -d '(.*?)')?\n```\n+```json\n(.*?)^```", re.DOTALL | re.MULTILINE
)
UNTIL = re.compile(r'"expires_at": ?"[^"]+"')
MEMBER = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture
def demonstrated(brand):
    """The programme of the demonstration: the template, points of half a year, double points for dairy."""
    starter.open_programme("Europe/Paris", date(2024, 1, 1))
    base = Rule.objects.get(code="base")
    start = datetime(2024, 2, 1, tzinfo=UTC)
    rulebook.publish(base, {}, base.versions.get().terms | {"expiry_months": 6}, effective_from=start)
    dairy = Rule.objects.create(code="double-dairy", name="Dairy", kind=Rule.Kind.MULTIPLIER, priority=20)
    rulebook.publish(dairy, {"categories": ["DAIRY"]}, {"factor": "2"}, effective_from=start)


def test_the_examples_of_the_till_api(lille_till, demonstrated, till_client):
    client = till_client(lille_till[1])
    examples = EXAMPLE.findall((ROOT / "docs/till-api.md").read_text())
    assert {path.split("/", 1)[0] for path, _body, _answer in examples} == {
        "identify", "quotes", "purchases", "redemptions", "refunds", "members", "reservations",
    }  # fmt: skip
    documented = actual = ""
    for path, body, answer in examples:
        address = "/api/v1/" + path.replace(documented or path, actual or path)
        more = {"headers": {"accept-language": "en"}}
        if body:
            response = client.post(address, body, content_type="application/json", **more)
        else:
            response = client.get(address, **more)
        text = response.content.decode()
        if not actual and (found := MEMBER.search(text)):
            documented, actual = MEMBER.search(answer).group(), found.group()
        heard, stands = (UNTIL.sub('"expires_at": ""', MEMBER.sub("ID", said)) for said in (text, answer))
        assert json.loads(heard) == json.loads(stands), path


VOUCHER = re.compile(r"[2-9A-HJ-NP-TV-Z]{4}(?:-[2-9A-HJ-NP-TV-Z]{4}){3}")


def test_the_examples_of_benefits(lille_till, brand, till_client):
    starter.open_programme("Europe/Paris", date(2024, 1, 1))
    told = {"valid_from": date(2026, 1, 1), "points": 200, "worth_cents": 1000, "kind": "money_off"}
    Reward.objects.create(code="ten-off", name="10 € off", **told)
    for code in ("SPRING", "FIVE"):
        Coupon.objects.create(
            code=code,
            name=code.title(),
            kind="amount",
            amount=500,
            starts_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
    client = till_client(lille_till[1])
    card = Shown("card", "2990000099990")
    Programme.objects.update(velocity_tickets=0)  # five tickets in an hour
    till.record_purchases(lille_till[0], [ticket(f"R{n}", 5000, shown=card) for n in range(5)])
    documented = actual = ""
    examples = EXAMPLE.findall((ROOT / "docs/benefits.md").read_text())
    assert len(examples) >= 5
    for path, body, answer in examples:
        response = client.post(
            f"/api/v1/{path}", body.replace(documented, actual) if documented else body,
            content_type="application/json", headers={"accept-language": "en"},
        )  # fmt: skip
        text = response.content.decode()
        if not actual and (found := VOUCHER.search(text)):
            documented, actual = VOUCHER.search(answer).group(), found.group()
        assert json.loads(_masked(text)) == json.loads(_masked(answer)), path


def _masked(text: str) -> str:
    """The text without what is another one each time: ids, codes and days that follow from today."""
    text = VOUCHER.sub("CODE", MEMBER.sub("ID", text))
    return re.sub(r'"last_day":\s*"[\d-]+"', '"last_day": ""', text)


# --- The worked example of the ledger --------------------------------------------------------------------------


def posted() -> str:
    """The ledger as text: each transaction's postings, and what the member has after it."""
    lines = [f"{'transaction':<13}{'account':<12}{'points':>8}{'available':>12}{'debt':>8}"]
    has = {Account.Kind.AVAILABLE: 0, Account.Kind.DEBT: 0}
    for transaction in Transaction.objects.order_by("pk"):
        postings = Posting.objects.filter(transaction=transaction).select_related("account")
        told = sorted(
            ((posting.account.kind, posting.points) for posting in postings),
            key=lambda line: Account.Kind.values.index(line[0]),
        )
        for kind, points in told:
            if kind in has:
                has[kind] += points
        for number, (kind, points) in enumerate(told):
            line = f"{'' if number else transaction.kind:<13}{kind:<12}{points:>+8}"
            if number == len(told) - 1:
                line += f"{has[Account.Kind.AVAILABLE]:>12}{has[Account.Kind.DEBT]:>8}"
            lines.append(line)
    return "\n".join(lines)


def test_the_worked_example_of_the_ledger(lille_till, programme):  # noqa: F811
    machine, _key = lille_till
    bought = datetime(2026, 11, 2, 10, tzinfo=UTC)
    till.record_purchase(machine, ticket("R1", 9990, 5000, at=bought))
    till.redeem(machine, CARD, 100, "D1", bought + timedelta(minutes=5))
    back = RefundStatement("B1", bought + timedelta(days=2), "R1", [RefundLineStatement(2, Decimal(1))])
    till.refund(machine, back)
    till.record_purchase(machine, ticket("R2", 2000, at=bought + timedelta(days=3)))
    ledger.expire_due(date(2027, 11, 6))
    assert posted() in (ROOT / "docs/ledger.md").read_text()
    assert list(Lot.objects.order_by("pk").values_list("points", "remaining")) == [(199, 0), (20, 0)]
    assert proof.prove().differences == []
