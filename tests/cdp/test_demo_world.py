"""The demonstration world: the same for a seed, true to its source, and honest about what it spoilt."""

import csv
from collections import Counter
from datetime import date, timedelta

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from cdp.demo.blemishes import broken_email, day_and_month_swapped, mistyped, short_form, shortened_street
from cdp.demo.chance import dice, fraction
from cdp.demo.journey import MOST_PIECES, parquet_folder, read_journey
from cdp.demo.registers import BAD_EMAIL, IMPOSSIBLE_DATE, LAYOUTS, MALFORMED_SHARE, TOO_FEW_COLUMNS
from cdp.demo.tickets import REFUND_SHARE
from cdp.demo.world import UnknownSize, build_world

TODAY = date(2026, 3, 2)


@pytest.fixture(scope="module")
def world():
    return build_world(size="small", seed=7, today=TODAY)


@pytest.fixture(scope="module")
def acme(world):
    return world.brands[0]


def read(brand, source):
    layout = next(layout for layout in LAYOUTS if layout.source == source)
    with brand.files[source].open(encoding=layout.encoding, newline="") as stream:
        return list(csv.reader(stream, delimiter=layout.delimiter))


def test_one_seed_makes_one_world(world, tmp_path):
    again = build_world(size="small", seed=7, today=TODAY)
    assert [list(brand.tickets()) for brand in again.brands] == [
        list(brand.tickets()) for brand in world.brands
    ]
    assert [list(brand.refunds()) for brand in again.brands] == [
        list(brand.refunds()) for brand in world.brands
    ]
    assert [brand.people for brand in again.brands] == [brand.people for brand in world.brands]
    first, second = world.write_files(tmp_path / "first"), again.write_files(tmp_path / "second")
    for slug, files in first.items():
        for source, path in files.items():
            assert path.read_bytes() == second[slug][source].read_bytes()


def test_another_seed_makes_other_people(world):
    other = build_world(size="small", seed=8, today=TODAY)
    assert other.brands[0].people != world.brands[0].people


def test_an_unknown_size_is_refused():
    with pytest.raises(UnknownSize, match="huge"):
        build_world(size="huge", today=TODAY)


def test_the_last_ticket_is_yesterday_and_time_runs_forward(world):
    moments = {brand.slug: [ticket.bought_at for ticket in brand.tickets()] for brand in world.brands}
    assert max(times[-1].date() for times in moments.values()) == TODAY - timedelta(days=1)
    for times in moments.values():
        assert times == sorted(times)
        assert all(moment.utcoffset() is not None for moment in times)


def test_the_small_world_has_the_promised_size(world):
    assert [brand.slug for brand in world.brands] == ["acme", "belle"]
    assert sum(len(brand.stores) for brand in world.brands) == 4
    assert sum(len(brand.households) for brand in world.brands) == 30
    assert 300 <= sum(len(brand.book) for brand in world.brands) <= 1500
    for brand in world.brands:
        assert len(list(brand.tickets())) == len(brand.book)
        assert sum(len(ticket.lines) for ticket in brand.tickets()) == brand.book.line_count


def test_the_brands_share_no_household_store_or_ticket(world):
    acme, belle = world.brands
    for part in (
        lambda brand: {household.source_id for household in brand.households},
        lambda brand: {store.source_id for store in brand.stores},
        lambda brand: {ticket.receipt_id for ticket in brand.tickets()},
    ):
        assert not part(acme) & part(belle)


def test_stores_stand_in_the_north_and_overseas(acme):
    assert acme.stores[0].code == "ACM-001"
    assert "Nord" in {store.region for store in acme.stores}
    assert [store.timezone for store in acme.stores].count("Indian/Reunion") == 1
    overseas = acme.stores[-1].code
    offsets = {ticket.bought_at.utcoffset() for ticket in acme.tickets() if ticket.store_code == overseas}
    assert offsets == {timedelta(hours=4)}


