"""The first page: the brand's figures for head office, a manager's own store's for a manager."""

from datetime import date, time, timedelta
from decimal import Decimal

import pytest
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format, time_format
from django.utils.translation import override

from cdp import home
from loyalty import starter, till
from profiles.intake import Shown, Statement, Ticket, TicketLine, take_in_records
from profiles.models import Source
from tenants.roles import Role
from tenants.scoping import Scope, scoped_to

pytestmark = pytest.mark.django_db

CANARY = "Zénobie Canari"


@pytest.fixture
def crm(brand):
    return Source.objects.create(code="crm", name="Head-office CRM", kind="crm", trust=80)


@pytest.fixture
def trade(crm, lille_till, lyon_till):
    """Lille: one known customer with two tickets, and an anonymous ticket. Lyon: the canary with three tickets."""
    starter.open_programme("Europe/Paris", timezone.localdate() - timedelta(days=1))
    take_in_records(
        crm,
        [
            Statement(
                "L1", {"first_name": "Paul", "last_name": "Dupont", "card": "2991000000017"}, {},
                store_code="ACM-001",
            ),
            Statement(
                "Y1", {"first_name": "Zénobie", "last_name": "Canari", "card": "2991000000024"}, {},
                store_code="ACM-002",
            ),
        ],
    )  # fmt: skip
    now = timezone.now() - timedelta(minutes=5)

    def ticket(number, card=None):
        shown = Shown("card", card) if card else None
        return Ticket(f"R{number}", now, [TicketLine("SKU1", 1234, "Cheese", "DAIRY", Decimal(1))], shown)

    till.record_purchases(lille_till[0], [ticket(1, "2991000000017"), ticket(2, "2991000000017"), ticket(3)])
    till.record_purchases(lyon_till[0], [ticket(n, "2991000000024") for n in (1, 2, 3)])


def figures(response) -> dict[str, int]:
    return {card.url: card.value for card in response.context["home"]["cards"]}


def test_customers_who_bought_last_come_first_and_a_store_goes_by_names(client_of, alice, bruno, crm, trade):
    people = [
        {"first_name": "Anne", "last_name": "Zola", "email": "anne@zola.fr"},
        {"email": "nobody@zola.fr"},
    ]
    take_in_records(
        crm,
        [Statement(f"N{i}", fields, {}, store_code="ACM-001") for i, fields in enumerate(people)],
    )
    listed = client_of(alice).get(reverse("admin:profiles_profile_changelist")).context["cl"].result_list
    assert {str(person) for person in listed[:2]} == {"Paul Dupont", CANARY}
    listed = client_of(bruno).get(reverse("admin:profiles_profile_changelist")).context["cl"].result_list
    assert [str(person) for person in listed] == ["Paul Dupont", "Anne Zola", "nobody@zola.fr"]


@pytest.mark.parametrize(("language", "day"), [("en", "21/11/2026"), ("fr", "21/11/2026")])
def test_the_day_stands_before_the_month_in_both_languages(language, day):
    with override(language):
        assert date_format(date(2026, 11, 21), "SHORT_DATE_FORMAT") == day
        assert time_format(time(17, 5)) == "17:05"


def test_both_sites_have_a_sign(client_of, alice):
    client = client_of(alice)
    assert client.get("/favicon.ico").url.endswith("/cdp/icon.svg")
    assert "cdp/icon.svg" in client.get("/").text


def test_what_a_role_may_not_open_says_so(client_of, bruno):
    response = client_of(bruno).get(reverse("admin:campaigns_export_changelist"))
    assert response.status_code == 403
    assert "Not for your role" in response.text
    response = client_of(bruno).get(reverse("admin:profiles_profile_change", args=["x"]), follow=True)
    assert response.status_code == 200


def test_head_office_sees_the_whole_network(client_of, alice, trade):
    response = client_of(alice).get("/")
    assert response.status_code == 200
    assert [card.value for card in response.context["home"]["cards"]] == [2, 2, 6, 83, 0, 5 * 12, 0]
    assert "Computed at" in response.text


def test_a_manager_sees_the_own_store_alone(client_of, bruno, trade):
    response = client_of(bruno).get("/")
    assert [card.value for card in response.context["home"]["cards"]] == [1, 1, 3, 67]
    assert CANARY not in response.text
    assert "Lyon" not in response.text
    assert 'href="/store/"' in response.text


def test_every_figure_opens_the_list_that_it_counts(client_of, alice, trade):
    client = client_of(alice)
    for card in client.get("/").context["home"]["cards"]:
        listed = client.get(card.url)
        assert listed.status_code == 200, card.url
        if card.unit or "loyalty" in card.url:
            continue  # a rate, and a sum of balances
        assert listed.context["cl"].result_count == card.value, card.url


def test_figures_are_kept_for_a_store_apart_from_the_network(brand, lille, trade):
    assert home._numbers().customers == 2
    with scoped_to(Scope.of([lille.pk])):
        assert home._numbers().customers == 1
    assert home._numbers().customers == 2


def test_an_empty_brand_says_what_to_do(client_of, diane):
    response = client_of(diane).get("/")
    assert "Nothing has come in yet" in response.text
    assert reverse("admin:network_till_changelist") in response.text


def test_the_menu_follows_the_role(client_of, alice, diane, bruno):
    menus = {}
    for staff in (alice, diane, bruno):
        groups = client_of(staff).get("/").context["sidebar_navigation"]
        menus[staff.role] = {str(item["link"]) for group in groups for item in group["items"]}
    assert "/network/staff/" in menus[Role.BRAND_ADMIN]
    assert "/network/staff/" not in menus[Role.MARKETER]
    assert "/loyalty/rule/" not in menus[Role.STORE_MANAGER]
    assert "/store/" in menus[Role.STORE_MANAGER]


def test_nobody_enters_without_signing_in(client_of):
    response = client_of().get("/")
    assert response.status_code == 302
    assert response.url.startswith("/login/")


def test_the_language_chosen_is_remembered(client_of, alice):
    client = client_of(alice)
    client.post(reverse("admin:language"), {"language": "fr", "next": "/"})
    alice.refresh_from_db()
    assert alice.language == "fr"
    assert '<html lang="fr"' in client.get("/").text


def test_a_language_that_the_pages_do_not_speak_is_refused(client_of, alice):
    before = alice.language
    answer = client_of(alice).post(reverse("admin:language"), {"language": "de", "next": "/"})
    assert answer.status_code == 400
    alice.refresh_from_db()
    assert alice.language == before
