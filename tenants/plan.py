"""The plan of a new brand: what head office says about itself, its stores and its people, before anything is made.

A plan is checked as a whole, and everything wrong with it is said at once (`BadPlan.faults`), so that nothing is
ever half-done because of a bad line. It comes from a form, from a TOML file (`plan_from_config`) or from code;
stores come from a CSV file (`stores_from_csv`), people from lines of text (`staff_from_lines`).
"""

import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.text import slugify
from django.utils.translation import gettext as _

from tenants.models import valid_slug
from tenants.roles import HEAD_OFFICE, Role

ROLES_IN_A_BRAND = HEAD_OFFICE | {Role.STORE_MANAGER}
# Names that a host or a schema of the platform bears, or may bear one day.
RESERVED_SLUGS = frozenset(
    {"public", "platform", "admin", "api", "www", "static", "media", "mail", "template", "test", "localhost"}
)
MAX_STORES = 5_000

Made = TypeVar("Made", bound="StorePlan | StaffPlan | BrandPlan")

CODE = re.compile(r"[-\w]{1,20}", re.ASCII)
CURRENCY = re.compile(r"[A-Z]{3}")
COUNTRY = re.compile(r"[A-Z]{2}")
HOST_NAME = re.compile(
    r"(?=.{1,253}$)([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
)


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a plan: the part of the plan, and in a file its line (from 1) and column."""

    part: str
    message: str
    line: int | None = None
    column: str = ""

    def __str__(self) -> str:
        if self.line and self.column:
            return _("line %(line)d, column “%(column)s”: %(message)s") % vars(self)
        if self.line:
            return _("line %(line)d: %(message)s") % vars(self)
        return f"{self.part}: {self.message}" if self.part else self.message


class BadPlan(ValueError):
    """The plan cannot be carried out; `faults` says why, one entry a mistake."""

    def __init__(self, faults: Iterable[Fault]):
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


@dataclass(frozen=True)
class StorePlan:
    """A store to open. Without a time zone it keeps its brand's."""

    code: str
    name: str
    region_code: str
    region_name: str
    postcode: str = ""
    city: str = ""
    time_zone: str = ""
    phone_region: str = "FR"
    legal_name: str = ""
    tills: tuple[str, ...] = ("T1",)
    line: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class StaffPlan:
    """A person to invite. A password is for demonstrations: people choose theirs by the invitation's link."""

    email: str
    full_name: str
    role: str
    store_codes: tuple[str, ...] = ()
    language: str = ""
    password: str | None = field(default=None, repr=False)
    line: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class BrandPlan:
    """Everything that is needed to open a brand."""

    name: str
    slug: str
    domain: str
    language: str = "fr"
    currency: str = "EUR"
    time_zone: str = "Europe/Paris"
    stores: tuple[StorePlan, ...] = ()
    staff: tuple[StaffPlan, ...] = ()
    points_from: str = ""  # the day (ISO) from which tickets earn points; "" for the day of opening

    def check(self) -> None:
        """Raises `BadPlan` with every mistake in the plan itself; whether its names are free is asked elsewhere."""
        faults = [*_faults_of_brand(self), *_faults_of_stores(self), *_faults_of_staff(self)]
        if faults:
            raise BadPlan(faults)

    def as_json(self) -> dict:
        """The plan as JSON knows it. Raises `BadPlan` where it holds a password: those are never stored."""
        if any(person.password for person in self.staff):
            raise BadPlan([Fault("staff", _("A plan that is kept may not hold passwords."))])
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict) -> "BrandPlan":
        """The plan that `as_json` wrote."""
        stores = tuple(StorePlan(**{**store, "tills": tuple(store["tills"])}) for store in data["stores"])
        staff = tuple(
            StaffPlan(**{**person, "store_codes": tuple(person["store_codes"])}) for person in data["staff"]
        )
        return cls(**{**data, "stores": stores, "staff": staff})


