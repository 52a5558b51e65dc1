"""Which column of a file holds which of our fields, guessed from its name and its values. Pure: asks no database."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rapidfuzz import fuzz

from profiles.imports.values import NotUnderstood, day_of_serial, moment, plain, yes_or_no
from profiles.normalise import birth_date

IGNORE = "ignore"
# What an error file has behind the columns of the file it came from.
OF_ERROR_FILE = frozenset({"ligne", "erreur"})
# What the column of the country is called; it is not read as a field, but says whose a postcode is.
COUNTRIES = frozenset({"pays", "country", "code pays", "country code", "libelle pays"})
# Names that back offices, tills and shops give their columns, as `values.plain` writes them.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "external_id": (
        "code tiers", "tiers", "code fiche", "no fiche", "euid", "leid", "identifiant externe", "code contact",
        "customer code", "id personne", "contact ref", "id", "identifiant", "identifiant client",
        "identifiant unique", "id client", "external id", "no client", "num client", "numero client",
        "numero de client", "n client", "code client", "ref client", "reference client", "reference", "customer id",
        "client id", "customer number", "contact id", "user id", "uid", "id participation", "id contact",
        "id externe", "record id",
    ),
    "customer_id": (
        "numero abonne", "no compte", "numero client", "numero de client", "num client", "no client", "n client",
        "code client", "customer number", "customer no", "compte client", "numero de compte", "account number",
    ),
    "first_name": (
        "pren", "fname", "prenom", "prenoms", "prenom client", "first name", "firstname", "given name", "forename",
    ),
    "last_name": (
        "nom de naissance", "nom marital", "raison sociale", "lname", "nom", "nom de famille", "nom client",
        "nom usuel", "last name", "lastname", "surname", "family name",
    ),
    "full_name": (
        "nom et prenoms", "identite", "designation client", "display name", "nom complet", "nom et prenom",
        "nom prenom", "prenom nom", "prenom et nom", "client", "contact", "name", "full name", "fullname",
        "customer name",
    ),
    "birth_date": (
        "date anniversaire", "jour de naissance", "date naissance client", "ne e", "date de naissance",
        "date naissance", "naissance", "ne le", "nee le", "ne e le", "date naiss", "ddn", "anniversaire",
        "birth date", "birthdate", "birthday", "date of birth", "dob",
    ),
    "email": (
        "mail perso", "email perso", "mail client", "user email", "billing email", "email principal", "email",
        "e mail", "mail", "adresse email", "adresse e mail", "adresse mail", "courriel", "adresse electronique",
        "email address", "e mail address", "mel",
    ),
    "phone": (
        "mobile number", "numero de portable", "no portable", "numero portable", "num portable", "numero mobile",
        "no mobile", "portable client", "sms", "sms number", "billing phone", "tel 1", "telephone 1",
        "telephone principal", "tel fixe", "telephone fixe", "fixe", "no fixe", "tel domicile", "telephone domicile",
        "domicile", "tel bureau", "telephone 2", "tel 2", "home phone", "landline", "work phone",
        "default address phone", "telephone", "tel", "telephone mobile", "tel mobile", "mobile", "portable",
        "tel portable", "telephone portable", "numero de telephone", "no tel", "num tel", "gsm", "phone",
        "phone number", "mobile phone", "cell phone", "cellphone",
    ),
    "street": (
        "adr", "adr 1", "adresse1", "address1", "adresse facturation", "rue et numero", "n et rue", "libelle voie",
        "adresse rue", "billing address 1", "default address address1", "adresse", "adresse 1", "adresse postale",
        "rue", "voie", "numero et voie", "adresse ligne 1", "address", "street", "street address", "address 1",
        "address line 1", "postal address",
    ),
    "postcode": (
        "c p", "cpost", "cod postal", "code postal client", "billing postcode", "default address zip",
        "postal zip code", "zip postal code", "code postal", "cp", "codepostal", "code post", "postcode", "zip",
        "zipcode", "zip code", "postal code",
    ),
    "city": (
        "ville client", "nom de la commune", "localite client", "bureau distributeur", "billing city",
        "default address city", "ville", "commune", "localite", "city", "town",
    ),
    "card": (
        "n fidelite", "numero fidelite", "no fidelite", "num fidelite", "code fidelite", "carte client",
        "numero carte client", "num carte fidelite", "ean carte", "code barre", "code barres carte", "carte fid",
        "no carte fidelite", "card no", "loyalty id", "loyalty card no", "barcode", "carte", "no carte", "n carte",
        "num carte", "numero carte", "numero de carte", "carte de fidelite", "carte fidelite", "n carte de fidelite",
        "numero carte fidelite", "numero de carte de fidelite", "code carte", "card", "card number", "loyalty card",
        "loyalty number", "loyalty card number", "fidelity card", "member number", "membership number",
    ),
    "store_code": (
        "etablissement", "code etablissement", "etab", "site", "code site", "magasin de rattachement",
        "magasin rattachement", "magasin origine", "magasin creation", "magasin de creation", "enseigne magasin",
        "mag", "code mag", "franchise", "code franchise", "shop id", "store number", "location", "home shop",
        "magasin", "code magasin", "magasin d inscription", "magasin inscription", "no magasin", "magasin code",
        "point de vente", "code point de vente", "pdv", "boutique", "code boutique", "agence", "store", "store code",
        "store id", "shop", "shop code", "home store", "branch",
    ),
    "stated_at": (
        "date de derniere modification", "date derniere modification", "derniere modification",
        "date de creation fiche", "date fiche", "date de mise a jour fiche", "date registered", "date created",
        "added time", "modified time", "last changed", "date ajout", "date saisie", "date d enregistrement",
        "date enregistrement", "user registered", "customer since", "client depuis", "date entree", "date creation",
        "date de creation", "cree le", "date inscription", "date d inscription", "inscrit le", "date d adhesion",
        "date adhesion", "date participation", "date de participation", "date maj", "date de mise a jour",
        "date modification", "date de modification", "modifie le", "maj le", "created at", "created", "created on",
        "creation date", "updated at", "updated", "last updated", "last modified", "modified at", "signup date",
        "registered at", "registration date", "joined on",
    ),
    "consent_email": (
        "email marketing consent", "accepte email", "accepte les emails", "accepte mail", "accepte newsletter",
        "abonne email", "autorisation email", "autorisation mail", "consentement mail", "rgpd email", "rgpd mail",
        "opt in newsletter", "optin newsletter", "offres par email", "email marketing status", "optin email",
        "opt in email", "optin mail", "optin e mail", "opt in e mail", "optin", "opt in", "accord e mail",
        "accord email", "accord mail", "accord courriel", "consentement email", "consentement e mail", "newsletter",
        "inscrit newsletter", "abonne newsletter", "email optin", "email opt in", "email consent",
        "accepts email marketing", "email marketing", "marketing email", "accepts marketing", "subscribed",
    ),
    "consent_sms": (
        "accepte sms", "accepte les sms", "abonne sms", "autorisation sms", "rgpd sms", "offres par sms",
        "sms marketing consent", "sms marketing status", "optin sms", "opt in sms", "accord sms", "consentement sms",
        "sms optin", "sms opt in", "sms consent", "accepts sms marketing", "sms marketing", "marketing sms",
    ),
    "consent_post": (
        "accepte courrier", "autorisation courrier", "rgpd courrier", "opt in postal", "offres par courrier",
        "optin courrier", "opt in courrier", "optin postal", "accord courrier", "accord postal",
        "consentement courrier", "consentement postal", "optin papier", "post optin", "postal optin",
        "postal consent", "mail consent post", "direct mail", "accepts direct mail",
    ),
    "consent_at": (
        "optin time", "opt in time", "confirm time", "date rgpd", "date autorisation", "date d autorisation",
        "date accord rgpd", "date d opt in", "consent time", "date optin", "date opt in", "date optin sms",
        "date optin email", "date accord", "date de l accord", "date du consentement", "date consentement",
        "optin date", "opt in date", "optin at", "consent date", "consent at", "consented at", "newsletter at",
        "newsletter date", "date newsletter", "date inscription newsletter",
    ),
    "consent_wording": (
        "texte rgpd", "libelle optin", "libelle consentement", "formulation", "texte case a cocher", "texte optin",
        "texte opt in", "texte accord", "texte de l accord", "libelle accord", "mention accord", "texte consentement",
        "texte du consentement", "consent text", "consent wording", "wording", "optin text", "newsletter text",
        "mention legale",
    ),
    IGNORE: (
        "civ", "montant", "total", "ca", "chiffre d affaires", "ca ttc", "panier moyen", "total spent", "total spend",
        "total orders", "orders", "aov", "tags", "tax exempt", "company", "societe", "complement",
        "complement d adresse", "complement adresse", "adresse 2", "adresse2", "adr 2", "address 2", "address2",
        "adresse ligne 2", "adresse 3", "cumul points", "cumul pts", "nb points", "solde points", "fax", "province",
        "region", "latitude", "longitude", "timezone", "member rating", "optin ip", "confirm ip", "username",
        "user login", "role", "password", "whatsapp", "blocklisted", "blacklisted", "email blacklisted",
        "sms blacklisted", "email blocklisted", "sms blocklisted", "double opt in", "last active", "derniere visite",
        "date derniere visite", "dernier achat", "date dernier achat", "date de dernier achat", "last order",
        "last order date", "profession", "observations", "nb achats", "nombre d achats", "nb visites", "vendeur",
        "photo", "facebook", "state", "departement", "euid hash", "civilite", "titre", "genre", "sexe", "pays",
        "country", "title", "gender", "sex", "commentaire", "notes", "ligne", "erreur", "line", "error", "points",
        "solde", "statut", "status", "age", "langue", "language",
    ),
}  # fmt: skip
FIELDS = tuple(field for field in SYNONYMS if field != IGNORE)
# As people are told of them.
FIELD_NAMES = {
    IGNORE: gettext_lazy("– not read –"),
    "external_id": gettext_lazy("id at the source"),
    "customer_id": gettext_lazy("customer number"),
    "first_name": gettext_lazy("first name"),
    "last_name": gettext_lazy("last name"),
    "full_name": gettext_lazy("whole name"),
    "birth_date": gettext_lazy("birth date"),
    "email": gettext_lazy("e-mail"),
    "phone": gettext_lazy("phone"),
    "street": gettext_lazy("street, with number"),
    "postcode": gettext_lazy("postcode"),
    "city": gettext_lazy("town"),
    "card": gettext_lazy("loyalty card"),
    "store_code": gettext_lazy("store code"),
    "stated_at": gettext_lazy("when the source wrote it"),
    "consent_email": gettext_lazy("consent: e-mail"),
    "consent_sms": gettext_lazy("consent: text message"),
    "consent_post": gettext_lazy("consent: post"),
    "consent_at": gettext_lazy("date of the consent"),
    "consent_wording": gettext_lazy("wording of the consent"),
}
CONSENTS = {"consent_email": "email", "consent_sms": "sms", "consent_post": "post"}
# Channels on which nobody is written to without having agreed, and the agreement proven.
PROVEN = frozenset({"consent_email", "consent_sms"})
# What says something about the person: a file without any of these has nobody in it.
TELLING = frozenset({"first_name", "last_name", "full_name", "email", "phone", "card"})

SURE_ENOUGH = 84
# Second numbers: the field is offered to them, but a mobile wins.
_SECOND = frozenset(
    """tel fixe|telephone fixe|fixe|no fixe|tel domicile|telephone domicile|domicile|tel bureau|telephone 2|tel 2
    |home phone|landline|work phone|default address phone|raison sociale""".replace("\n    ", "").split("|")
)
_ABBREVIATIONS = {
    "cli": "client", "clt": "client", "dt": "date", "dte": "date", "mag": "magasin", "adr": "adresse",
    "naiss": "naissance", "nais": "naissance", "creat": "creation", "crea": "creation", "fid": "fidelite",
    "fidel": "fidelite", "etab": "etablissement", "tph": "telephone", "port": "portable", "cod": "code",
    "modif": "modification", "inscr": "inscription", "num": "numero", "nr": "numero", "nbr": "nombre",
}  # fmt: skip
# Words that say whose column it is and not what is in it.
_ABOUT_WHOM = re.compile(
    r"^(?:client|customer|contact|user|member|membre|billing|facturation|default address|default|c) "
    r"| (?:client|du client|customer|perso)$"
)
# A column of refusals is no column of consents, however near its name is.
_AGAINST = re.compile(
    r"\b(?:out|optout|stop|ne pas|opposition|refus\w*|des(?:inscri|abonn)\w*|unsubscri\w*"
    r"|black ?list\w*|block ?list\w*|bounce\w*)\b"
)

_TOWNS = frozenset(
    """paris marseille lyon toulouse nice nantes strasbourg montpellier bordeaux lille rennes reims toulon grenoble
    dijon angers nimes besancon tours limoges amiens perpignan metz boulogne orleans rouen mulhouse caen nancy
    argenteuil roubaix tourcoing avignon poitiers versailles pau calais cannes colmar bourges quimper valence troyes
    lorient chambery niort cholet vannes arras bayonne annecy brest lens douai valenciennes dunkerque angouleme albi
    tarbes beziers ajaccio bastia laval evreux blois auxerre macon epinal nevers saint""".split()
)  # fmt: skip
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[a-zA-Z]{2,}")
_PHONE = re.compile(r"(\+|00)\d[\d .()-]{7,}|0?[1-9]([ .-]?\d{2}){4}|33[1-9]\d{8}")
_MOBILE = re.compile(r"(?:(?:\+|00)33[ .(0)]*|0)?[67](?:[ .-]?\d{2}){4}|33[67]\d{8}")
_POSTCODE = re.compile(r"(?:\d[\dAB])[ ]?\d{3}|\d{4}|(?:[A-Z]{1,2}-?)\d{4,5}")
_STREET = re.compile(
    r"\d{1,4}\s?(?:bis|ter|quater|[a-d])?,? "
    r"(?:rue|r\.|av|bd|boul|pl|ch|imp|all|quai|route|rte|cours|square|sq|lieu|res).*",
    re.I,
)
_MONEY = re.compile(
    r"-?\d[\d  \u202f\u00a0]*[.,]\d{1,2}\s?(?:€|eur|euros)?|-?\d[\d  ]*\s?(?:€|eur|euros)", re.I
)
_STORE = re.compile(r"[A-Za-z]{1,5}[-_ ]?\d{1,5}|\d{1,4}")
_DAY = re.compile(r"\d{1,4}[-/. ]?\d{2}[-/. ]?\d{2,4}|\d{1,2}[-/. ]\d{1,2}[-/. ]\d{2,4}")
_WORD = r"[^\W\d_]+(?:[-'’][^\W\d_]+)*"
_FULL_NAME = re.compile(rf"(?:M\.|Mme|Mlle|MME|MR|Mr)? ?{_WORD}(?:,? {_WORD}){{1,3}}")
_NAMED = tuple((name, field) for field, names in SYNONYMS.items() for name in dict.fromkeys(names))
_EXACT_NAMES: dict[str, list[str]] = {}
for _name, _field in _NAMED:
    _EXACT_NAMES.setdefault(_name, []).append(_field)

# What a field is worth by what stands in its column: nothing but the name, name and values, values alone.
_BY_NAME = 95
_AGREES, _DOUBTFUL, _CONTRADICTS = 5, -15, -60
_BY_SHAPE = 70
_LEAST = 40


class WrongMapping(ValueError):
    """A mapping that names an unknown column or field, or a field twice; `column` is the column at fault."""

    def __init__(self, column: str, message: str):
        super().__init__(f"{column}: {message}")
        self.column, self.message = column, message


@dataclass(frozen=True)
class Guess:
    """`confidence` from 0 to 100; an ignored column of which nothing is known has 0. `others` are fields that the
    column could be read as as well, the likeliest first: the second telephone number of a file that has two."""

    field: str
    confidence: int
    others: tuple[str, ...] = ()


def guess(header: Sequence[str], sample_rows: Sequence[Sequence[str]]) -> dict[str, Guess]:
    """A guess for each column, no field twice: the surest pairs are settled first. The more rows, the better: what
    repeats itself from row to row (a store), and what never does (a card), shows in some dozens only."""
    offers = []
    offered: dict[str, dict[str, int]] = {}
    for place, column in enumerate(header):
        values = [row[place].strip()[:200] for row in sample_rows if place < len(row) and row[place].strip()]
        offered[column] = _offers(column, values)
        for field, confidence in offered[column].items():
            offers.append((confidence, field != IGNORE, -place, column, field))
    guesses: dict[str, Guess] = {}
    taken: set[str] = set()
    for confidence, _known, _place, column, field in sorted(offers, reverse=True):
        if column not in guesses and field not in taken:
            others = sorted(offered[column].items(), key=lambda offer: -offer[1])
            guesses[column] = Guess(
                field, confidence, tuple(other for other, _score in others if other not in {field, IGNORE})
            )
            taken |= {field} - {IGNORE}
    for column, found in guesses.items():
        # A lone customer number is the id at the source; beside another id it finds people at other sources.
        if found.field == "customer_id" and "external_id" not in taken:
            guesses[column] = Guess("external_id", found.confidence, found.others)
            taken.add("external_id")
        if found.field == "last_name" and not taken & {"first_name", "full_name"}:
            values = [
                row[header.index(column)].strip() for row in sample_rows if header.index(column) < len(row)
            ]
            if values and _share(_whole_name, values) >= 0.8:
                guesses[column] = Guess("full_name", _BY_SHAPE, ("last_name",))
    for column in header:
        if column not in guesses:  # another column has all that this one could be
            others = sorted(offered[column].items(), key=lambda offer: -offer[1])
            guesses[column] = Guess(IGNORE, 0, tuple(other for other, _score in others))
    return {column: guesses[column] for column in header}


def _offers(column: str, values: Sequence[str]) -> dict[str, int]:
    """What the column may be, with the confidence of each: by its name, more or less sure by what stands in it."""
    name = plain(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column))
    offers: dict[str, int] = {}
    for variant, cost in _variants(name):
        for known, field, near in _named_like(variant):
            score = round(near * _BY_NAME / 100) - cost - (12 if known in _SECOND else 0)
            offers[field] = max(offers.get(field, 0), score)
    if _AGAINST.search(name):
        offers = {field: score for field, score in offers.items() if field not in {*CONSENTS, "consent_at"}}
    weighed = {field: min(score + _weight(field, values), 100) for field, score in offers.items()}
    weighed = {field: score for field, score in weighed.items() if score >= _LEAST}
    return weighed or ({} if IGNORE in offers else _by_shape(values))


def _variants(name: str) -> list[tuple[str, int]]:
    """The name of a column, and what it says without abbreviations and without whose it is; each with its cost."""
    if not name:
        return []
    whole = " ".join(_ABBREVIATIONS.get(word, word) for word in name.split())
    found = {name: 0}
    for text, cost in ((whole, 1), (_ABOUT_WHOM.sub("", name), 3), (_ABOUT_WHOM.sub("", whole), 4)):
        if text:
            found.setdefault(text, cost)
    return list(found.items())


def _named_like(name: str) -> list[tuple[str, str, float]]:
    """The names that are near enough, with their field and how near; only the same one where it is known."""
    if fields := _EXACT_NAMES.get(name):
        return [(name, field, 100) for field in fields]
    if len(name) > 80:
        return []
    found = [
        (known, field, _likeness(name, known)) for known, field in _NAMED if len(known) > 4
    ]  # "tel", "nom", "cp", "fixe": only as they stand
    return [offer for offer in found if offer[2]]


def _likeness(one: str, other: str) -> float:
    """100 for the same words; words in another order cost a little, other letters more. 0 below `SURE_ENOUGH`."""
    straight = fuzz.ratio(one, other, score_cutoff=SURE_ENOUGH)
    turned = fuzz.token_sort_ratio(one, other, score_cutoff=SURE_ENOUGH + 2)
    return max(straight, turned - 2, 0)


# --- What the values say ------------------------------------------------------------------------------------------


def _weight(field: str, values: Sequence[str]) -> int:
    """What the values add to a name that says `field`, or take away: "Mail" with yes and no is no address."""
    if not values or field == IGNORE:
        return 0
    if field in _EXPECTED:
        fitting = _share(_EXPECTED[field], values)
        if field in _MUST_FIT and not fitting:
            return -100
        weight = (
            _AGREES
            if fitting >= 0.8
            else 0
            if fitting >= 0.5
            else _DOUBTFUL
            if fitting >= 0.2
            else _CONTRADICTS
        )
        if field == "phone" and weight > 0 and _share(_matches(_MOBILE), values) < 0.5:
            return 0  # between two numbers the mobile wins
        return weight
    if field in {"external_id", "customer_id", "card"}:
        return _weight_of_number(field, values)
    if field in CONSENTS:
        return (
            _AGREES if all(_understood(yes_or_no, value) for value in values) else _weight_of_answers(values)
        )
    return 0


def _weight_of_number(field: str, values: Sequence[str]) -> int:
    if _share(_matches(_MONEY), values) >= 0.8 or all(
        " " in value and not _looks_numbered(value) for value in values
    ):
        return _CONTRADICTS
    if len(values) >= 3 and len(set(values)) == 1:
        return _CONTRADICTS  # everybody the same
    if field == "card":
        return (
            _AGREES if _like_cards(values) else 0 if _share(_looks_numbered, values) >= 0.5 else _CONTRADICTS
        )
    return (
        _AGREES if len(set(values)) == len(values) else _DOUBTFUL if len(set(values)) * 2 < len(values) else 0
    )


def _weight_of_answers(values: Sequence[str]) -> int:
    """Few words that come again are answers, also where nobody knows them yet; anything else is none."""
    odd = {plain(value): value for value in values if not _understood(yes_or_no, value)}
    few = len(odd) <= max(3, len(values) // 5) and all(len(value) <= 40 for value in values)
    return _DOUBTFUL if few and all(map(_may_be_answer, odd.values())) else -100


def _may_be_answer(value: str) -> bool:
    other = any(shape.fullmatch(value) for shape in (_EMAIL, _PHONE, _MONEY)) or _dated(value)
    return not other and (len(value) <= 2 or not _looks_numbered(value))


def _by_shape(values: Sequence[str]) -> dict[str, int]:
    """What a column is whose name says nothing. Never a consent: which channel the answers are about, no value says."""
    if not values:
        return {}
    for field, shape in (("email", _EMAIL), ("phone", _PHONE), ("street", _STREET)):
        if _share(_matches(shape), values) >= 0.8:
            return {field: _BY_SHAPE}
    if _share(_matches(_MONEY), values) >= 0.8:
        return {}
    if _share(_born, values) >= 0.8:
        return {"birth_date": _BY_SHAPE - 5}
    if (
        len(values) >= 2
        and _like_cards(values)
        and _share(lambda value: value.isdigit() and len(value) >= 10, values) == 1
    ):
        return {"card": _BY_SHAPE - 5}
    if _share(lambda value: len(value) == 5 and _POSTCODE.fullmatch(value) is not None, values) >= 0.8:
        return {"postcode": _BY_SHAPE}
    if (
        _share(lambda value: plain(value).split(" ")[0] in _TOWNS, values) >= 0.5
        and _share(_worded, values) == 1
    ):
        return {"city": _BY_SHAPE - 5}
    if _share(_whole_name, values) >= 0.8:
        return {"full_name": _BY_SHAPE - 10}
    repeats = len(values) >= 8 and 1 < len(set(values)) <= len(values) // 2
    if (
        repeats
        and _share(lambda value: _STORE.fullmatch(value) is not None and not value.isdigit(), values) >= 0.8
    ):
        return {"store_code": _BY_SHAPE - 15}
    return {}


def _share(fits: Callable[[str], bool], values: Sequence[str]) -> float:
    return sum(map(fits, values)) / len(values)


def _matches(shape: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda value: shape.fullmatch(value) is not None


def _dated(value: str) -> bool:
    return _understood(moment, value, ZoneInfo("UTC"))


def _born(value: str) -> bool:
    """A day on which a customer of today may have been born: not the day of a registration."""
    born = birth_date(day_of_serial(value))
    return born is not None and born.year <= datetime.now(tz=UTC).year - 14


def _worded(value: str) -> bool:
    return any(map(str.isalpha, value)) and "@" not in value and sum(map(str.isdigit, value)) * 2 < len(value)


def _whole_name(value: str) -> bool:
    """A surname in capitals beside a first name: "MARTIN Alice"."""
    words = value.replace(",", " ").split()
    capitals = [word for word in words if len(word) > 1 and word.isupper()]
    return (
        _FULL_NAME.fullmatch(value) is not None
        and 0 < len(capitals) < len(words)
        and all(word[0].isupper() for word in words)
    )


def _looks_numbered(value: str) -> bool:
    return sum(map(str.isdigit, value)) * 2 >= len(value.replace(" ", ""))


def _like_cards(values: Sequence[str]) -> bool:
    """Numbers of one length that begin alike and end differently, or that carry a check digit; no two alike."""
    numbers = [value.replace(" ", "") for value in values]
    if len(set(numbers)) * 10 < len(numbers) * 9 or any(not number.isalnum() for number in numbers):
        return False
    if not all(any(map(str.isdigit, number)) and 6 <= len(number) <= 24 for number in numbers):
        return False
    if len(numbers) > 1 and len(set(map(len, numbers))) == 1 and len({number[:3] for number in numbers}) == 1:
        return True
    return all(number.isdigit() and (_luhn(number) or _ean(number)) for number in numbers)


def _luhn(number: str) -> bool:
    doubled = (divmod(int(digit) * 2, 10) for digit in number[-2::-2])
    return (sum(map(int, number[::-2])) + sum(map(sum, doubled))) % 10 == 0


def _ean(number: str) -> bool:
    return (
        len(number) in {8, 12, 13}
        and (sum(map(int, number[::-2])) + 3 * sum(map(int, number[-2::-2]))) % 10 == 0
    )


def _understood(read, *words) -> bool:
    try:
        read(*words)
    except NotUnderstood:
        return False
    return True


# What stands in a column that is rightly called so: wider than what tells a column without a name.
_EXPECTED: dict[str, Callable[[str], bool]] = {
    "email": _matches(_EMAIL),
    "phone": _matches(_PHONE),
    "postcode": lambda value: len(value) <= 12 and any(map(str.isdigit, value)),
    "street": lambda value: any(map(str.isalpha, value)) and "@" not in value,
    "birth_date": lambda value: (
        _DAY.fullmatch(value) is not None or birth_date(day_of_serial(value)) is not None
    ),
    "stated_at": _dated,
    "consent_at": _dated,
    "city": _worded,
    "first_name": _worded,
    "last_name": _worded,
    "full_name": _worded,
    "store_code": lambda value: len(value) <= 40 and "@" not in value and _MONEY.fullmatch(value) is None,
}
# Not one fitting value: whatever the name says, it is something else.
_MUST_FIT = frozenset(
    {"email", "phone", "stated_at", "consent_at", "first_name", "last_name", "full_name", "city"}
)


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
            told = {"field": FIELD_NAMES[field], "column": used[field]}
            raise WrongMapping(column, _("«%(field)s» is already read from the column «%(column)s»") % told)
        if field != IGNORE:
            used[field] = column
    return {column: mapping.get(column, IGNORE) for column in header}


def check_answers(answers: Mapping[str, Mapping[str, bool | None]], mapping: Mapping[str, str]) -> None:
    """Raises `WrongMapping` for an answer that no column of consents holds."""
    for column, said in answers.items():
        if mapping.get(column) not in CONSENTS:
            raise WrongMapping(column, _("holds no consents: no word in it can be an answer"))
        if not all(answer is None or isinstance(answer, bool) for answer in said.values()):
            raise WrongMapping(column, _("a word says yes, no or nothing"))


@dataclass(frozen=True)
class Problem:
    """What is wrong with a mapping. One that `stops` has to be mended before the file can be taken in."""

    message: str
    stops: bool = False


def problems(
    mapping: Mapping[str, str],
    *,
    odd_words: Mapping[str, Collection[str]] | None = None,
    has_wording: bool = False,
    has_date: bool = False,
    ids_of_content: bool = False,
) -> list[Problem]:
    """What a person should know before the file is taken in with this mapping.

    `odd_words` are those nobody has said the meaning of, by column; `has_wording` and `has_date`: what was shown to
    those who agreed, and when, is said for the whole file.
    """
    fields = set(mapping.values())
    found = []
    if "external_id" not in fields and not ids_of_content:
        found.append(
            Problem(_("No column holds the id at the source: choose the one that never changes."), stops=True)
        )
    if not fields & TELLING:
        found.append(Problem(_("No column holds a name, an e-mail, a phone or a card."), stops=True))
    for column, words in (odd_words or {}).items():
        if words:
            told = {"column": column, "words": ", ".join(f"«{word}»" for word in list(words)[:5])}
            message = _(
                "«%(column)s» holds words that say neither yes nor no (%(words)s): rows with them are refused until"
                " somebody says what they mean."
            )
            found.append(Problem(message % told))
    dated = bool(fields & {"consent_at", "stated_at"}) or has_date
    if fields & PROVEN and "consent_wording" not in fields:
        if not has_wording:
            message = _(
                "Consents come without the words that were shown. A yes to e-mails or text messages is left out for"
                " want of proof; a no is taken. Choose the column of the words, or give them for the whole file."
            )
            found.append(Problem(message))
        elif not dated:
            message = _(
                "Consents come without a date. A yes to e-mails or text messages is left out for want of proof; a no"
                " is taken. Choose the column of the date, or give the day for the whole file."
            )
            found.append(Problem(message))
    elif fields & set(CONSENTS) and not dated:
        found.append(Problem(_("Consents come without a date: the time of the import will stand for it.")))
    return found
