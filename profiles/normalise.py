"""From what a person or a till typed to a form in which two values can be compared.

Every function takes one raw string and gives a comparable value, or ``None`` when the string says nothing: empty,
unreadable, or a placeholder somebody typed to get past a mandatory field. None of them raises on any string, none
reads a database or the network, and each is idempotent: normalising a result again changes nothing.

Raw values are kept by the caller; nothing here is meant to replace what a source said.
"""

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache

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


def _spaces(text: str) -> str:
    return " ".join(text.split())


def _plain(text: str) -> str:
    """Lower case without accents; one form for every way of writing the same letters."""
    folded = unicodedata.normalize("NFKD", text).casefold().translate(_LETTERS)
    return "".join(c for c in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(c))


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


@dataclass(frozen=True, slots=True)
class Email:
    """``address`` can be written to; ``key`` is equal for one mailbox; ``suggestion`` is an address to propose, never
    applied by itself, where the domain looks mistyped (else None)."""

    address: str
    key: str
    suggestion: str | None = None


@lru_cache(maxsize=4096)
def _suggested_domain(domain: str) -> str | None:
    if domain in _COMMON_DOMAINS:
        return None
    if domain in _DOMAIN_TYPOS:
        return _DOMAIN_TYPOS[domain]
    near = [known for known in _COMMON_DOMAINS if OSA.distance(domain, known, score_cutoff=1) <= 1]
    return near[0] if len(near) == 1 else None


def email(raw: str) -> Email | None:
    """One mailbox, checked for syntax only: no name server is asked."""
    text = _spaces(unicodedata.normalize("NFC", raw)).strip("<>;,. ").removeprefix("mailto:").lower()
    if "@" not in text or len(text) > 254:
        return None
    try:
        valid = validate_email(text.replace(" ", ""), check_deliverability=False)
    except (EmailNotValidError, UnicodeError):
        return None
    address = unicodedata.normalize("NFC", valid.normalized.lower())
    user, _, domain = address.rpartition("@")
    bare = re.sub(r"[^\w]|_", "", user)
    if bare in _JUNK_USERS or domain in _JUNK_DOMAINS or (len(set(bare)) == 1 and len(bare) > 1) or not bare:
        return None
    key_user, key_domain = user, _DOTS_IGNORED.get(domain, domain)
    if key_domain in _TAGS_IGNORED:
        key_user = user.split("+")[0] or user
    if key_domain in _DOTS_IGNORED:
        key_user = key_user.replace(".", "") or user
    better = _suggested_domain(domain)
    return Email(address, f"{key_user}@{key_domain}", f"{user}@{better}" if better else None)


# Phone ----------------------------------------------------------------------------------------------------------

# France and the overseas regions dial each other as one country ("0692…" from Paris rings in La Réunion).
FRENCH_REGIONS = ("FR", "RE", "GP", "MQ", "GF", "YT", "PM", "BL", "MF")
_DUMMY_NUMBERS = frozenset({"123456789", "102030405", "234567890", "987654321", "1234567890"})


@dataclass(frozen=True, slots=True)
class Phone:
    """``e164`` as in ``+33612345678``; ``personal`` is true for a mobile number, false for one that a household or a
    company shares."""

    e164: str
    personal: bool


def phone(raw: str, region: str = "FR") -> Phone | None:
    """A number as dialled in ``region`` (ISO country code of the store); a lost leading zero is forgiven."""
    return _phone(raw, region) if len(raw) <= 60 else None


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
        if _is_dummy(str(number.national_number)):
            return None
        if phonenumbers.is_valid_number(number):
            return _as_phone(number)
        # A range not yet in the metadata is still a number somebody gave: keep it, in the store's own region.
        if possible is None and phonenumbers.is_possible_number(number) and _reads_back(number):
            possible = number
    return _as_phone(possible) if possible else None


def _reads_back(number: phonenumbers.PhoneNumber) -> bool:
    """Whether the number's E.164 form is the number: not so where leading zeros were lost to a doubtful prefix."""
    written = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    try:
        again = phonenumbers.parse(written, None)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.format_number(again, phonenumbers.PhoneNumberFormat.E164) == written


def _is_dummy(national: str) -> bool:
    return len(set(national)) <= 2 or national in _DUMMY_NUMBERS


def _as_phone(number: phonenumbers.PhoneNumber) -> Phone:
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    kind = phonenumbers.number_type(number)
    if kind == phonenumbers.PhoneNumberType.UNKNOWN:
        return Phone(e164, re.match(r"\+33[67]", e164) is not None)
    mobile = (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE)
    return Phone(e164, kind in mobile)


# Names ----------------------------------------------------------------------------------------------------------

_LOWER_PARTICLES = frozenset({"de", "du", "des", "d"})


