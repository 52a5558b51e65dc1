"""From what a person or a till typed to a form in which two values can be compared.

Every function takes one raw string and gives a comparable value, or ``None`` when the string says nothing: empty,
unreadable, or a placeholder somebody typed to get past a mandatory field. None of them raises on any string, none
reads a database or the network, and each is idempotent: normalising a result again changes nothing.

Raw values are kept by the caller; nothing here is meant to replace what a source said.

An importer asks these functions for millions of rows. So the common forms (an address in ASCII, a French number, a name
of one word) take a short way that gives what the long way would, which a property test holds; and values that repeat
(names, towns, postcodes, days) are remembered.
"""

import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache, wraps
from typing import NamedTuple, TypeVar

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from rapidfuzz.distance import OSA

# Words typed in place of a value, in name_key form. Short real surnames (Na, Ng) must not stand here.
PLACEHOLDER_WORDS = frozenset(
    """
    anonyme anonymous aucun aucune client cliente inconnu inconnue neant nc nd nr none null nom prenom sans test tests
    undefined unknown vide
    """.split()
)
PLACEHOLDER_PHRASES = frozenset(
    {"pas de nom", "sans nom", "sans prenom", "non communique", "non renseigne", "n a"}
)

TITLES = frozenset({"m", "mr", "mme", "mlle", "monsieur", "madame", "mademoiselle", "mrs", "ms"})

# Letters that Unicode decomposition leaves alone although French readers see a plain letter.
_LETTERS = str.maketrans({"œ": "oe", "æ": "ae", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})
_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "`": "'", "´": "'", "ʼ": "'"})


# Values longer than this are no names or towns, and not worth the room in memory.
_LONGEST_REMEMBERED = 120
T = TypeVar("T")


def _remembered(function: Callable[[str], T]) -> Callable[[str], T]:
    """Keep the answers for the values asked last: first names, towns and postcodes repeat."""
    known = lru_cache(maxsize=65536)(function)

    @wraps(function)
    def asked(raw: str) -> T:
        return known(raw) if len(raw) <= _LONGEST_REMEMBERED else function(raw)

    return asked


def _spaces(text: str) -> str:
    return " ".join(text.split())


def _decomposed(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text).casefold().translate(_LETTERS)
    return "".join(c for c in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(c))


# The letters that French texts are made of, each with its plain form: one pass instead of two decompositions.
_PLAIN_LETTERS = {code: _decomposed(chr(code)) for code in range(0xC0, 0x180)}


def plain(text: str) -> str:
    """Lower case without accents; one form for every way of writing the same letters."""
    if text.isascii():
        return text.lower()
    quick = text.translate(_PLAIN_LETTERS)
    return quick.lower() if quick.isascii() else _decomposed(text)


def straight(text: str) -> str:
    """The text with one kind of apostrophe."""
    return text if text.isascii() and "`" not in text else text.translate(_APOSTROPHES)


def _without_decimal_zero(text: str) -> str:
    """Spreadsheets turn an identifier into a number and write it back as ``612345678.0``."""
    return text[:-2] if text.endswith(".0") and text[:-2].isdigit() else text


# E-mail ---------------------------------------------------------------------------------------------------------

# Domains where a mailbox with dots or a "+tag" is the same mailbox.
_DOTS_IGNORED = {"gmail.com": "gmail.com", "googlemail.com": "gmail.com"}
_TAGS_IGNORED = frozenset(
    "gmail.com outlook.com outlook.fr hotmail.com hotmail.fr live.com live.fr icloud.com me.com proton.me"
    " protonmail.com fastmail.com".split()
)
_COMMON_DOMAINS = (
    "gmail.com orange.fr hotmail.fr hotmail.com free.fr yahoo.fr yahoo.com wanadoo.fr sfr.fr laposte.net outlook.fr"
    " outlook.com live.fr icloud.com bbox.fr neuf.fr"
).split()
# Spellings that are real words or real neighbours of several domains, so that a distance alone would not decide.
_DOMAIN_TYPOS = {
    "gmail.fr": "gmail.com",
    "gmail.co": "gmail.com",
    "hotmail.con": "hotmail.com",
    "orange.com": "orange.fr",
}
_JUNK_USERS = frozenset(
    """
    adresse aucun aucune azerty email inconnu inconnue mail monmail nc nomail noemail none noreply nospam null
    pasdadresse pasdeadresse pasdemail pasdmail pasmail sansadresse sansemail sansmail test tests toto xxx refus client
    """.split()
)
_JUNK_DOMAINS = frozenset(
    {"test.com", "test.fr", "example.com", "example.fr", "noemail.fr", "nomail.fr", "email.com"}
)


