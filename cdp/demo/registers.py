"""The four customer files of a brand, which disagree about the same people as real ones do.

| source      | delimiter | charset        | knows                                                                 |
|-------------|-----------|----------------|-----------------------------------------------------------------------|
| `till`      | `;`       | cp1252         | card, names in capitals, phone, postcode, SMS consent                  |
| `ecommerce` | `,`       | UTF-8          | e-mail, names, address, birth date, sometimes the card, e-mail consent |
| `crm`       | `;`       | UTF-8 with BOM | everything, as it was when the person joined                           |
| `contest`   | tab       | UTF-8          | names, e-mail, town, birth date, e-mail consent                        |

Each row has the source's own stable id in its first column. About 1.5 % of the rows are malformed on purpose; they
are listed apart, with the reason. Which row is about whom is the `truth`, kept beside the files and never in them.
"""

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from pathlib import Path
from random import Random

from cdp.demo.blemishes import (
    broken_email,
    day_and_month_swapped,
    mistyped,
    short_form,
    shortened_street,
    without_accents,
)
from cdp.demo.chance import dice
from cdp.demo.geography import Address
from cdp.demo.people import Person

MALFORMED_SHARE = 0.015
TOO_FEW_COLUMNS = "too_few_columns"
BAD_EMAIL = "bad_email"
IMPOSSIBLE_DATE = "impossible_date"

_PLACEHOLDER_PHONE = "0600000000"
_PLACEHOLDER_EMAIL = "test@test.com"
_PLACEHOLDER_BIRTH_DATE = date(1900, 1, 1)
_IMPOSSIBLE_DAY = ("31/02/1984", "1984-02-31")


@dataclass(frozen=True, slots=True)
class MalformedRow:
    """A row spoilt on purpose: its line in the file (the header is line 1), its id, and what is wrong with it."""

    source: str
    line: int
    external_id: str
    reason: str


@dataclass
class Entry:
    """What one source wrote down about one person; None is what it does not know."""

    external_id: str
    person_key: str
    created_on: date
    gender: str
    first_name: str
    last_name: str
    birth_date: date | None
    email: str | None
    phone: str | None
    card: str | None
    address: Address | None
    store_code: str
    email_allowed: bool | None = None
    sms_allowed: bool | None = None
    wording: str = ""
    birth_date_text: str | None = None  # written instead of the birth date, where that is impossible
    created_text: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """How a source writes its file, who is in it, and how carelessly it was filled in.

    `coverage` is the share of people the source knows, `repeats` the share of those it knows twice, `care` the
    probability that a row has none of the blemishes of hand-written data.
    """

    source: str
    filename: str
    delimiter: str
    encoding: str
    line_end: str
    coverage: float
    repeats: float
    care: float
    columns: tuple[tuple[str, Callable[[Entry], str]], ...]
    faults: tuple[str, ...]


@dataclass
class Register:
    """One customer file of a brand, header first; `truth` maps the id of each complete row to a person's key."""

    layout: Layout
    rows: list[list[str]]
    truth: dict[str, str]
    malformed: list[MalformedRow] = field(default_factory=list)

    def write(self, folder: Path) -> Path:
        """Write the file into `folder` and return its path."""
        path = folder / self.layout.filename
        with path.open("w", encoding=self.layout.encoding, newline="") as stream:
            csv.writer(
                stream, delimiter=self.layout.delimiter, lineterminator=self.layout.line_end
            ).writerows(self.rows)
        return path


def _french_day(day: date | None) -> str:
    return f"{day:%d/%m/%Y}" if day else ""


def _iso_day(day: date | None) -> str:
    return day.isoformat() if day else ""


def _iso_moment(day: date, external_id: str) -> str:
    minutes = sum(map(ord, external_id)) * 37 % (14 * 60)
    return f"{datetime.combine(day, time(8)) + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%S}"


def _written(answer: bool | None, yes: str, no: str) -> str:
    return "" if answer is None else yes if answer else no


def _spaced(phone: str | None) -> str:
    return " ".join(phone[place : place + 2] for place in range(0, 10, 2)) if phone else ""


def _international(phone: str | None) -> str:
    return f"+33{phone[1:]}" if phone else ""


def _capitals(text: str | None) -> str:
    return (text or "").upper()


