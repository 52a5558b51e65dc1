"""The whole demonstration world: two brands, their stores, people, customer files, tickets and past campaigns.

    world = build_world(size="default", seed=2017, today=date.today())
    world.write_files(folder)
    for brand in world.brands:
        for ticket in brand.tickets(): ...

Tickets are real (see `cdp.demo.journey`), moved in time so that the last one is yesterday, and in place so that each
shop is a French town. People are invented. Everything follows from the size, the seed and the day.

The second brand has every tenth store by rank; a household belongs to the brand where it shops more. Its few visits to
the other brand's stores are told as visits to its home store, so that the brands share nobody and no ticket is lost;
a store that only the other brand's households visit goes over to that brand.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from faker import Faker

from cdp.demo.chance import dice, fraction
from cdp.demo.geography import StoreData, open_stores
from cdp.demo.journey import Journey, Product, Visit, read_journey
from cdp.demo.people import Household, Person, Population
from cdp.demo.registers import MalformedRow, Register, keep_registers
from cdp.demo.tickets import FaultyTicket, Purchase, Refund, Ticket, TicketBook


class UnknownSize(ValueError):
    """There is no world of this size: see `SIZES`."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much of the source is kept: its busiest stores, and households that shop mainly there. None keeps all."""

    stores: int | None
    households: int | None
    visits_at_most: int | None  # of one household in the year


SIZES = {
    "small": Size(stores=4, households=30, visits_at_most=60),
    "default": Size(stores=40, households=600, visits_at_most=150),
    "full": Size(stores=None, households=None, visits_at_most=None),
}


class BrandSeat(NamedTuple):
    """What is fixed about a brand before the world is drawn."""

    slug: str
    name: str
    prefix: str  # of its store codes
    card_prefix: str
    first_town: int
    overseas: bool


SEATS = (
    BrandSeat("acme", "Marché Vaubrune", "ACM", "2910", first_town=0, overseas=True),
    BrandSeat("belle", "Belle Aubraie", "BEL", "2920", first_town=40, overseas=False),
)
# Households that buy food every week never lapse, and marketers live by those who do: a share of the households has
# its whole year moved a few weeks further back, so that they were last seen then.
LAPSED_SHARE = 0.4
LAPSED_WEEKS = (5, 7)
_LAPSED, _WEEKS = 101, 102  # the numbers of these draws

_EVERY = 10  # the second brand has every tenth store, and a tenth of the households


@dataclass(frozen=True, slots=True)
class Redemption:
    """A coupon used by a household's main buyer."""

    person_key: str
    coupon_code: str
    redeemed_on: date


@dataclass(frozen=True, slots=True)
class PastCampaign:
    """A campaign of the past year: whom it targeted (keys of main buyers) and which coupons they redeemed."""

    code: str
    kind: str
    starts_on: date
    ends_on: date
    targeted: tuple[str, ...]
    redemptions: tuple[Redemption, ...]


@dataclass
class BrandData:
    """Everything about one brand. `files` is empty until `World.write_files` has run."""

    slug: str
    name: str
    stores: list[StoreData]
    households: list[Household]
    registers: dict[str, Register]
    campaigns: list[PastCampaign]
    book: TicketBook
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def people(self) -> list[Person]:
        """Everybody, household after household."""
        return [person for household in self.households for person in household.people]

    @property
    def products(self) -> list[Product]:
        """The articles on the tickets, by the source's product number."""
        return self.book.products

    @property
    def truth(self) -> dict[tuple[str, str], str]:
        """(source code, external id) -> key of the person the row is about, for every complete row."""
        return {
            (source, external_id): key
            for source, register in self.registers.items()
            for external_id, key in register.truth.items()
        }

    @property
    def malformed(self) -> list[MalformedRow]:
        """The rows that were spoilt on purpose, file after file."""
        return [row for register in self.registers.values() for row in register.malformed]

    def tickets(self) -> Iterator[Ticket]:
        """All tickets, in the order of time."""
        return self.book.tickets()

    def refunds(self) -> Iterator[Refund]:
        """All refunds, in the order of time."""
        return self.book.refunds()

    def faulty_tickets(self) -> list[FaultyTicket]:
        """Tickets that must not count, with the reason; to be sent after all others."""
        return self.book.faulty_tickets()


@dataclass
class World:
    """The brands, the bigger first, and the day the world was drawn for."""

    brands: list[BrandData]
    today: date

    def write_files(self, folder: Path) -> dict[str, dict[str, Path]]:
        """Write the customer files to `folder/<brand>/`; returns their paths by brand and source code."""
        for brand in self.brands:
            own = folder / brand.slug
            own.mkdir(parents=True, exist_ok=True)
            brand.files = {source: register.write(own) for source, register in brand.registers.items()}
        return {brand.slug: brand.files for brand in self.brands}


def build_world(*, size: str = "default", seed: int = 2017, today: date) -> World:
    """Draw the world of this size ("small", "default" or "full") whose last ticket was yesterday, seen from `today`.

    Raises `UnknownSize`, and `DemoDataMissing` when the data package is not installed.
    """
    if size not in SIZES:
        raise UnknownSize(f"{size!r} is none of {', '.join(SIZES)}")
    journey = read_journey()
    chosen = _choose(journey.visits, SIZES[size], seed)
    last_day = max(visit.wall_time for share in chosen for visit in share.visits).date()
    shift = today - timedelta(days=1) - last_day
    brands = [
        _build_brand(seat, share, journey, shift=shift, seed=seed, today=today)
        for seat, share in zip(SEATS, chosen, strict=True)
    ]
    return World(brands=brands, today=today)