class Email(NamedTuple):
    """``address`` can be written to; ``key`` is equal for one mailbox; ``suggestion`` is an address to propose, never
    applied by itself, where the domain looks mistyped (else None)."""

    address: str
    key: str
    suggestion: str | None = None


def _suggested_domain(domain: str) -> str | None:
    if domain in _COMMON_DOMAINS:
        return None
    if domain in _DOMAIN_TYPOS:
        return _DOMAIN_TYPOS[domain]
    near = [known for known in _COMMON_DOMAINS if OSA.distance(domain, known, score_cutoff=1) <= 1]
    return near[0] if len(near) == 1 else None


def email(raw: str) -> Email | None:
    """One mailbox, checked for syntax only: no name server is asked."""
    common = _COMMON_ADDRESS.fullmatch(raw.strip().lower()) if raw.isascii() and len(raw) <= 254 else None
    if common is None or len(common[1]) > _LONGEST_USER or not _domain_is_usable(common[2]):
        return _any_email(raw)
    return _mailbox(common[1], common[2])


# What nearly every address looks like. The part behind the @ is shown to the library once and then remembered.
_COMMON_ADDRESS = re.compile(r"([a-z0-9]+(?:[._+-][a-z0-9]+)*)@([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\.[a-z]{2,})")
_LONGEST_USER = 64
_SIGNS_OF_USERS = str.maketrans("", "", "._+-")


@lru_cache(maxsize=65536)
def _domain_is_usable(domain: str) -> bool:
    """Whether the library takes the domain, exactly as it stands."""
    try:
        valid = validate_email(f"a@{domain}", check_deliverability=False)
    except (EmailNotValidError, UnicodeError):
        return False
    return valid.normalized == f"a@{domain}"


def _any_email(raw: str) -> Email | None:
    text = _spaces(unicodedata.normalize("NFC", raw)).strip("<>;,. ").removeprefix("mailto:").lower()
    if "@" not in text or len(text) > 254:
        return None
    try:
        valid = validate_email(text.replace(" ", ""), check_deliverability=False)
    except (EmailNotValidError, UnicodeError):
        return None
    address = unicodedata.normalize("NFC", valid.normalized.lower())
    user, _, domain = address.rpartition("@")
    return _mailbox(user, domain)


def _mailbox(user: str, domain: str) -> Email | None:
    is_junk, key_domain, better = _told_of_domain(domain)
    bare = user.translate(_SIGNS_OF_USERS)
    if not bare.isalnum():
        bare = re.sub(r"[^\w]|_", "", bare)
    if is_junk or not bare or bare in _JUNK_USERS or (len(bare) > 1 and bare == bare[0] * len(bare)):
        return None
    key_user = user
    if "+" in user and key_domain in _TAGS_IGNORED:
        key_user = user.split("+", maxsplit=1)[0] or user
    if key_domain in _DOTS_IGNORED:
        key_user = key_user.replace(".", "") or user
    return Email(f"{user}@{domain}", f"{key_user}@{key_domain}", f"{user}@{better}" if better else None)


@lru_cache(maxsize=65536)
def _told_of_domain(domain: str) -> tuple[bool, str, str | None]:
    """Whether nobody has a mailbox there, the domain that counts for comparing, and the one that may be meant."""
    return domain in _JUNK_DOMAINS, _DOTS_IGNORED.get(domain, domain), _suggested_domain(domain)


# Phone ----------------------------------------------------------------------------------------------------------

# France and the overseas regions dial each other as one country ("0692…" from Paris rings in La Réunion).
FRENCH_REGIONS = ("FR", "RE", "GP", "MQ", "GF", "YT", "PM", "BL", "MF")
_DUMMY_NUMBERS = frozenset({"123456789", "102030405", "234567890", "987654321", "1234567890"})


class Phone(NamedTuple):
    """``e164`` as in ``+33612345678``; ``personal`` is true for a mobile number, false for one that a household or a
    company shares."""

    e164: str
    personal: bool


def phone(raw: str, region: str = "FR") -> Phone | None:
    """A number as dialled in ``region`` (ISO country code of the store); a lost leading zero is forgiven."""
    if region == "FR" and raw.isascii() and (common := _COMMON_NUMBER.fullmatch(raw.translate(_GAPS))):
        national: str = common[1] or common[2]
        if not is_dummy_number(national):
            return Phone("+33" + national, national[0] in "67")
        return None
    return _phone(raw, region) if len(raw) <= 60 else None