def default_domain(slug: str) -> str:
    """The host name of a brand that asked for none: its short name below the platform's."""
    return f"{slug}.{settings.BASE_DOMAIN}"


# --- What is wrong with it ---------------------------------------------------------------------------------------


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _faults_of_brand(plan: BrandPlan) -> Iterator[Fault]:
    try:
        date.fromisoformat(plan.points_from or "2000-01-01")
    except ValueError:
        yield Fault("points_from", _("A day such as 2026-01-31 is expected."))
    if not plan.name.strip() or len(plan.name) > 120:
        yield Fault("name", _("A name of 1 to 120 characters is needed."))
    try:
        valid_slug(plan.slug)
    except ValidationError as error:
        yield Fault("slug", error.messages[0])
    if plan.slug in RESERVED_SLUGS:
        yield Fault("slug", _("This short name is kept for the platform."))
    if not HOST_NAME.fullmatch(plan.domain):
        yield Fault("domain", _("This is no host name: lower-case letters, digits, hyphens and dots."))
    if plan.language not in dict(settings.LANGUAGES):
        yield Fault("language", _("Unknown language: %s.") % plan.language)
    if not CURRENCY.fullmatch(plan.currency):
        yield Fault("currency", _("A currency is three capital letters (ISO 4217), such as EUR."))
    if plan.time_zone not in _time_zones():
        yield Fault("time_zone", _("Unknown time zone: %s.") % plan.time_zone)


def _faults_of_stores(plan: BrandPlan) -> Iterator[Fault]:
    if not plan.stores:
        yield Fault("stores", _("A brand needs a store."))
    if len(plan.stores) > MAX_STORES:
        yield Fault("stores", _("No more than %d stores at once.") % MAX_STORES)
    seen: set[str] = set()
    for store in plan.stores:
        for column, message in _faults_of_store(store):
            yield Fault("stores", message, store.line, column)
        if store.code in seen:
            yield Fault("stores", _("The code %s stands twice.") % store.code, store.line, "code")
        seen.add(store.code)


def _faults_of_store(store: StorePlan) -> Iterator[tuple[str, str]]:
    if not CODE.fullmatch(store.code):
        yield "code", _("A code has 1 to 20 letters, digits, hyphens or underscores.")
    if not store.name or len(store.name) > 120:
        yield "name", _("A name of 1 to 120 characters is needed.")
    if not store.region_name or len(store.region_name) > 80 or not CODE.fullmatch(store.region_code):
        yield "region", _("A region of 1 to 80 characters is needed.")
    for column, value, limit in (
        ("postcode", store.postcode, 12),
        ("city", store.city, 80),
        ("legal_name", store.legal_name, 160),
    ):
        if len(value) > limit:
            yield column, _("Longer than %d characters.") % limit
    if store.time_zone and store.time_zone not in _time_zones():
        yield "time_zone", _("Unknown time zone: %s.") % store.time_zone
    if not COUNTRY.fullmatch(store.phone_region):
        yield "phone_region", _("A country is two capital letters (ISO 3166), such as FR.")
    if not all(CODE.fullmatch(till) for till in store.tills) or len(set(store.tills)) < len(store.tills):
        yield "tills", _("Till codes have 1 to 20 letters or digits, and each stands once.")


def _faults_of_staff(plan: BrandPlan) -> Iterator[Fault]:
    codes = {store.code for store in plan.stores}
    if not any(person.role == Role.BRAND_ADMIN for person in plan.staff):
        yield Fault("staff", _("A brand needs an administrator: invite one (brand_admin)."))
    for person in plan.staff:
        for message in _faults_of_person(person, codes):
            yield Fault("staff", message, person.line)
    for email, times in Counter(person.email.lower() for person in plan.staff).items():
        if times > 1:
            yield Fault("staff", _("%s is invited twice.") % email)