def test_every_cent_is_the_source_s(world):
    source = pq.read_table(parquet_folder() / "transactions.parquet")
    source = source.append_column("cents", pc.round(pc.multiply(source["sales_value"], 100.0)))
    sums = source.group_by("basket_id").aggregate([("cents", "sum")])
    paid = dict(zip(sums["basket_id"].to_pylist(), sums["cents_sum"].to_pylist(), strict=True))
    for brand in world.brands:
        for ticket in brand.tickets():
            assert ticket.amount_cents == paid[int(ticket.receipt_id)]
        assert brand.book.amount_cents == sum(ticket.amount_cents for ticket in brand.tickets())


def test_quantities_are_pieces_and_annotations_are_gone():
    journey = read_journey()
    assert len(journey.visits) == 155_520
    assert journey.lines.num_rows == 1_460_487
    assert pc.min_max(journey.lines["quantity"]).as_py() == {"min": 1, "max": MOST_PIECES}
    assert pc.sum(journey.lines["amount_cents"]).as_py() == 459_603_958
    assert pc.min(journey.lines["discount_cents"]).as_py() == 0


def test_milk_is_dairy(acme):
    category_of = {product.label: product.category for product in acme.products}
    assert {category for label, category in category_of.items() if label.startswith("FLUID MILK")} == {
        "DAIRY"
    }
    assert all(product.category == product.category.upper() for product in acme.products)
    assert any(line.category == "DAIRY" for ticket in acme.tickets() for line in ticket.lines)


def test_customers_mostly_show_their_own_card(acme):
    people = {person.key: person for person in acme.people}
    shown = Counter()
    for ticket in acme.tickets():
        buyer = people[ticket.buyer_key]
        shown[ticket.identifier and ticket.identifier.kind] += 1
        if ticket.identifier:
            kind, value = ticket.identifier
            assert getattr(buyer, kind) == value
    total = shown.total()
    assert shown["card"] > 0.7 * total
    assert 0.04 * total < shown[None] < 0.13 * total
    assert 0.05 * total < shown["phone"] + shown["email"] < 0.16 * total


def test_tickets_name_existing_stores_and_tills(world):
    for brand in world.brands:
        tills = {store.code: store.tills for store in brand.stores}
        assert all(ticket.till_code in tills[ticket.store_code] for ticket in brand.tickets())


def test_refunds_bring_back_lines_of_earlier_tickets(acme):
    tickets = {ticket.receipt_id: ticket for ticket in acme.tickets()}
    refunds = list(acme.refunds())
    assert len(refunds) == max(1, round(len(acme.book) * REFUND_SHARE))
    for refund in refunds:
        ticket = tickets[refund.receipt_id]
        assert refund.store_code == ticket.store_code
        assert ticket.bought_at < refund.refunded_at
        assert refund.refunded_at.date() < TODAY
        assert set(refund.lines) <= set(ticket.lines)
        assert 0 < refund.amount_cents <= ticket.amount_cents


def test_faulty_tickets_are_what_they_say(acme):
    tickets = {ticket.receipt_id: ticket for ticket in acme.tickets()}
    codes = {store.code for store in acme.stores}
    reasons = Counter()
    for ticket, reason in ((faulty.ticket, faulty.reason) for faulty in acme.faulty_tickets()):
        reasons[reason] += 1
        known = tickets.get(ticket.receipt_id)
        assert (known == ticket) == (reason == "duplicate")
        assert (known is None) == (reason in {"unknown_store", "future_date"})
        assert (ticket.store_code not in codes) == (reason == "unknown_store")
        assert (ticket.bought_at.date() > TODAY) == (reason == "future_date")
    assert reasons == {"duplicate": 5, "conflict": 2, "unknown_store": 2, "future_date": 2}