# The writings of nearly every number in France: in pairs or together, from home or from abroad, or without the zero
# that a spreadsheet has eaten. Only ranges that the library knows as valid in mainland France.
_GAPS = str.maketrans("", "", " .-")
_MAINLAND = (
    r"6(?:[0-24-8][0-9]|3[0-8])[0-9]{6}|7[4-8][0-9]{7}"  # mobiles
    r"|(?:1[0-9]|3[0-9]|2[0-57-8]|4[1-9]|5[0-8])[0-9]{7}"  # lines
)
_COMMON_NUMBER = re.compile(
    rf"(?:0|(?:\+33|0033)(?:0|\(0\))?)({_MAINLAND})|(6(?:[0-24-8][0-9]|3[0-8])[0-9]{{6}})"
)


@lru_cache(maxsize=65536)
def _phone(raw: str, region: str) -> Phone | None:
    text = _without_decimal_zero(_spaces(unicodedata.normalize("NFKC", raw)))
    digits = re.sub(r"[^0-9]", "", text)
    if not 6 <= len(digits) <= 17:
        return None
    if text.startswith("+") or digits.startswith("00"):
        text = "+" + (digits if text.startswith("+") else digits[2:])
    elif region in FRENCH_REGIONS and len(digits) == 11 and digits.startswith("33"):
        text = "+" + digits
    candidates = [(text, region)]
    if region in FRENCH_REGIONS:
        # "+33 692…" is La Réunion too: one subscriber must get one number however it was written.
        at_home = "0" + text[3:].lstrip("0") if text.startswith("+33") else text
        if not at_home.startswith("+"):
            candidates += [(at_home, other) for other in FRENCH_REGIONS if other != region]
    possible = None
    for dialled, candidate in candidates:
        try:
            number = phonenumbers.parse(dialled, candidate)
        except phonenumbers.NumberParseException:
            continue
        if is_dummy_number(str(number.national_number)):
            return None
        if phonenumbers.is_valid_number(number):
            return _as_phone(number)
        # A range not yet in the metadata is still a number somebody gave: keep it, in the store's own region.
        if possible is None and phonenumbers.is_possible_number(number) and _reads_back(number):
            possible = number
    return _as_phone(possible) if possible else None


def national_digits(digits: str) -> str:
    """What is dialled inside the country, of an international number without its ``+`` or of the beginning of one."""
    for length in (1, 2, 3):
        if digits[:length].isdecimal() and int(digits[:length]) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
            return digits[length:]
    return ""


def _reads_back(number: phonenumbers.PhoneNumber) -> bool:
    """Whether the number's E.164 form is the number: not so where leading zeros were lost to a doubtful prefix."""
    written = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    try:
        again = phonenumbers.parse(written, None)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.format_number(again, phonenumbers.PhoneNumberFormat.E164) == written


def is_dummy_number(national: str) -> bool:
    """Whether national digits were typed to fill a field."""
    return national in _DUMMY_NUMBERS or len(set(national)) <= 2


def _as_phone(number: phonenumbers.PhoneNumber) -> Phone:
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    kind = phonenumbers.number_type(number)
    if kind == phonenumbers.PhoneNumberType.UNKNOWN:
        return Phone(e164, re.match(r"\+33[67]", e164) is not None)
    mobile = (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE)
    return Phone(e164, kind in mobile)


# Names ----------------------------------------------------------------------------------------------------------

_LOWER_PARTICLES = frozenset({"de", "du", "des", "d"})


@_remembered
def name_key(raw: str) -> str:
    """Accentless lower-case letters, words separated by one space; the empty string where there is no letter."""
    text = plain(straight(raw))
    return (
        text
        if text.isascii() and text.isalpha()
        else _spaces("".join(c if c.isalpha() else " " for c in text))
    )


@_remembered
def first_name(raw: str) -> str | None:
    """``JEAN-PIERRE`` and ``jean-pierre`` become ``Jean-Pierre``; a civility is dropped."""
    return _display_name(raw, particles=False)


@_remembered
def last_name(raw: str) -> str | None:
    """``DE LA FONTAINE`` becomes ``de La Fontaine``; ``o'neil`` becomes ``O'Neil``; ``McDonald`` is kept."""
    return _display_name(raw, particles=True)


