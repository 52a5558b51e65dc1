"""Which column of a file holds which of our fields, guessed from its name and its values. Pure: asks no database."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _
from rapidfuzz import fuzz

from profiles.imports.values import NotUnderstood, moment, plain, yes_or_no

IGNORE = "ignore"
# What the column of the country is called; it is not read as a field, but says whose a postcode is.
COUNTRIES = frozenset({"pays", "country", "code pays", "country code", "libelle pays"})
# Names that back offices, tills and shops give their columns, as `values.plain` writes them.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "external_id": (
        "id", "identifiant", "identifiant client", "identifiant unique", "id client", "external id", "no client",
        "num client", "numero client", "numero de client", "n client", "code client", "ref client",
        "reference client", "reference", "customer id", "client id", "customer number", "contact id", "user id",
        "uid", "id participation", "id contact", "id externe", "record id",
    ),
    "customer_id": (
        "numero client", "numero de client", "num client", "no client", "n client", "code client",
        "customer number", "customer no", "compte client", "numero de compte", "account number",
    ),
    "first_name": ("prenom", "prenoms", "prenom client", "first name", "firstname", "given name", "forename"),
    "last_name": (
        "nom", "nom de famille", "nom client", "nom usuel", "last name", "lastname", "surname", "family name",
    ),
    "full_name": (
        "nom complet", "nom et prenom", "nom prenom", "prenom nom", "prenom et nom", "client", "contact", "name",
        "full name", "fullname", "customer name",
    ),
    "birth_date": (
        "date de naissance", "date naissance", "naissance", "ne le", "nee le", "ne e le", "date naiss", "ddn",
        "anniversaire", "birth date", "birthdate", "birthday", "date of birth", "dob",
    ),
    "email": (
        "email", "e mail", "mail", "adresse email", "adresse e mail", "adresse mail", "courriel",
        "adresse electronique", "email address", "e mail address", "mel",
    ),
    "phone": (
        "telephone", "tel", "telephone mobile", "tel mobile", "mobile", "portable", "tel portable",
        "telephone portable", "numero de telephone", "no tel", "num tel", "gsm", "phone", "phone number",
        "mobile phone", "cell phone", "cellphone",
    ),
    "street": (
        "adresse", "adresse 1", "adresse postale", "rue", "voie", "numero et voie", "adresse ligne 1", "address",
        "street", "street address", "address 1", "address line 1", "postal address",
    ),
    "postcode": (
        "code postal", "cp", "codepostal", "code post", "postcode", "zip", "zipcode", "zip code", "postal code",
    ),
    "city": ("ville", "commune", "localite", "city", "town"),
    "card": (
        "carte", "no carte", "n carte", "num carte", "numero carte", "numero de carte", "carte de fidelite",
        "carte fidelite", "n carte de fidelite", "numero carte fidelite", "numero de carte de fidelite", "code carte",
        "card", "card number", "loyalty card", "loyalty number", "loyalty card number", "fidelity card",
        "member number", "membership number",
    ),
    "store_code": (
        "magasin", "code magasin", "magasin d inscription", "magasin inscription", "no magasin", "magasin code",
        "point de vente", "code point de vente", "pdv", "boutique", "code boutique", "agence", "store",
        "store code", "store id", "shop", "shop code", "home store", "branch",
    ),
    "stated_at": (
        "date creation", "date de creation", "cree le", "date inscription", "date d inscription", "inscrit le",
        "date d adhesion", "date adhesion", "date participation", "date de participation", "date maj",
        "date de mise a jour", "date modification", "date de modification", "modifie le", "maj le", "created at",
        "created", "created on", "creation date", "updated at", "updated", "last updated", "last modified",
        "modified at", "signup date", "registered at", "registration date", "joined on",
    ),
    "consent_email": (
        "optin email", "opt in email", "optin mail", "optin e mail", "opt in e mail", "optin", "opt in",
        "accord e mail",
        "accord email", "accord mail", "accord courriel", "consentement email", "consentement e mail", "newsletter",
        "inscrit newsletter", "abonne newsletter", "email optin", "email opt in", "email consent",
        "accepts email marketing", "email marketing", "marketing email", "accepts marketing", "subscribed",
    ),
    "consent_sms": (
        "optin sms", "opt in sms", "accord sms", "consentement sms", "sms optin", "sms opt in", "sms consent",
        "accepts sms marketing", "sms marketing", "marketing sms",
    ),
    "consent_post": (
        "optin courrier", "opt in courrier", "optin postal", "accord courrier", "accord postal",
        "consentement courrier", "consentement postal", "optin papier", "post optin", "postal optin",
        "postal consent", "mail consent post", "direct mail", "accepts direct mail",
    ),
    "consent_at": (
        "date optin", "date opt in", "date optin sms", "date optin email", "date accord", "date de l accord",
        "date du consentement", "date consentement", "optin date", "opt in date", "optin at", "consent date",
        "consent at", "consented at", "newsletter at", "newsletter date", "date newsletter",
        "date inscription newsletter",
    ),
    "consent_wording": (
        "texte optin", "texte opt in", "texte accord", "texte de l accord", "libelle accord", "mention accord",
        "texte consentement", "texte du consentement", "consent text", "consent wording", "wording",
        "optin text", "newsletter text", "mention legale",
    ),
    IGNORE: (
        "civilite", "titre", "genre", "sexe", "pays", "country", "title", "gender", "sex", "commentaire", "notes",
        "ligne", "erreur", "line", "error", "points", "solde", "statut", "status", "age", "langue", "language",
    ),
}  # fmt: skip
FIELDS = tuple(field for field in SYNONYMS if field != IGNORE)
CONSENTS = {"consent_email": "email", "consent_sms": "sms", "consent_post": "post"}
# What says something about the person: a file without any of these has nobody in it.
TELLING = frozenset({"first_name", "last_name", "full_name", "email", "phone", "card"})

SURE_ENOUGH = 84
_BY_SHAPE = 70
_SHAPES: dict[str, re.Pattern[str]] = {
    "email": re.compile(r"[^@\s]+@[^@\s]+\.[a-zA-Z]{2,}"),
    "phone": re.compile(r"(\+|00)\d[\d .()-]{7,}|0[1-9]([ .-]?\d{2}){4}"),
    "postcode": re.compile(r"(?:\d[\dAB])\d{3}"),
    "street": re.compile(
        r"\d{1,4}\s?(?:bis|ter|b|t)?,? (?:rue|r\.|av|bd|boul|pl|ch|imp|all|quai|route|rte).*", re.I
    ),
}
_NAMED = tuple((name, field) for field, names in SYNONYMS.items() for name in names)


class WrongMapping(ValueError):
    """A mapping that names an unknown column or field, or a field twice; `column` is the column at fault."""

    def __init__(self, column: str, message: str):
        super().__init__(f"{column}: {message}")
        self.column, self.message = column, message


@dataclass(frozen=True)
class Guess:
    """`confidence` from 0 to 100; an ignored column of which nothing is known has 0."""

    field: str
    confidence: int


def guess(header: Sequence[str], sample_rows: Sequence[Sequence[str]]) -> dict[str, Guess]:
    """A guess for each column, no field twice: the surest pairs are settled first."""
    offers = []
    for place, column in enumerate(header):
        values = [row[place].strip() for row in sample_rows if place < len(row) and row[place].strip()]
        for field, confidence in _offers(column, values).items():
            offers.append((confidence, field != IGNORE, -place, column, field))
    guesses: dict[str, Guess] = {}
    taken: set[str] = set()
    for confidence, _known, _place, column, field in sorted(offers, reverse=True):
        if column not in guesses and field not in taken:
            guesses[column] = Guess(field, confidence)
            taken |= {field} - {IGNORE}
    for column, found in guesses.items():
        # A lone customer number is the id at the source; beside another id it finds people at other sources.
        if found.field == "customer_id" and "external_id" not in taken:
            guesses[column] = Guess("external_id", found.confidence)
    return {column: guesses.get(column, Guess(IGNORE, 0)) for column in header}


def _offers(column: str, values: Sequence[str]) -> dict[str, int]:
    """What the column may be, with the confidence of each: by its name, kept only where the values do not object."""
    name = plain(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column))
    offers: dict[str, int] = {}
    if name:
        for known, field in _NAMED:
            score = _likeness(name, known)
            if score and (len(known) > 3 or known == name):  # "tel", "nom", "cp": only as they stand
                offers[field] = max(offers.get(field, 0), round(score))
    offers = {field: score for field, score in offers.items() if _fits(field, values)}
    if not offers:
        for field, shape in _SHAPES.items():
            if values and sum(bool(shape.fullmatch(value)) for value in values) * 5 >= len(values) * 4:
                return {field: _BY_SHAPE}
    return offers


def _likeness(one: str, other: str) -> float:
    """100 for the same words; words in another order cost a little, other letters more. 0 below `SURE_ENOUGH`."""
    straight = fuzz.ratio(one, other, score_cutoff=SURE_ENOUGH)
    turned = fuzz.token_sort_ratio(one, other, score_cutoff=SURE_ENOUGH + 2)
    return max(straight, turned - 2, 0)


def _fits(field: str, values: Sequence[str]) -> bool:
    """Whether what stands in the column speaks against the field: "Mail" with yes and no is no address."""
    if not values:
        return True
    if field == "email":
        return any("@" in value for value in values)
    if field in CONSENTS:
        return all(_understood(yes_or_no, value) for value in values)
    if field in {"stated_at", "consent_at"}:
        return any(_understood(moment, value, ZoneInfo("UTC")) for value in values)
    if field == "phone":
        return any(sum(c.isdigit() for c in value) >= 6 for value in values)
    if field in {"first_name", "last_name", "full_name", "city"}:
        return any(any(c.isalpha() for c in value) and "@" not in value for value in values)
    return True


def _understood(read, *words) -> bool:
    try:
        read(*words)
    except NotUnderstood:
        return False
    return True


def check(mapping: Mapping[str, str], header: Sequence[str]) -> dict[str, str]:
    """The mapping with every column of the header in it. Raises `WrongMapping`."""
    used: dict[str, str] = {}
    for column, field in mapping.items():
        if column not in header:
            raise WrongMapping(column, _("the file has no such column"))
        if field != IGNORE and field not in FIELDS:
            known = ", ".join((*FIELDS, IGNORE))
            raise WrongMapping(
                column, _("unknown field «%(field)s»; known are %(known)s") % {"field": field, "known": known}
            )
        if field in used:
            told = {"field": field, "column": used[field]}
            raise WrongMapping(column, _("«%(field)s» is already read from the column «%(column)s»") % told)
        if field != IGNORE:
            used[field] = column
    return {column: mapping.get(column, IGNORE) for column in header}


@dataclass(frozen=True)
class Problem:
    """What is wrong with a mapping. One that `stops` has to be mended before the file can be taken in."""

    message: str
    stops: bool = False


def problems(mapping: Mapping[str, str]) -> list[Problem]:
    """What a person should know before the file is taken in with this mapping."""
    fields = set(mapping.values())
    found = []
    if "external_id" not in fields:
        found.append(
            Problem(_("No column holds the id at the source: choose the one that never changes."), stops=True)
        )
    if not fields & TELLING:
        found.append(Problem(_("No column holds a name, an e-mail, a phone or a card."), stops=True))
    if fields & set(CONSENTS) and "consent_wording" not in fields:
        found.append(
            Problem(_("Consents come without the wording that was shown: they will be hard to prove."))
        )
    if fields & set(CONSENTS) and not fields & {"consent_at", "stated_at"}:
        found.append(Problem(_("Consents come without a date: the time of the import will stand for it.")))
    return found
