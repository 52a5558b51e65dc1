"""Invented people for households of which the source knows only a number.

A household is one person, a couple, or a parent and a grown-up child. Those who live together may share a phone, an
e-mail address or a loyalty card, and a son may carry his father's first name: all of it makes identity hard.
Mail addresses end in `.example` (RFC 2606), so nobody real can be written to.
"""

import unicodedata
from dataclasses import dataclass, replace
from datetime import date, timedelta
from random import Random

from faker import Faker

from cdp.demo.chance import dice
from cdp.demo.geography import TOWNS, Address, StoreData, Town, neighbouring_town, street_line
from cdp.demo.journey import HouseholdFacts

_MAIL_DOMAINS = (
    "courriel.example",
    "boite-postale.example",
    "messagerie.example",
    "fibre.example",
    "maboite.example",
)
_MOBILE_PREFIXES = ("061", "062", "064", "066", "067", "068", "076", "077", "078")
_AGE_BANDS = {"19-24": 50, "25-34": 140, "35-44": 200, "45-54": 280, "55-64": 160, "65+": 170}
_OLDEST = 88
_JOINING_DAYS = 3 * 365


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody as they really are: the truth the customer files only approach.

    `card` may be another household member's. `birth_name` is a married woman's earlier last name. Whoever moved did so
    on `moved_on`, from `former_address`. `joined_on` is the day they first became a customer.
    """

    key: str
    gender: str
    first_name: str
    last_name: str
    birth_name: str | None
    birth_date: date
    email: str | None
    phone: str | None
    card: str | None
    address: Address
    former_address: Address | None
    moved_on: date | None
    store_code: str
    joined_on: date


@dataclass(frozen=True, slots=True)
class Household:
    """One or two persons; `main_share` of the visits are made by the first."""

    source_id: int
    people: tuple[Person, ...]
    main_share: float


class Population:
    """Makes the households of one brand; e-mail addresses, phones and cards are unique unless they are shared."""

    def __init__(self, *, seed: int, slug: str, card_prefix: str, today: date, fake: Faker) -> None:
        self._seed = seed
        self._slug = slug
        self._card_prefix = card_prefix
        self._today = today
        self._fake = fake
        self._taken: set[str] = set()

    def settle(
        self, source_id: int, facts: HouseholdFacts | None, store: StoreData, first_visit_on: date
    ) -> Household:
        """The household `source_id`, customers of `store` since before `first_visit_on`."""
        chance = dice(self._seed, self._slug, "household", source_id)
        kind = self._kind(facts, chance)
        elder = self._somebody(source_id, facts, store, first_visit_on, chance)
        if kind == "single":
            return Household(source_id, (elder,), 1.0)
        other = (
            self._spouse(elder, chance) if kind == "couple" else self._grown_up_child(elder, store, chance)
        )
        if kind == "couple" and elder.gender == "M" and other.last_name == elder.last_name:
            other = replace(other, birth_name=self._fake.last_name())
        return Household(source_id, (elder, other), chance.uniform(0.55, 0.85))

    def _kind(self, facts: HouseholdFacts | None, chance: Random) -> str:
        composition = facts.composition if facts else None
        single, couple, child = {
            "1 Adult No Kids": (100, 0, 0),
            "1 Adult Kids": (60, 0, 40),
            "2 Adults No Kids": (10, 75, 15),
            "2 Adults Kids": (15, 60, 25),
        }.get(composition or "", (60, 28, 12))
        return chance.choices(("single", "couple", "child"), (single, couple, child))[0]

    def _somebody(
        self,
        source_id: int,
        facts: HouseholdFacts | None,
        store: StoreData,
        first_visit_on: date,
        chance: Random,
    ) -> Person:
        gender = "F" if chance.random() < 0.56 else "M"
        first_name, last_name = self._first_name(gender), self._fake.last_name()
        birth_date = self._birth_date(facts, chance)
        town = neighbouring_town(store, chance)
        joined_on = first_visit_on - timedelta(days=chance.randrange(_JOINING_DAYS))
        former_address, moved_on = None, None
        if chance.random() < 0.13:
            former_address = self._address(self._any_town(store, chance))
            moved_on = joined_on + timedelta(days=chance.randrange((self._today - joined_on).days))
        return Person(
            key=f"{self._slug}-{source_id:04d}-a",
            gender=gender,
            first_name=first_name,
            last_name=last_name,
            birth_name=None,
            birth_date=birth_date,
            email=self._email(first_name, last_name, birth_date, chance) if chance.random() < 0.9 else None,
            phone=self._phone(chance) if chance.random() < 0.93 else None,
            card=self._card(chance),
            address=self._address(town),
            former_address=former_address,
            moved_on=moved_on,
            store_code=store.code,
            joined_on=joined_on,
        )

    def _spouse(self, partner: Person, chance: Random) -> Person:
        gender = "M" if partner.gender == "F" else "F"
        first_name = self._first_name(gender)
        last_name = partner.last_name if chance.random() < 0.78 else self._fake.last_name()
        birth_date = partner.birth_date + timedelta(days=chance.randint(-2200, 2200))
        birth_date = min(birth_date, self._today - timedelta(days=19 * 366))
        shared = chance.random()
        return replace(
            partner,
            key=partner.key[:-1] + "b",
            gender=gender,
            first_name=first_name,
            last_name=last_name,
            birth_date=birth_date,
            email=partner.email
            if shared < 0.25
            else self._email(first_name, last_name, birth_date, chance)
            if shared < 0.85
            else None,
            phone=partner.phone if 0.15 < shared < 0.45 else self._phone(chance),
            card=partner.card if chance.random() < 0.4 else self._card(chance),
            joined_on=self._later(partner.joined_on, chance),
        )

    def _grown_up_child(self, parent: Person, store: StoreData, chance: Random) -> Person:
        gender = parent.gender if chance.random() < 0.6 else chance.choice("FM")
        namesake = gender == parent.gender == "M" and chance.random() < 0.3
        first_name = parent.first_name if namesake else self._first_name(gender)
        age = max(18, _years(parent.birth_date, self._today) - chance.randint(22, 36))
        birth_date = self._today - timedelta(days=age * 365 + age // 4 + chance.randrange(365))
        moved_out = chance.random() < 0.25
        return replace(
            parent,
            key=parent.key[:-1] + "b",
            gender=gender,
            first_name=first_name,
            birth_date=birth_date,
            email=parent.email
            if chance.random() < 0.1
            else self._email(first_name, parent.last_name, birth_date, chance),
            phone=parent.phone if chance.random() < 0.15 else self._phone(chance),
            card=self._card(chance),
            address=self._address(neighbouring_town(store, chance)) if moved_out else parent.address,
            former_address=parent.address if moved_out else parent.former_address,
            moved_on=self._later(parent.joined_on, chance) if moved_out else parent.moved_on,
            joined_on=self._later(parent.joined_on, chance),
        )

    def _first_name(self, gender: str) -> str:
        return self._fake.first_name_female() if gender == "F" else self._fake.first_name_male()

    def _birth_date(self, facts: HouseholdFacts | None, chance: Random) -> date:
        band = facts.age_band if facts else None
        if band is None:
            band = chance.choices(tuple(_AGE_BANDS), tuple(_AGE_BANDS.values()))[0]
        youngest, _, oldest = band.removesuffix("+").partition("-")
        age = chance.randint(int(youngest), int(oldest or _OLDEST))
        return self._today - timedelta(days=age * 365 + age // 4 + chance.randrange(365))

    def _address(self, town: Town) -> Address:
        return Address(street_line(self._fake), town.postcode, town.name)

    def _any_town(self, store: StoreData, chance: Random) -> Town:
        if chance.random() < 0.6:
            return neighbouring_town(store, chance)
        return chance.choice(TOWNS[chance.choice(tuple(TOWNS))])

    def _later(self, day: date, chance: Random) -> date:
        return day + timedelta(days=chance.randrange(max(1, min(300, (self._today - day).days))))

    def _email(self, first_name: str, last_name: str, birth_date: date, chance: Random) -> str:
        first, last = plain(first_name), plain(last_name)
        while True:
            user = chance.choice(
                (
                    f"{first}.{last}",
                    f"{first[0]}.{last}",
                    f"{first}{last}{birth_date:%y}",
                    f"{last}.{first}{chance.randint(1, 99)}",
                    f"{first}{chance.randint(100, 9999)}",
                )
            )
            address = f"{user}@{chance.choice(_MAIL_DOMAINS)}"
            if self._claim(address):
                return address

    def _phone(self, chance: Random) -> str:
        while True:
            number = f"{chance.choice(_MOBILE_PREFIXES)}{chance.randrange(10_000_000):07d}"
            if self._claim(number):
                return number

    def _card(self, chance: Random) -> str:
        while True:
            number = f"{self._card_prefix}{chance.randrange(100_000_000):08d}"
            weighted = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(number))
            card = f"{number}{-weighted % 10}"  # the check digit of EAN-13
            if self._claim(card):
                return card

    def _claim(self, value: str) -> bool:
        if value in self._taken:
            return False
        self._taken.add(value)
        return True


def plain(name: str) -> str:
    """A name as it stands in an e-mail address: lower case, letters only, no accents."""
    decomposed = unicodedata.normalize("NFD", name.lower())
    return "".join(letter for letter in decomposed if letter.isalpha() and letter.isascii())


def _years(since: date, today: date) -> int:
    return (today - since).days * 4 // 1461