def match_key(first: str, last: str) -> str:
    """One key for a person's name written in full or short: ``J-Pierre DUPOND`` and ``Jean Pierre Dupond`` share it.

    Of a compound given name all parts but the last count by their initials; a name of one part stays whole. The family
    name is in ``name_key`` form, written together. It says that two names may be one, never that they are.
    """
    given = name_key(first_name(first) or "").split()
    family = name_key(last_name(last) or "").replace(" ", "")
    short = [part[0] for part in given[:-1]] + given[-1:]
    return " ".join([*short, family]).strip()


def _display_name(raw: str, particles: bool) -> str | None:
    if raw.isascii() and raw.isalpha() and len(raw) > 2:
        # One plain word: no civility, no particle, nothing to tidy.
        key = raw.lower()
        if key in PLACEHOLDER_WORDS or len(set(key)) == 1:
            return None
        return raw.capitalize() if raw.isupper() or raw.islower() else raw
    return _any_name(raw, particles)


def _any_name(raw: str, particles: bool) -> str | None:
    text = unicodedata.normalize("NFC", straight(raw))
    text = _spaces("".join(c if c.isalpha() or unicodedata.combining(c) or c in "'-" else " " for c in text))
    text = re.sub(r"-{2,}", "-", re.sub(r"'{2,}", "'", re.sub(r"\s*-\s*", "-", text))).strip("-' ")
    parts = text.split(" ")
    while len(parts) > 1 and plain(parts[0]) in TITLES and (len(parts[0]) > 1 or particles):
        parts = parts[1:]
    key = name_key(" ".join(parts))
    if not key or key in PLACEHOLDER_PHRASES or set(key.split()) <= PLACEHOLDER_WORDS:
        return None
    if len(key) > 2 and len(set(key)) == 1:
        return None
    shown = " ".join(_recased(part, particles and len(parts) > 1) for part in parts)
    return unicodedata.normalize("NFC", shown).strip("-' ") or None


def _recased(word: str, may_be_particle: bool) -> str:
    if may_be_particle and word.lower() in _LOWER_PARTICLES:
        return word.lower()
    parts = []
    for piece in re.split(r"([-'])", word):
        mixed = not (piece.isupper() or piece.islower())
        parts.append(piece if mixed else piece[:1].title() + piece[1:].lower())
    shown = "".join(parts)
    # "d'Ormesson", but "O'Neil" and "N'Diaye".
    return "d'" + shown[2:] if shown.startswith("D'") and len(shown) > 2 else shown


# Sound rules for French surnames, applied in order to lower-case letters. Capitals stand for sounds of more than one
# letter: X for "ch", E for "é", O for "o", U for "ou", A for "an", I for "in", N for "on", W for "oi".
_SOUNDS: list[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern), sound)
    for pattern, sound in [
        (r"^(de|d)(?= )", ""),
        (r" ", ""),
        (r"(.)\1+", r"\1"),
        (r"^h", ""),
        (r"sch|ch|sh", "X"),
        (r"ph", "f"),
        (r"bv", "v"),
        (r"gn", "n"),
        (r"th", "t"),
        (r"h", ""),
        (r"(eau|au|o)(l?[tdx]|lts|lds|ts|ds|xs|s)?$", "O"),
        (r"eau|au", "O"),
        (r"ou", "U"),
        (r"oi|oy", "W"),
        (r"(i|y)(er|ez|e|et|eres?|ere)$", "iE"),
        (r"(er|ez|ets?|ait|ay|ai|ey|ee|es|aix|ais)$", "E"),
        (r"(ain|ein|aim|yn|ym|in|im|un|um)(?![aeiouyEOU])", "I"),
        (r"(en|an|em|am)(?![aeiouyEOU])", "A"),
        (r"(on|om)(?![aeiouyEOU])", "N"),
        (r"ai|ei|ay|ey", "E"),
        (r"eu", "e"),
        (r"qu|q|ck|c(?![eiyE])", "k"),
        (r"c", "s"),
        (r"gu(?=[eiyE])", "G"),
        (r"g(?=[eiyE])", "j"),
        (r"ge(?=[aoOUAN])", "j"),
        (r"z|ss", "s"),
        (r"y", "i"),
        (r"w", "v"),
        (r"[tdspxe]+$", ""),
        (r"o", "O"),
        (r"e(?=.)", "E"),
        (r"(.)\1+", r"\1"),
    ]
]


@lru_cache(maxsize=65536)
def phonetic(raw: str) -> str:
    """A key shared by French surnames that sound alike: Lefèvre and Lefebvre, or Renault and Renaud."""
    key = name_key(raw)
    sounded = key
    for pattern, sound in _SOUNDS:
        sounded = pattern.sub(sound, sounded)
    return sounded or key.replace(" ", "")