_TILL = Layout(
    source="till",
    filename="clients_caisse.csv",
    delimiter=";",
    encoding="cp1252",
    line_end="\r\n",
    coverage=0.9,
    repeats=0.1,
    care=0.82,
    columns=(
        ("NO_CLIENT", lambda entry: entry.external_id),
        ("NO_CARTE", lambda entry: entry.card or ""),
        ("NOM", lambda entry: _capitals(entry.last_name)),
        ("PRENOM", lambda entry: _capitals(entry.first_name)),
        ("TEL", lambda entry: entry.phone or ""),
        ("CP", lambda entry: entry.address.postcode if entry.address else ""),
        ("MAGASIN", lambda entry: entry.store_code),
        ("DATE_CREATION", lambda entry: entry.created_text or _french_day(entry.created_on)),
        ("OPTIN_SMS", lambda entry: _written(entry.sms_allowed, "O", "N")),
        ("DATE_OPTIN_SMS", lambda entry: _french_day(entry.created_on) if entry.wording else ""),
        ("TEXTE_OPTIN", lambda entry: entry.wording),
    ),
    faults=(TOO_FEW_COLUMNS, IMPOSSIBLE_DATE),
)
_ECOMMERCE = Layout(
    source="ecommerce",
    filename="web_customers.csv",
    delimiter=",",
    encoding="utf-8",
    line_end="\n",
    coverage=0.55,
    repeats=0.04,
    care=0.93,
    columns=(
        ("customer_id", lambda entry: entry.external_id),
        ("email", lambda entry: entry.email or ""),
        ("first_name", lambda entry: entry.first_name),
        ("last_name", lambda entry: entry.last_name),
        (
            "birthdate",
            lambda entry: entry.birth_date_text or _iso_day(entry.birth_date),
        ),
        ("phone", lambda entry: _international(entry.phone)),
        ("address", lambda entry: entry.address.street if entry.address else ""),
        ("zipcode", lambda entry: entry.address.postcode if entry.address else ""),
        ("city", lambda entry: entry.address.town if entry.address else ""),
        ("country", lambda entry: "FR"),
        ("loyalty_card", lambda entry: entry.card or ""),
        ("newsletter", lambda entry: _written(entry.email_allowed, "true", "false")),
        ("newsletter_at", lambda entry: _iso_moment(entry.created_on, entry.external_id)),
        ("newsletter_text", lambda entry: entry.wording),
        ("created_at", lambda entry: _iso_moment(entry.created_on, entry.external_id)),
    ),
    faults=(BAD_EMAIL, TOO_FEW_COLUMNS, IMPOSSIBLE_DATE),
)
_CRM = Layout(
    source="crm",
    filename="export_crm.csv",
    delimiter=";",
    encoding="utf-8-sig",
    line_end="\r\n",
    coverage=0.72,
    repeats=0.03,
    care=0.88,
    columns=(
        ("Identifiant", lambda entry: entry.external_id),
        ("Civilité", lambda entry: "Mme" if entry.gender == "F" else "M."),
        ("Nom", lambda entry: entry.last_name),
        ("Prénom", lambda entry: entry.first_name),
        ("Date de naissance", lambda entry: entry.birth_date_text or _french_day(entry.birth_date)),
        ("E-mail", lambda entry: entry.email or ""),
        ("Téléphone mobile", lambda entry: _spaced(entry.phone)),
        ("Adresse", lambda entry: entry.address.street if entry.address else ""),
        ("Code postal", lambda entry: entry.address.postcode if entry.address else ""),
        ("Ville", lambda entry: entry.address.town if entry.address else ""),
        ("N° carte de fidélité", lambda entry: entry.card or ""),
        ("Magasin d'inscription", lambda entry: entry.store_code),
        ("Date d'inscription", lambda entry: _french_day(entry.created_on)),
        ("Accord e-mail", lambda entry: _written(entry.email_allowed, "Oui", "Non")),
        ("Accord SMS", lambda entry: _written(entry.sms_allowed, "Oui", "Non")),
        ("Date de l'accord", lambda entry: _french_day(entry.created_on)),
        ("Texte de l'accord", lambda entry: entry.wording),
    ),
    faults=(IMPOSSIBLE_DATE, BAD_EMAIL, TOO_FEW_COLUMNS),
)
_CONTEST = Layout(
    source="contest",
    filename="jeu_concours.tsv",
    delimiter="\t",
    encoding="utf-8",
    line_end="\n",
    coverage=0.38,
    repeats=0.2,
    care=0.78,
    columns=(
        ("id_participation", lambda entry: entry.external_id),
        ("prenom", lambda entry: entry.first_name),
        ("nom", lambda entry: entry.last_name),
        ("courriel", lambda entry: entry.email or ""),
        ("date_naissance", lambda entry: entry.birth_date_text or _french_day(entry.birth_date)),
        ("ville", lambda entry: entry.address.town if entry.address else ""),
        ("code_magasin", lambda entry: entry.store_code),
        ("accord_courriel", lambda entry: _written(entry.email_allowed, "oui", "non")),
        ("texte_accord", lambda entry: entry.wording),
        ("date_participation", lambda entry: _french_day(entry.created_on)),
    ),
    faults=(BAD_EMAIL, TOO_FEW_COLUMNS, IMPOSSIBLE_DATE),
)
LAYOUTS = (_TILL, _ECOMMERCE, _CRM, _CONTEST)