def name_key(raw: str) -> str:
    """Accentless lower-case letters, words separated by one space; the empty string where there is no letter."""
    plain = _plain(raw.translate(_APOSTROPHES))
    return _spaces("".join(c if c.isalpha() else " " for c in plain))


def first_name(raw: str) -> str | None:
    """``JEAN-PIERRE`` and ``jean-pierre`` become ``Jean-Pierre``; a civility is dropped."""
    return _display_name(raw, particles=False)


def last_name(raw: str) -> str | None:
    """``DE LA FONTAINE`` becomes ``de La Fontaine``; ``o'neil`` becomes ``O'Neil``; ``McDonald`` is kept."""
    return _display_name(raw, particles=True)


def _display_name(raw: str, particles: bool) -> str | None:
    text = unicodedata.normalize("NFC", raw.translate(_APOSTROPHES))
    text = _spaces("".join(c if c.isalpha() or unicodedata.combining(c) or c in "'-" else " " for c in text))
    text = re.sub(r"-{2,}", "-", re.sub(r"'{2,}", "'", re.sub(r"\s*-\s*", "-", text))).strip("-' ")
    words = text.split(" ")
    while len(words) > 1 and _plain(words[0]) in TITLES and (len(words[0]) > 1 or particles):
        words = words[1:]
    key = name_key(" ".join(words))
    if not key or key in PLACEHOLDER_PHRASES or set(key.split()) <= PLACEHOLDER_WORDS:
        return None
    if len(key) > 2 and len(set(key)) == 1:
        return None
    shown = " ".join(_recased(word, particles and len(words) > 1) for word in words)
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


# Short forms that are not the beginning of the name; those that are (Fred, Alex, Seb) need no table.
_NICKNAMES: dict[str, str] = {
    "babette": "elisabeth", "bea": "beatrice", "bebert": "albert", "betty": "elisabeth", "bill": "william",
    "bob": "robert", "cathie": "catherine", "cathy": "catherine", "coco": "corinne", "cricri": "christine",
    "dany": "daniel", "dede": "andre", "didi": "didier", "drine": "sandrine", "fanchon": "francoise",
    "gaby": "gabriel", "gege": "gerard", "gigi": "ghislaine", "jacky": "jacques", "jeannot": "jean", "jef": "joseph",
    "jojo": "joseph", "kathy": "catherine", "kiki": "christian", "lolo": "laurent", "loulou": "louis",
    "lulu": "lucien", "mado": "madeleine", "mick": "michel", "mike": "michel", "milou": "emile", "momo": "maurice",
    "nad": "nadine", "nanou": "anne", "nini": "virginie", "ninou": "virginie", "nono": "arnaud", "pepe": "joseph",
    "pierrot": "pierre", "rico": "eric", "riri": "henri", "titi": "thierry", "tof": "christophe", "tom": "thomas",
    "tonio": "antoine", "tony": "antoine", "zabou": "isabelle", "zaza": "isabelle",
}  # fmt: skip


def full_form(key: str) -> str:
    """The given name a usual nickname stands for, in name_key form; the name itself where none is known."""
    return _NICKNAMES.get(key, key)


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
    "ch": "chemin", "che": "chemin", "chem": "chemin", "crs": "cours", "dom": "domaine", "esp": "esplanade",
    "fg": "faubourg", "fbg": "faubourg", "ham": "hameau", "imp": "impasse", "ld": "lieu dit", "lot": "lotissement",
    "mte": "montee", "pas": "passage", "pass": "passage", "pl": "place", "plc": "place", "prom": "promenade",
    "pte": "porte", "q": "quai", "qu": "quai", "quart": "quartier", "r": "rue", "res": "residence", "rle": "ruelle",
    "rpt": "rond point", "rte": "route", "sen": "sentier", "sent": "sentier", "sq": "square", "vla": "villa",
}  # fmt: skip
_STREET_WORDS = {
    "st": "saint", "ste": "sainte", "gal": "general", "gen": "general", "gl": "general", "mal": "marechal",
    "cdt": "commandant", "cne": "capitaine", "col": "colonel", "dr": "docteur", "pdt": "president",
    "prof": "professeur",
    "pr": "professeur", "lt": "lieutenant", "nd": "notre dame", "fbg": "faubourg",
}  # fmt: skip
_NUMBER_SUFFIXES = {"b": "bis", "t": "ter"}
_MONTH_NAMES = "janvier|fevrier|mars|avril|mai|juin|juillet|aout|septembre|octobre|novembre|decembre"
# A single letter after the number is a suffix, unless it abbreviates what follows ("4 r Pasteur", "4 q de Seine").
_NUMBER = re.compile(r"^(?:n\s)?(\d{1,5})\s?(bis|ter|quater|[a-ft])?(?=\s|$)")
# "8 mai 1945" is a street named after a day, not the number 8 of a street called "mai 1945".
_LEADING_NUMBERS = re.compile(
    rf"^(?:(?:n\s)?\d{{1,5}}\s?(?:bis|ter|quater|[a-ft])?\s(?!(?:{_MONTH_NAMES})\b))+"
)