# Address --------------------------------------------------------------------------------------------------------

_STREET_TYPES = {
    "all": "allee", "alle": "allee", "av": "avenue", "ave": "avenue", "aven": "avenue", "bd": "boulevard",
    "bld": "boulevard", "blvd": "boulevard", "boul": "boulevard", "bvd": "boulevard", "bl": "boulevard",
    "car": "carrefour", "carr": "carrefour", "ch": "chemin", "che": "chemin", "chem": "chemin", "chs": "chaussee",
    "cor": "corniche", "crs": "cours", "dom": "domaine", "dsc": "descente", "esp": "esplanade", "fg": "faubourg",
    "fbg": "faubourg", "gr": "grande rue", "ham": "hameau", "hle": "halle", "imp": "impasse", "ld": "lieu dit",
    "lot": "lotissement", "lieudit": "lieu dit", "mar": "marche", "mte": "montee", "pas": "passage", "pass": "passage",
    "pl": "place", "plc": "place", "pln": "plaine", "plt": "plateau", "prom": "promenade", "prv": "parvis",
    "pte": "porte", "q": "quai", "qu": "quai", "qua": "quartier", "quart": "quartier", "r": "rue", "res": "residence",
    "resid": "residence", "rle": "ruelle", "roc": "rocade", "rpt": "rond point", "rte": "route", "sen": "sentier",
    "sent": "sentier", "sq": "square", "tra": "traverse", "trav": "traverse", "ven": "venelle", "vla": "villa",
    "vlge": "village",
}  # fmt: skip
_STREET_WORDS = {
    "st": "saint", "ste": "sainte", "gal": "general", "gen": "general", "gl": "general", "mal": "marechal",
    "cdt": "commandant", "cne": "capitaine", "col": "colonel", "dr": "docteur", "pdt": "president",
    "prof": "professeur", "pr": "professeur", "lt": "lieutenant", "nd": "notre dame", "fbg": "faubourg",
    "amal": "amiral", "mgr": "monseigneur", "sgt": "sergent", "gd": "grand", "gde": "grande",
}  # fmt: skip
_NUMBER_SUFFIXES = {"b": "bis", "t": "ter"}
_MONTH_NAMES = "janvier|fevrier|mars|avril|mai|juin|juillet|aout|septembre|octobre|novembre|decembre"
# A single letter after the number is a suffix, unless it abbreviates what follows ("4 r Pasteur", "4 q de Seine").
_NUMBER = re.compile(r"^(?:n\s)?(\d{1,5})\s?(bis|ter|quater|quinquies|[a-ft])?(?=\s|$)")
# "8 mai 1945" is a street named after a day, not the number 8 of a street called "mai 1945".
_LEADING_NUMBERS = re.compile(
    rf"^(?:(?:n\s)?\d{{1,5}}\s?(?:bis|ter|quater|quinquies|[a-ft])?\s(?!(?:{_MONTH_NAMES})\b))+"
)


# A box at the post office stands behind the street it adds nothing to, and before the town it belongs to.
_BOX = re.compile(r"\b(?:bp|b p|cs|tsa|cidex)\s?\d+\b")


class Street(NamedTuple):
    """``number`` as ``12 bis`` or None; ``name`` as ``rue de la republique``."""

    number: str | None
    name: str


_ONLY_WORDS = {code: chr(code).lower() if chr(code).isalnum() else " " for code in range(0x80)}


def words(raw: str) -> str:
    """Accentless lower-case letters and digits, words separated by one space."""
    text = plain(straight(raw))
    if text.isascii():
        return " ".join(text.translate(_ONLY_WORDS).split())
    return _spaces("".join(c if c.isalnum() else " " for c in text))


def street_number(raw: str) -> str | None:
    """``12BIS``, ``12 b`` and ``n° 12 bis`` become ``12 bis``; None where there is no number."""
    return _number_of(words(_without_decimal_zero(raw.strip()).replace("°", " ")))


def _number_of(text: str) -> str | None:
    found = _NUMBER.match(text)
    if not found or int(found[1]) == 0:
        return None
    suffix = _NUMBER_SUFFIXES.get(found[2] or "", found[2] or "")
    return f"{int(found[1])} {suffix}".strip()


def street(raw: str) -> Street | None:
    """The street line of a French address, the abbreviations of the postal standard spelt out."""
    # Nearly every line is a number and a way: the number differs, the ways repeat.
    common = _COMMON_LINE.fullmatch(raw)
    if common and plain(common[4]) not in _NOT_A_WAY:
        name = _way(common[3])
        return Street(common[1] + common[2].lower(), name) if name else None
    return _any_street(raw)