def test_files_parse_and_the_truth_covers_every_complete_row(world, tmp_path):
    world.write_files(tmp_path)
    for brand in world.brands:
        people = {person.key for person in brand.people}
        assert set(brand.files) == {"till", "ecommerce", "crm", "contest"}
        for source in brand.files:
            header, *rows = read(brand, source)
            complete = [row[0] for row in rows if len(row) == len(header)]
            assert len({row[0] for row in rows}) == len(rows)
            assert {(source, row_id) for row_id in complete} == {
                key for key in brand.truth if key[0] == source
            }
        assert set(brand.truth.values()) <= people


def test_malformed_rows_are_where_the_list_says(world, tmp_path):
    world.write_files(tmp_path)
    for brand in world.brands:
        for spoilt in brand.malformed:
            header, *_ = rows = read(brand, spoilt.source)
            row = rows[spoilt.line - 1]
            assert row[0] == spoilt.external_id
            text = "\t".join(row)
            if spoilt.reason == TOO_FEW_COLUMNS:
                assert len(row) < len(header)
            elif spoilt.reason == IMPOSSIBLE_DATE:
                assert "31/02/1984" in text or "1984-02-31" in text
            else:
                assert spoilt.reason == BAD_EMAIL
                emails = [
                    cell
                    for name, cell in zip(header, row, strict=True)
                    if "mail" in name or "courriel" in name
                ]
                assert not any(cell.count("@") == 1 and not cell.endswith("@") for cell in emails)


def test_each_person_has_between_two_and_three_records_and_few_rows_are_spoilt(acme):
    rows = sum(len(register.rows) - 1 for register in acme.registers.values())
    assert 2 <= rows / len(acme.people) <= 3.2
    assert set(acme.truth.values()) <= {person.key for person in acme.people}
    assert len(acme.malformed) <= max(len(LAYOUTS), 2 * MALFORMED_SHARE * rows)


def test_nobody_real_can_be_written_to(world):
    for brand in world.brands:
        assert all(person.email.endswith(".example") for person in brand.people if person.email)


def test_cards_carry_their_check_digit(acme):
    for person in acme.people:
        digits = [int(digit) for digit in person.card]
        assert len(digits) == 13
        assert sum(digits[::2]) % 10 == -3 * sum(digits[1::2]) % 10


def test_past_campaigns_reach_the_brand_s_own_people(acme):
    people = {person.key for person in acme.people}
    assert len(acme.campaigns) == 27
    for campaign in acme.campaigns:
        assert campaign.starts_on <= campaign.ends_on
        assert set(campaign.targeted) <= people
        assert {redemption.person_key for redemption in campaign.redemptions} <= people
        assert all(redemption.redeemed_on < TODAY for redemption in campaign.redemptions)


def test_draws_depend_on_their_purpose_only():
    assert dice(1, "a").random() == dice(1, "a").random() != dice(1, "b").random()
    assert fraction(1, 2) == fraction(1, 2) != fraction(2, 1)
    draws = [fraction(3, number) for number in range(2000)]
    assert all(0 <= draw < 1 for draw in draws)
    assert 0.47 < sum(draws) / len(draws) < 0.53


@pytest.mark.parametrize(
    ("name", "short"),
    [("Stéphanie", "Stéph"), ("Dominique", "Dom"), ("Anne-Lise", "AL"), ("Luc", "Luc"), ("Éric", "Éric")],
)
def test_short_forms(name, short):
    assert short_form(name) == short


def test_blemishes_change_what_they_touch():
    assert day_and_month_swapped(date(1980, 5, 12)) == date(1980, 12, 5)
    assert day_and_month_swapped(date(1980, 5, 13)) == date(1980, 5, 13)
    assert shortened_street("12, avenue Foch") == "12 av. Foch"
    assert mistyped("Luc", dice(0)) == "Luc"
    assert all(len(mistyped("Lefort", dice(number))) in {5, 6, 7} for number in range(50))
    assert "@" not in broken_email("a@b.example", dice(1)).strip("@").replace("@@", "")