def _faults_of_person(person: StaffPlan, codes: set[str]) -> Iterator[str]:
    try:
        validate_email(person.email)
    except ValidationError:
        yield _("“%s” is no e-mail address.") % person.email
    if not person.full_name or len(person.full_name) > 120:
        yield _("%s needs a name of 1 to 120 characters.") % person.email
    if person.role not in ROLES_IN_A_BRAND:
        known = ", ".join(sorted(ROLES_IN_A_BRAND))
        yield _("Unknown role “%(role)s”: one of %(known)s.") % {"role": person.role, "known": known}
    if person.language and person.language not in dict(settings.LANGUAGES):
        yield _("Unknown language: %s.") % person.language
    if person.role == Role.STORE_MANAGER and not person.store_codes:
        yield _("%s manages no store: give store codes.") % person.email
    for code in sorted(set(person.store_codes) - codes):
        yield _("%(email)s: there is no store %(code)s.") % {"email": person.email, "code": code}


# --- From files --------------------------------------------------------------------------------------------------

# Column of ours -> the headers that mean it, without accents, in lower case.
HEADERS: dict[str, tuple[str, ...]] = {
    "code": ("code", "code magasin", "code point de vente", "store code", "id magasin"),
    "name": ("name", "nom", "magasin", "nom du magasin", "store", "store name", "point de vente"),
    "region": ("region", "secteur", "area"),
    "postcode": ("postcode", "code postal", "cp", "zip", "zip code", "postal code"),
    "city": ("city", "ville", "town", "commune"),
    "time_zone": ("time zone", "timezone", "fuseau", "fuseau horaire"),
    "phone_region": ("phone region", "pays", "country", "pays telephone", "region telephonique"),
    "legal_name": ("legal name", "raison sociale", "societe", "company", "franchisee", "franchise"),
    "tills": ("tills", "caisses", "codes caisses"),
}
REQUIRED = ("code", "name", "region")
SAMPLE_CSV = (
    "code;name;region;postcode;city;time_zone;phone_region;legal_name;tills\n"
    "001;Lille Centre;Nord;59000;Lille;Europe/Paris;FR;Lille Distribution SARL;T1 T2\n"
    "002;Lyon Bellecour;Sud;69002;Lyon;Europe/Paris;FR;Bellecour Commerce SAS;T1\n"
)


