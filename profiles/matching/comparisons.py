"""Comparisons: how alike two values of one field are, as a named level.

Each function takes two normalised values, is symmetric, and returns ``None`` where one of them is missing: a missing
value is evidence for nothing. Level names are the rows of the tables in :mod:`profiles.matching.weights`.
"""

from datetime import date
from functools import lru_cache

from rapidfuzz.distance import OSA, JaroWinkler
from rapidfuzz.fuzz import token_set_ratio

from profiles import normalise
from profiles.matching.records import Comparable

NAME_LEVELS = ("exact", "close", "similar", "short", "initial", "weak", "other")
BIRTH_LEVELS = ("exact", "typo", "partial", "same_year", "other")
EMAIL_LEVELS = ("exact", "typo", "same_user", "similar_user", "other")
NUMBER_LEVELS = ("exact", "typo", "two_typos", "other")
ADDRESS_LEVELS = (
    "same_address", "same_street", "neighbouring_number", "same_postcode", "other_street", "near",
    "same_department", "elsewhere",
)  # fmt: skip

# Endings that turn a man's given name into a woman's: (masculine, feminine) after a shared beginning.
_GENDERED_ENDINGS = frozenset(
    {
        ("", "e"),  # Louis, Louise
        ("", "ne"),  # Fabien, Fabienne
        ("", "le"),  # Daniel, Danielle
        ("", "ine"),  # Paul, Pauline
        ("", "ette"),  # Paul, Paulette
        ("", "a"),  # Carl, Carla
        ("n", ""),  # Julien, Julie
        ("c", "que"),  # Frédéric, Frédérique
        ("o", "a"),  # Léo, Léa
        ("as", "e"),  # Nicolas, Nicole
        ("as", "ie"),  # Lucas, Lucie
        ("e", "ie"),  # Stéphane, Stéphanie
        ("e", "ine"),  # Claude, Claudine
        ("e", "ette"),  # Claude, Claudette
        ("es", "ie"),  # Jules, Julie
        ("es", "otte"),  # Charles, Charlotte
        ("rd", "dette"),  # Bernard, Bernadette
        ("s", "line"),  # Jacques, Jacqueline
        ("s", "tte"),  # Georges, Georgette
        ("t", "ce"),  # Laurent, Laurence
        ("y", "ie"),  # Valéry, Valérie
    }
)


@lru_cache(maxsize=1 << 17)
def name(a: str, b: str) -> str | None:
    """Level of two surnames, or of two given names regardless of gender."""
    if not a or not b:
        return None
    if a == b or a.replace(" ", "") == b.replace(" ", ""):
        return "exact"
    if len(a) == 1 or len(b) == 1:
        return "initial" if a[0] == b[0] else "other"
    short, long = sorted((a, b), key=lambda text: (len(text), text))
    likeness = JaroWinkler.similarity(short, long)
    words_short, words_long = set(short.split()), set(long.split())
    if words_short < words_long:
        return "short"
    if likeness >= 0.92 and abs(len(a) - len(b)) <= 2:
        return "close"
    if likeness >= 0.85 and abs(len(a) - len(b)) <= 2:
        return "similar"
    if len(short) >= 3 and (long.startswith(short) or long.endswith(short)):
        return "short"
    return "weak" if likeness >= 0.7 else "other"


@lru_cache(maxsize=1 << 17)
def first_name(a: str, b: str) -> str | None:
    """As :func:`name`, but a usual short form is ``short``, and Paul and Pauline are two persons: ``other``."""
    level = name(a, b)
    if level in (None, "exact", "initial"):
        return level
    if (
        normalise.full_form(a) == b
        or normalise.full_form(b) == a
        or normalise.full_form(a) == normalise.full_form(b)
    ):
        return "short"
    if differ_by_gender(a, b):
        return "other"
    return level


def differ_by_gender(a: str, b: str) -> bool:
    """Whether two given names are a masculine and a feminine form, such as Louis and Louise or Léo and Léa."""
    shared = 0
    for left, right in zip(a, b, strict=False):
        if left != right:
            break
        shared += 1
    if shared < 2:
        return False
    # The ending may begin a letter or more before the first difference (Nicolas, Nicole).
    return any(
        (a[cut:], b[cut:]) in _GENDERED_ENDINGS or (b[cut:], a[cut:]) in _GENDERED_ENDINGS
        for cut in range(max(2, shared - 2), shared + 1)
    )


def birth_date(a: date | None, b: date | None) -> str | None:
    if a is None or b is None:
        return None
    if a == b:
        return "exact"
    x, y = a.isoformat(), b.isoformat()
    distance = OSA.distance(x, y)
    if distance <= 1 or (a.year == b.year and a.month == b.day and a.day == b.month):
        return "typo"
    same_month_or_day = a.month == b.month or a.day == b.day
    if x[5:] == y[5:] or (a.year == b.year and (same_month_or_day or distance <= 2)):
        return "partial"
    return "same_year" if a.year == b.year else "other"


def email(a: str, b: str) -> str | None:
    """Two match keys (``user@domain``)."""
    if not a or not b:
        return None
    if a == b:
        return "exact"
    user_a, user_b = a.partition("@")[0], b.partition("@")[0]
    if user_a == user_b:
        return "same_user"
    if OSA.distance(a, b, score_cutoff=1) <= 1:
        return "typo"
    return "similar_user" if JaroWinkler.similarity(*sorted((user_a, user_b))) >= 0.88 else "other"


def number(a: str, b: str) -> str | None:
    """Two phone or card numbers, which are typed by hand."""
    if not a or not b:
        return None
    distance = OSA.distance(a, b, score_cutoff=2)
    return NUMBER_LEVELS[min(distance, 3)]


def customer_ids(a: frozenset[str], b: frozenset[str]) -> str | None:
    """``source:number`` sets: only numbers of one source can be compared."""
    if a & b:
        return "exact"
    sources = {value.partition(":")[0] for value in a} & {value.partition(":")[0] for value in b}
    return "other" if sources else None


def devices(a: frozenset[str], b: frozenset[str]) -> str | None:
    if not a or not b:
        return None
    return "exact" if a & b else "other"


@lru_cache(maxsize=1 << 16)
def _streets(a: str, b: str) -> bool:
    return a == b or token_set_ratio(*sorted((a, b))) >= 88


def address(a: Comparable, b: Comparable) -> str | None:
    """Street, number, postcode and town as one comparison: they agree together or not at all, and counting each of
    them as independent evidence would count one fact four times."""
    town = _town(a, b)
    if a.street and b.street and town in (None, "same_postcode", "near") and _streets(a.street, b.street):
        if not a.street_number or not b.street_number:
            return "same_street" if town else None
        if a.street_number == b.street_number:
            return "same_address"
        typo = OSA.distance(a.street_number, b.street_number, score_cutoff=1) <= 1
        return "neighbouring_number" if typo else "same_street"
    if town == "same_postcode" and a.street and b.street:
        return "other_street"
    return town


def _town(a: Comparable, b: Comparable) -> str | None:
    if a.postcode and b.postcode:
        if a.postcode == b.postcode:
            return "same_postcode"
        if (a.city and a.city == b.city) or OSA.distance(a.postcode, b.postcode, score_cutoff=1) <= 1:
            return "near"
        return "same_department" if a.postcode[:2] == b.postcode[:2] else "elsewhere"
    if a.city and b.city:
        return (
            "near"
            if a.city == b.city or JaroWinkler.similarity(*sorted((a.city, b.city))) >= 0.93
            else "elsewhere"
        )
    return None