class _Share(NamedTuple):
    """One brand's part of the source: its store numbers, the busiest first, and its households' visits."""

    store_ids: list[int]
    visits: list[Visit]


def _choose(visits: list[Visit], size: Size, seed: int) -> list[_Share]:
    busiest = Counter(visit.store_id for visit in visits).most_common(size.stores)
    store_ids = [store_id for store_id, _ in sorted(busiest, key=lambda item: (-item[1], item[0]))]
    second = store_ids[_EVERY // 2 :: _EVERY] or store_ids[-1:]
    brand_of_store = {store_id: int(store_id in set(second)) for store_id in store_ids}

    everywhere = Counter(visit.household_id for visit in visits)
    here = [visit for visit in visits if visit.store_id in brand_of_store]
    by_brand: Counter[tuple[int, int]] = Counter(
        (visit.household_id, brand_of_store[visit.store_id]) for visit in here
    )
    pools: tuple[list[int], list[int]] = ([], [])
    for household_id in sorted(everywhere):
        first, other = by_brand[household_id, 0], by_brand[household_id, 1]
        mainly_here = 2 * (first + other) >= everywhere[household_id]
        if mainly_here and (size.visits_at_most is None or everywhere[household_id] <= size.visits_at_most):
            pools[other > first].append(household_id)

    brand_of_household: dict[int, int] = {}
    for brand, pool in enumerate(pools):
        dice(seed, "households", brand).shuffle(pool)
        brand_of_household.update(dict.fromkeys(pool[: _quota(size.households, brand)], brand))
    shares = (_Share([], []), _Share([], []))
    visitors: dict[int, set[int]] = {store_id: set() for store_id in store_ids}
    for visit in here:
        if visit.household_id in brand_of_household:
            brand = brand_of_household[visit.household_id]
            shares[brand].visits.append(visit)
            visitors[visit.store_id].add(brand)
    for store_id in store_ids:
        own = brand_of_store[store_id]
        shares[1 - own if visitors[store_id] == {1 - own} else own].store_ids.append(store_id)
    return list(shares)


def _quota(households: int | None, brand: int) -> int | None:
    if households is None:
        return None
    second = round(households / _EVERY)
    return second if brand else households - second


def _build_brand(
    seat: BrandSeat, share: _Share, journey: Journey, *, shift: timedelta, seed: int, today: date
) -> BrandData:
    fake = Faker("fr_FR")
    fake.seed_instance(f"{seed}/{seat.slug}")
    stores = open_stores(
        share.store_ids,
        prefix=seat.prefix,
        brand=seat.name,
        skip=seat.first_town,
        overseas=seat.overseas,
        fake=fake,
        chance=dice(seed, seat.slug, "stores"),
    )
    store_of = {store.source_id: store for store in stores}

    visits_of: dict[int, list[Visit]] = {}
    for visit in share.visits:
        visits_of.setdefault(visit.household_id, []).append(visit)
    population = Population(seed=seed, slug=seat.slug, card_prefix=seat.card_prefix, today=today, fake=fake)
    households, purchases = [], []
    for household_id, visits in sorted(visits_of.items()):
        home = _home_store(visits, store_of)
        last_visit_on = max(visit.wall_time for visit in visits).date() + shift
        # Whoever came yesterday stays, so that the year ends where it was told to.
        seen_yesterday = last_visit_on == today - timedelta(days=1)
        moved = shift if seen_yesterday else shift - _absence(seed, household_id)
        first_visit_on = min(visit.wall_time for visit in visits).date() + moved
        household = population.settle(
            household_id, journey.households.get(household_id), home, first_visit_on
        )
        households.append(household)
        for visit in visits:
            store = store_of.get(visit.store_id, home)
            at = (visit.wall_time + moved).replace(tzinfo=ZoneInfo(store.timezone))
            purchases.append(Purchase(at.timestamp(), visit.basket_id, store, household))
    people = [person for household in households for person in household.people]
    return BrandData(
        slug=seat.slug,
        name=seat.name,
        stores=stores,
        households=households,
        registers=keep_registers(people, brand=seat.name, seed=seed, slug=seat.slug, today=today),
        campaigns=_past_campaigns(journey, households, shift=shift, today=today),
        book=TicketBook(journey, purchases, seed=seed, today=today),
    )


def _absence(seed: int, household_id: int) -> timedelta:
    """How long ago the household was last seen, beyond what the real data say: whole weeks, mostly none."""
    if fraction(seed, _LAPSED, household_id) >= LAPSED_SHARE:
        return timedelta(0)
    fewest, most = LAPSED_WEEKS
    return timedelta(weeks=fewest + int(fraction(seed, _WEEKS, household_id) * (most - fewest)))


def _home_store(visits: list[Visit], store_of: dict[int, StoreData]) -> StoreData:
    counts = Counter(visit.store_id for visit in visits if visit.store_id in store_of)
    return store_of[min(counts, key=lambda store_id: (-counts[store_id], store_id))]


def _past_campaigns(
    journey: Journey, households: list[Household], *, shift: timedelta, today: date
) -> list[PastCampaign]:
    main_buyer = {household.source_id: household.people[0].key for household in households}
    yesterday = today - timedelta(days=1)
    return [
        PastCampaign(
            code=f"C{facts.campaign_id:02d}",
            kind=facts.kind,
            starts_on=facts.starts_on + shift,
            ends_on=facts.ends_on + shift,
            targeted=tuple(main_buyer[number] for number in facts.household_ids if number in main_buyer),
            redemptions=tuple(
                Redemption(main_buyer[number], coupon_code, min(day + shift, yesterday))
                for number, coupon_code, day in facts.redemptions
                if number in main_buyer
            ),
        )
        for facts in journey.campaigns
    ]