_COMMON_LINE = re.compile(r"([1-9][0-9]{0,4})((?: bis| ter)?),? (([A-Za-zÀ-ÖØ-öø-ÿ]{2,}+).*)", re.IGNORECASE)
_NOT_A_WAY = frozenset(["bis", "ter", "quater", "quinquies", *_MONTH_NAMES.split("|")])


@_remembered
def _way(raw: str) -> str | None:
    return _street_name(words(raw.replace("°", " ")))


def _any_street(raw: str) -> Street | None:
    text = words(raw.replace("°", " "))
    # "12-14 rue" has two numbers and is known by its first.
    numbers = _LEADING_NUMBERS.match(text)
    name = _street_name(text[numbers.end() :] if numbers else text)
    return Street(_number_of(text) if numbers else None, name) if name else None


@_remembered
def _street_name(text: str) -> str | None:
    without_box = _spaces(_BOX.sub(" ", text))
    parts = (without_box if any(c.isalpha() for c in without_box) else text).split()
    if not parts or not any(c.isalpha() for c in text) or " ".join(parts) in PLACEHOLDER_WORDS:
        return None
    parts[0] = _STREET_TYPES.get(parts[0], parts[0]) if len(parts) > 1 else parts[0]
    return " ".join([parts[0], *(_STREET_WORDS.get(part, part) for part in parts[1:])])


@_remembered
def postcode(raw: str) -> str | None:
    """Five digits for France (a lost leading zero is given back); other countries' codes in capitals."""
    if len(raw) == 5 and raw.isascii() and raw.isdigit():
        return None if raw.startswith("00") or raw == "12345" or len(set(raw)) == 1 else raw
    return _any_postcode(raw)


def _any_postcode(raw: str) -> str | None:
    text = _without_decimal_zero(unicodedata.normalize("NFKC", raw).strip())
    code = "".join(c for c in text.upper() if c.isascii() and c.isalnum())
    code = re.sub(r"^(FR|F)(?=\d{5}$)", "", code)
    if re.fullmatch(r"2[AB]\d{3}", code):
        # Written with Corsica's département letters; the postal code itself has digits only.
        code = "20" + code[2:]
    if re.fullmatch(r"\d{4}", code):
        code = "0" + code
    if not 3 <= len(code) <= 10 or not any(c.isdigit() for c in code) or len(set(code)) == 1:
        return None
    if re.fullmatch(r"\d{5}", code) and (code.startswith("00") or code == "12345"):
        return None
    return code


@_remembered
def city(raw: str) -> str | None:
    """``ST-ETIENNE CEDEX 2`` becomes ``saint etienne``; an arrondissement is left to the postcode."""
    text = re.sub(r"\bs/\s?", " sur ", plain(straight(raw)))
    text = _spaces("".join(c if c.isalnum() else " " for c in text))
    text = re.sub(r"\bcedex\b.*$", "", _BOX.sub(" ", text)).strip()
    text = re.sub(r"\b\d+\s?(er|e|eme)?\b( arrondissement)?", " ", text)
    spelt = [{"st": "saint", "ste": "sainte"}.get(word, word) for word in text.split()]
    key = " ".join(word for word in spelt if not word.isdigit())
    if len(key) < 2 or not any(c.isalpha() for c in key) or key in PLACEHOLDER_WORDS | PLACEHOLDER_PHRASES:
        return None
    return key