def stores_from_csv(content: bytes | str, *, phone_region: str = "FR") -> tuple[StorePlan, ...]:
    """The stores of a CSV file: `;`, `,` or tabs, UTF-8 or Windows-1252, headers in English or French.

    Raises `BadPlan`, each fault with its line and column, where the file cannot be read or a line is wrong.
    """
    text = content if isinstance(content, str) else _decoded(content)
    header, _newline, _rest = text.lstrip("\r\n").partition("\n")
    delimiter = max(";,\t", key=header.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    stores: list[StorePlan] = []
    faults: list[Fault] = []
    columns: list[str | None] = []
    try:
        for row in rows:
            values = [value.strip() for value in row]
            if not any(values):
                continue
            if not columns:
                columns = _columns(values, rows.line_num)
                continue
            if len(values) > len(columns):
                faults.append(Fault("stores", _("more values than headers"), rows.line_num))
                continue
            said = {name: value for name, value in zip(columns, values, strict=False) if name}
            store = _store(said, rows.line_num, phone_region)
            faults += [
                Fault("stores", message, store.line, column) for column, message in _faults_of_store(store)
            ]
            stores.append(store)
    except csv.Error as error:
        faults.append(Fault("stores", str(error), rows.line_num))
    if not stores and not faults:
        faults.append(Fault("stores", _("The file holds no store.")))
    if faults:
        raise BadPlan(faults)
    return tuple(stores)


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # What spreadsheets on Windows still write; every byte means something in it.
        return content.decode("cp1252", errors="replace")


def _comparable(header: str) -> str:
    plain = unicodedata.normalize("NFKD", header).encode("ascii", "ignore").decode().lower()
    return " ".join(re.split(r"[^a-z0-9]+", plain)).strip()


def _columns(headers: list[str], line: int) -> list[str | None]:
    columns = [
        next((column for column, names in HEADERS.items() if _comparable(header) in names), None)
        for header in headers
    ]
    faults = [
        Fault("stores", _("this column is missing"), line, column)
        for column in REQUIRED
        if column not in columns
    ]
    for column, times in Counter(filter(None, columns)).items():
        if times > 1:
            faults.append(Fault("stores", _("two columns mean the same"), line, column))
    if faults:
        raise BadPlan(faults)
    return columns


def _store(said: dict[str, str], line: int, phone_region: str) -> StorePlan:
    region = said.get("region", "")
    return StorePlan(
        code=said.get("code", ""),
        name=said.get("name", ""),
        region_code=slugify(region)[:20],
        region_name=region,
        postcode=said.get("postcode", ""),
        city=said.get("city", ""),
        time_zone=said.get("time_zone", ""),
        phone_region=said.get("phone_region", "").upper() or phone_region,
        legal_name=said.get("legal_name", ""),
        tills=tuple(said.get("tills", "").split()) or ("T1",),
        line=line,
    )


def staff_from_lines(text: str) -> tuple[StaffPlan, ...]:
    """The people of lines `email;name;role;store codes`, the codes apart by spaces. A role by its word or label.

    Raises `BadPlan` for a line that has too few parts; what the parts say is checked with the plan.
    """
    staff, faults = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        parts = [part.strip() for part in line.split(";")]
        if len(parts) not in (3, 4):
            faults.append(Fault("staff", _("write: e-mail;name;role;store codes"), number))
            continue
        email, name, role, codes = parts if len(parts) == 4 else [*parts, ""]
        staff.append(
            StaffPlan(email.lower(), name, _role(role), tuple(codes.replace(",", " ").split()), line=number)
        )
    if faults:
        raise BadPlan(faults)
    return tuple(staff)


def _role(said: str) -> str:
    labels = {_comparable(str(role.label)): role.value for role in Role}
    return labels.get(_comparable(said), said.lower().replace(" ", "_"))


def plan_from_config(config: dict, folder: Path) -> BrandPlan:
    """The plan that a TOML file holds: the brand's own keys, `[[stores]]` or `stores_file`, and `[[staff]]`.

    A file is looked for from `folder`. Raises `BadPlan` for words that mean nothing, `OSError` for a missing file.
    """
    config = dict(config)
    config.setdefault("domain", default_domain(str(config.get("slug", ""))))
    file = config.pop("stores_file", None)
    stores = stores_from_csv((folder / str(file)).read_bytes()) if file else ()
    stores += tuple(_store_of_config(entry) for entry in config.pop("stores", ()))
    staff = tuple(_made(StaffPlan, "staff", entry) for entry in config.pop("staff", ()))
    return replace(_made(BrandPlan, "", config), stores=stores, staff=staff)


def _store_of_config(said: dict) -> StorePlan:
    said = dict(said)
    region = str(said.pop("region", ""))
    return _made(StorePlan, "stores", {"region_name": region, "region_code": slugify(region)[:20], **said})


def _made(kind: type[Made], part: str, said: dict) -> Made:
    """What the words of a file describe. TOML knows numbers and days, and a plan only texts and tuples of texts."""
    words = {each.name: each for each in fields(kind) if each.name != "line"}
    faults = [Fault(part, _("“%s” means nothing here.") % word) for word in said if word not in words]
    faults += [
        Fault(part, _("“%s” is missing.") % word)
        for word, each in words.items()
        if each.default is MISSING and word not in said
    ]
    if faults:
        raise BadPlan(faults)
    values: dict[str, Any] = {
        word: _plain(value, many=isinstance(words[word].default, tuple)) for word, value in said.items()
    }
    return kind(**values)


def _plain(value, *, many: bool) -> str | tuple[str, ...]:
    if many:
        return tuple(str(value).split()) if not isinstance(value, list) else tuple(map(str, value))
    return str(value)