@dataclass(frozen=True, slots=True)
class Street:
    """``number`` as ``12 bis`` or None; ``name`` as ``rue de la republique``."""

    number: str | None
    name: str


def _address_words(raw: str) -> str:
    plain = _plain(raw.translate(_APOSTROPHES))
    return _spaces("".join(c if c.isalnum() else " " for c in plain))


def street_number(raw: str) -> str | None:
    """``12BIS``, ``12 b`` and ``n° 12 bis`` become ``12 bis``; None where there is no number."""
    found = _NUMBER.match(_address_words(_without_decimal_zero(raw.strip()).replace("°", " ")))
    if not found or int(found[1]) == 0:
        return None
    suffix = _NUMBER_SUFFIXES.get(found[2] or "", found[2] or "")
    return f"{int(found[1])} {suffix}".strip()


def street(raw: str) -> Street | None:
    """The street line of a French address, the abbreviations of the postal standard spelt out."""
    text = _address_words(raw.replace("°", " "))
    # "12-14 rue" has two numbers and is known by its first.
    numbers = _LEADING_NUMBERS.match(text)
    number = street_number(text) if numbers else None
    text = text[numbers.end() :] if numbers else text
    words = text.split()
    if not words or not any(c.isalpha() for c in text) or " ".join(words) in PLACEHOLDER_WORDS:
        return None
    words[0] = _STREET_TYPES.get(words[0], words[0]) if len(words) > 1 else words[0]
    spelt = [words[0], *(_STREET_WORDS.get(word, word) for word in words[1:])]
    return Street(number, " ".join(spelt))


def postcode(raw: str) -> str | None:
    """Five digits for France (a lost leading zero is given back); other countries' codes in capitals."""
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


def city(raw: str) -> str | None:
    """``ST-ETIENNE CEDEX 2`` becomes ``saint etienne``; an arrondissement is left to the postcode."""
    text = re.sub(r"\bs/\s?", " sur ", _plain(raw.translate(_APOSTROPHES)))
    words = _spaces("".join(c if c.isalnum() else " " for c in text))
    words = re.sub(r"\bcedex\b.*$", "", words).strip()
    words = re.sub(r"\b\d+\s?(er|e|eme)?\b( arrondissement)?", " ", words)
    spelt = [{"st": "saint", "ste": "sainte"}.get(word, word) for word in words.split()]
    key = " ".join(word for word in spelt if not word.isdigit())
    if len(key) < 2 or not any(c.isalpha() for c in key) or key in PLACEHOLDER_WORDS | PLACEHOLDER_PHRASES:
        return None
    return key


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


def birth_date(raw: str, today: date | None = None) -> date | None:
    """A day of birth, day before month as in France. Days to come, before 1900 and default days are None.

    ``today`` is for callers who know the brand's zone, and for tests; without it, today in UTC.
    """
    # A day in the store's zone or the server's: at the edge of "not born yet" it makes no difference.
    today = today or datetime.now(tz=UTC).date()
    text = _spaces(_plain(raw))
    text = re.sub(r"[t ]\d{1,2}:\d{2}.*$", "", text)
    year_first = re.fullmatch(
        r"(\d{4})[-/. ]?(\d{2})[-/. ]?(\d{2})|(\d{4})[-/. ](\d{1,2})[-/. ](\d{1,2})", text
    )
    day_first = re.fullmatch(r"(\d{1,2})[-/. ](\d{1,2})[-/. ](\d{4}|\d{2})|(\d{2})(\d{2})(\d{4})", text)
    in_words = re.fullmatch(r"(\d{1,2})(?:er)? ([a-z]+)\.? (\d{4})", text)
    if in_words and in_words[2] in _MONTHS:
        parts = (int(in_words[3]), _MONTHS[in_words[2]], int(in_words[1]))
    elif year_first and 1800 <= int(text[:4]) <= today.year + 1:
        year, month, day = (int(g) for g in year_first.groups() if g is not None)
        parts = (year, month, day)
    elif day_first:
        day, month, year = (int(g) for g in day_first.groups() if g is not None)
        if year < 100:
            year += 2000 if year <= today.year % 100 else 1900
        parts = (year, month, day)
    else:
        return None
    try:
        born = date(*parts)
    except ValueError:
        return None
    if born in _DEFAULT_DATES or not OLDEST_BIRTH <= born <= today:
        return None
    return born


def card(raw: str) -> str | None:
    """A loyalty card number: capitals and digits without separators; at least four characters, not all alike."""
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
    if not text or text.strip("0-") == "" or _plain(text) in PLACEHOLDER_WORDS:
        return None
    return text