# The towns of more than some 80,000 people, and the seats of the départements: where each lies. Several places for
# names that exist more than once. What is not in this table is not checked beyond its département.
_TOWNS = {
    town: frozenset(places.split("/"))
    for town, _separator, places in (
        entry.strip().partition(" = ")
        for entry in """
        paris = 75; marseille = 13; lyon = 69; toulouse = 31; nice = 06; nantes = 44; montpellier = 34;
        strasbourg = 67; bordeaux = 33; lille = 59; rennes = 35; reims = 51; toulon = 83; saint etienne = 42;
        le havre = 76; grenoble = 38; dijon = 21; angers = 49; villeurbanne = 69; nimes = 30; clermont ferrand = 63;
        aix en provence = 13; le mans = 72; brest = 29; tours = 37; amiens = 80; annecy = 74; limoges = 87; metz = 57;
        boulogne billancourt = 92; perpignan = 66; besancon = 25; orleans = 45; rouen = 76; montreuil = 93/62;
        argenteuil = 95; mulhouse = 68; caen = 14; nancy = 54; roubaix = 59; tourcoing = 59; nanterre = 92;
        vitry sur seine = 94; creteil = 94; avignon = 84; poitiers = 86; aubervilliers = 93; dunkerque = 59;
        aulnay sous bois = 93; colombes = 92; asnieres sur seine = 92; versailles = 78; courbevoie = 92;
        beziers = 34; la rochelle = 17; pau = 64; cherbourg en cotentin = 50; antibes = 06; cannes = 06;
        calais = 62; merignac = 33; drancy = 93; ajaccio = 2A; bastia = 2B; saint nazaire = 44; colmar = 68;
        noisy le grand = 93; issy les moulineaux = 92; evry courcouronnes = 91; venissieux = 69; cergy = 95;
        levallois perret = 92; valence = 26; pessac = 33; ivry sur seine = 94; quimper = 29; bourges = 18;
        troyes = 10; chambery = 73; niort = 79; lorient = 56; vannes = 56; laval = 53; albi = 81; arras = 62;
        bobigny = 93; carcassonne = 11; charleville mezieres = 08; chartres = 28; chateauroux = 36; beauvais = 60;
        blois = 41; epinal = 88; evreux = 27; gap = 05; gueret = 23; la roche sur yon = 85; laon = 02;
        le puy en velay = 43; lons le saunier = 39; macon = 71; melun = 77; mende = 48; mont de marsan = 40;
        montauban = 82; moulins = 03; nevers = 58; perigueux = 24; privas = 07; rodez = 12; saint brieuc = 22;
        saint lo = 50; tarbes = 65; tulle = 19; vesoul = 70; agen = 47; alencon = 61; angouleme = 16; auch = 32;
        aurillac = 15; auxerre = 89; bar le duc = 55; belfort = 90; bourg en bresse = 01; cahors = 46; foix = 09;
        chaumont = 52; digne les bains = 04; saint denis = 93/974; saint paul = 974/06/73; le tampon = 974;
        fort de france = 972; pointe a pitre = 971; les abymes = 971; basse terre = 971; cayenne = 973;
        mamoudzou = 976; saint martin = 978; noumea = 988; papeete = 987
        """.split(";")
    )
}
_DEPARTMENTS = frozenset(
    [f"{n:02}" for n in range(1, 96) if n != 20] + ["2A", "2B", "971", "972", "973", "974", "975", "976", "977", "978"]
    + ["980", "986", "987", "988"]  # Monaco and the Pacific, which France's post serves
)  # fmt: skip


def department(code: str) -> str | None:
    """The département of a French postcode: ``2A`` or ``2B`` for 20…, three digits overseas; None for other codes."""
    found = postcode(code)
    if found is None or not re.fullmatch("[0-9]{5}", found):
        return None
    if found.startswith("20"):
        return "2A" if found[2] in "01" else "2B"
    place = found[:3] if found[:2] in ("97", "98") else found[:2]
    return place if place in _DEPARTMENTS else None


def postcode_agrees(code: str, town: str) -> bool | None:
    """Whether a French postcode and a town can belong together; None where that cannot be told.

    There is no table of all towns here. A code of no département agrees with nothing; a town of the table above agrees
    with the codes of its département; of any other town nothing is said. Codes of firms (CEDEX) begin alike.
    """
    found = postcode(code)
    if found is None or not re.fullmatch("[0-9]{5}", found):
        return None
    place, name = department(found), city(town)
    if place is None:
        return False
    # Corsica's two halves share the prefix, and so do Saint-Martin and Saint-Barthélemy with Guadeloupe.
    known = _TOWNS.get(name or "")
    if known is None:
        return None
    return place in known or (place == "971" and bool(known & {"977", "978"}))


# Dates and numbers ----------------------------------------------------------------------------------------------

OLDEST_BIRTH = date(1900, 1, 2)
_DEFAULT_DATES = frozenset({date(1900, 1, 1), date(1970, 1, 1)})
_MONTHS = {
    name: number
    for number, names in enumerate(
        ["janvier janv", "fevrier fevr fev", "mars", "avril avr", "mai", "juin", "juillet juil", "aout",
         "septembre sept", "octobre oct", "novembre nov", "decembre dec"],
        start=1,
    )
    for name in names.split()
}  # fmt: skip