_WORDINGS = {
    "till": ("J'accepte de recevoir les offres de mon magasin par SMS.",),
    "ecommerce": ("Je souhaite recevoir la lettre d'information de {brand} par e-mail.",),
    "crm": (
        "J'accepte que {brand} et ses magasins m'écrivent par e-mail et par SMS.",
        "J'accepte de recevoir des offres commerciales.",
    ),
    "contest": ("Oui, je veux recevoir les bons plans de {brand} par e-mail.",),
}


def keep_registers(
    people: Iterable[Person], *, brand: str, seed: int, slug: str, today: date
) -> dict[str, Register]:
    """The four customer files of a brand, by source code; everybody stands in one of them at least."""
    entries: dict[str, list[Entry]] = {layout.source: [] for layout in LAYOUTS}
    for person in people:
        chance = dice(seed, slug, "registers", person.key)
        known = [layout for layout in LAYOUTS if chance.random() < _coverage(layout, person)]
        for layout in known or [_TILL]:
            for _ in range(2 if chance.random() < layout.repeats else 1):
                entry = _entry(person, layout, brand, today, chance)
                _spoil(entry, person, layout, chance)
                entries[layout.source].append(entry)
    return {
        layout.source: _register(layout, entries[layout.source], dice(seed, slug, "faults", layout.source))
        for layout in LAYOUTS
    }


def _coverage(layout: Layout, person: Person) -> float:
    if layout.source in {"ecommerce", "contest"} and person.email is None:
        return 0.0
    return layout.coverage


def _entry(person: Person, layout: Layout, brand: str, today: date, chance: Random) -> Entry:
    source = layout.source
    yesterday = today - timedelta(days=1)
    oldest = (
        person.joined_on if source in {"till", "crm"} else max(person.joined_on, today - timedelta(days=500))
    )
    # Tills and the CRM register people when they join, the shop and the contest whenever they come by.
    span = 30 if source in {"till", "crm"} else 500
    newest = min(oldest + timedelta(days=span), yesterday)
    created_on = oldest + timedelta(days=chance.randint(0, max(0, (newest - oldest).days)))
    wording = chance.choice(_WORDINGS[source]).format(brand=brand)
    asked = chance.random() < (0.7 if source == "till" else 0.95)
    return Entry(
        external_id="",
        person_key=person.key,
        created_on=created_on,
        gender=person.gender,
        first_name=person.first_name,
        last_name=person.birth_name or person.last_name if source == "crm" else person.last_name,
        birth_date=person.birth_date if chance.random() < (0.85 if source == "crm" else 0.6) else None,
        email=person.email,
        phone=person.phone if chance.random() < (0.6 if source == "ecommerce" else 0.85) else None,
        card=person.card if source != "ecommerce" or chance.random() < 0.4 else None,
        address=_address(person, created_on),
        store_code=person.store_code,
        email_allowed=chance.random() < 0.58 if asked and source != "till" else None,
        sms_allowed=chance.random() < 0.45 if asked and source in {"till", "crm"} else None,
        wording=wording if asked else "",
    )


def _address(person: Person, created_on: date) -> Address:
    if person.former_address and person.moved_on and created_on < person.moved_on:
        return person.former_address
    return person.address


def _spoil(entry: Entry, person: Person, layout: Layout, chance: Random) -> None:
    if layout.source == "till" and chance.random() < 0.5:
        entry.first_name = without_accents(entry.first_name)
        entry.last_name = without_accents(entry.last_name)
    if entry.address and layout.source == "crm" and chance.random() < 0.4:
        entry.address = entry.address._replace(street=shortened_street(entry.address.street))
    _leave_out(entry, layout, chance)
    if chance.random() < layout.care:
        return
    for blemish in chance.sample(_BLEMISHES, chance.choice((1, 1, 2))):
        blemish(entry, chance)
    if layout.source == "till" and person.birth_name and chance.random() < 0.2:
        entry.last_name = person.birth_name