_EXCEL_DAY_ZERO = date(1899, 12, 30)
_DAY_MONTH_YEAR = re.compile(r"[0-9]{2}/[0-9]{2}/[1-9][0-9]{3}")
_WEEKDAYS = "lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche"
_CLOCK = re.compile(r"[t ][0-9]{1,2}:[0-9]{2}.*$")
_YEAR_FIRST = re.compile(
    r"([0-9]{4})[-/. ]?([0-9]{2})[-/. ]?([0-9]{2})|([0-9]{4})[-/. ]([0-9]{1,2})[-/. ]([0-9]{1,2})"
)
_DAY_FIRST = re.compile(
    r"([0-9]{1,2})[-/. ]([0-9]{1,2})[-/. ]([0-9]{4}|[0-9]{2})|([0-9]{2})([0-9]{2})([0-9]{4})"
)
_IN_WORDS = re.compile(
    rf"(?:(?:{_WEEKDAYS})\.? )?([0-9]{{1,2}})(?:er)?[ -]([a-z]+)\.?[ -]([0-9]{{4}}|[0-9]{{2}})"
)
_SERIAL = re.compile(r"[1-9][0-9]{4}(?:[.,]0*)?")


def birth_date(raw: str, today: date | None = None) -> date | None:
    """A day of birth, day before month as in France. Days to come, before 1900 and default days are None.

    Read are digits with or without separators, months in words (``3 mars 1980``) and the five-digit day numbers that
    spreadsheets write for dates (29283). Two digits of a year are the last year that has been.

    ``today`` is for callers who know the brand's zone, and for tests; without it, today in UTC.
    """
    # A day in the store's zone or the server's: at the edge of "not born yet" it makes no difference.
    return _birth_date(raw, today or datetime.now(tz=UTC).date()) if len(raw) <= _LONGEST_REMEMBERED else None


@lru_cache(maxsize=65536)
def _birth_date(raw: str, today: date) -> date | None:
    try:
        if _DAY_MONTH_YEAR.fullmatch(raw):
            born: date | None = date(int(raw[6:]), int(raw[3:5]), int(raw[:2]))
        else:
            born = _any_day(raw, today)
    except (ValueError, OverflowError):
        return None
    if born is None or born in _DEFAULT_DATES or not OLDEST_BIRTH <= born <= today:
        return None
    return born


def _any_day(raw: str, today: date) -> date | None:
    """The day that is written; ValueError where there is none in the calendar."""
    text = _CLOCK.sub("", _spaces(plain(raw)))
    year_first = _YEAR_FIRST.fullmatch(text)
    if year_first and 1800 <= int(text[:4]) <= today.year + 1:
        year, month, day = (int(g) for g in year_first.groups() if g is not None)
        return date(year, month, day)
    if day_first := _DAY_FIRST.fullmatch(text):
        day, month, year = (int(g) for g in day_first.groups() if g is not None)
        return date(_century(year, today), month, day)
    in_words = _IN_WORDS.fullmatch(text)
    if in_words and in_words[2] in _MONTHS:
        return date(_century(int(in_words[3]), today), _MONTHS[in_words[2]], int(in_words[1]))
    if _SERIAL.fullmatch(text) and len(set(text[:5])) > 1 and not text.startswith("12345"):
        return _EXCEL_DAY_ZERO + timedelta(days=int(text[:5]))
    return None


def _century(year: int, today: date) -> int:
    if year >= 100:
        return year
    return year + 2000 if year <= today.year % 100 else year + 1900


def card(raw: str) -> str | None:
    """A loyalty card number: capitals and digits without separators; at least four characters, not all alike."""
    if raw.isascii() and raw.isalnum() and len(raw) > 6:
        return raw.upper() if len(set(raw.upper())) > 1 else None
    return _any_card(raw)


def _any_card(raw: str) -> str | None:
    text = _without_decimal_zero(unicodedata.normalize("NFKC", raw).strip())
    if re.fullmatch(r"\d(?:[.,]\d+)?E\+\d+", text.upper()):
        # A spreadsheet has rounded it: several cards would become one.
        return None
    number = "".join(c for c in text.upper() if c.isascii() and c.isalnum())
    return (
        number
        if len(number) >= 4 and len(set(number)) > 1 and number not in {"1234", "12345", "123456"}
        else None
    )


def customer_id(raw: str) -> str | None:
    """A customer number given by a machine: compared exactly, but for case and spaces."""
    text = unicodedata.normalize("NFKC", "".join(unicodedata.normalize("NFKC", raw).split()).upper())
    text = _without_decimal_zero(text)
    if not text or text.strip("0-") == "" or plain(text) in PLACEHOLDER_WORDS:
        return None
    return text