def _leave_out(entry: Entry, layout: Layout, chance: Random) -> None:
    if layout.source == "till":
        if chance.random() < 0.12:
            entry.card = None
        if chance.random() < 0.04 and entry.card:
            entry.first_name = ""
        if chance.random() < 0.3:
            entry.address = None
    elif layout.source == "crm":
        if chance.random() < 0.15:
            entry.email = None
        if chance.random() < 0.2:
            entry.card = None
        if chance.random() < 0.06:
            entry.address = None


def _typing_error_in_name(entry: Entry, chance: Random) -> None:
    if chance.random() < 0.6:
        entry.last_name = mistyped(entry.last_name, chance)
    else:
        entry.first_name = mistyped(entry.first_name, chance)


def _typing_error_in_contact(entry: Entry, chance: Random) -> None:
    if entry.email and chance.random() < 0.5:
        user, _, domain = entry.email.partition("@")
        entry.email = f"{mistyped(user, chance)}@{domain}"
    elif entry.phone:
        entry.phone = entry.phone[:6] + mistyped(entry.phone[6:], chance)
        entry.phone = entry.phone[:10].ljust(10, "0")


def _typing_error_in_card(entry: Entry, chance: Random) -> None:
    if entry.card:
        place = chance.randrange(4, 12)
        entry.card = f"{entry.card[:place]}{chance.randrange(10)}{entry.card[place + 1 :]}"


def _short_first_name(entry: Entry, chance: Random) -> None:
    entry.first_name = short_form(entry.first_name) if chance.random() < 0.8 else entry.first_name[:1]


def _names_swapped(entry: Entry, chance: Random) -> None:
    if chance.random() < 0.5 and entry.first_name:
        entry.first_name, entry.last_name = entry.last_name, entry.first_name


def _birth_date_misread(entry: Entry, chance: Random) -> None:
    if entry.birth_date:
        entry.birth_date = (
            day_and_month_swapped(entry.birth_date)
            if chance.random() < 0.7
            else entry.birth_date + timedelta(days=chance.choice((-10, -1, 1, 10)))
        )


def _placeholder(entry: Entry, chance: Random) -> None:
    kind = chance.randrange(3)
    if kind == 0:
        entry.phone = _PLACEHOLDER_PHONE
    elif kind == 1 and entry.email:
        entry.email = _PLACEHOLDER_EMAIL
    elif entry.birth_date:
        entry.birth_date = _PLACEHOLDER_BIRTH_DATE


def _contact_missing(entry: Entry, chance: Random) -> None:
    if chance.random() < 0.5:
        entry.phone = None
    else:
        entry.birth_date = None


_BLEMISHES = (
    _typing_error_in_name,
    _typing_error_in_contact,
    _typing_error_in_card,
    _short_first_name,
    _names_swapped,
    _birth_date_misread,
    _placeholder,
    _contact_missing,
)


def _register(layout: Layout, entries: list[Entry], chance: Random) -> Register:
    entries.sort(key=lambda entry: (entry.created_on, entry.person_key))
    for number, entry in enumerate(entries, start=1):
        entry.external_id = _external_id(layout.source, number, entry)
    some = max(1, round(len(entries) * MALFORMED_SHARE))
    spoilt = chance.sample(range(len(entries)), min(some, len(entries)))
    faults = {
        place: layout.faults[number % len(layout.faults)] for number, place in enumerate(sorted(spoilt))
    }
    register = Register(layout=layout, rows=[[header for header, _ in layout.columns]], truth={})
    for place, entry in enumerate(entries):
        fault = faults.get(place)
        if fault == BAD_EMAIL and not entry.email:
            fault = TOO_FEW_COLUMNS
        if fault == BAD_EMAIL and entry.email:
            entry.email = broken_email(entry.email, chance)
        elif fault == IMPOSSIBLE_DATE:
            entry.birth_date_text = _IMPOSSIBLE_DAY[layout.source == "ecommerce"]
            entry.created_text = _IMPOSSIBLE_DAY[0]
        row = [write(entry) for _, write in layout.columns]
        if fault == TOO_FEW_COLUMNS:
            row = row[: len(row) // 2]
        else:
            register.truth[entry.external_id] = entry.person_key
        if fault:
            register.malformed.append(MalformedRow(layout.source, place + 2, entry.external_id, fault))
        register.rows.append(row)
    return register


def _external_id(source: str, number: int, entry: Entry) -> str:
    return {
        "till": f"{entry.store_code.replace('-', '')}-{number:05d}",
        "ecommerce": f"{100_000 + number}",
        "crm": f"CRM{number:06d}",
        "contest": f"JEU-{entry.created_on:%Y}-{number:05d}",
    }[source]
