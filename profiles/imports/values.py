"""What the words in a cell mean: yes or no, a moment, a whole name. Pure: asks no database."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

from profiles.imports.spreadsheet import FORMULA_STARTS

_YES = frozenset(
    "oui o yes y 1 true vrai x ok v accepte accord optin opted abonne inscrit subscribed granted consent actif active"
    " on".split()
) | {"opt in", "d accord", "j accepte", "opt in actif", "optin actif", "opted in", "oui j accepte"}  # fmt: skip
_NO = frozenset(
    "non n no 0 false faux refuse refus optout desabonne desinscrit resilie unsubscribed denied stop inactif inactive"
    " off".split()
) | {"opt out", "opt out actif", "opt in inactif", "optin inactif", "opted out", "non inscrit", "non abonne",
     "not subscribed", "never subscribed"}  # fmt: skip
_NOT_SAID = frozenset({"", "nc", "nr", "nsp", "null", "none", "n a", "na", "inconnu", "unknown"})


class NotUnderstood(ValueError):
    """The cell holds something, but not what its column is said to hold."""


def plain(text: str) -> str:
    """Lower case without accents; whatever is neither letter nor digit becomes one space."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    letters = "".join(c if c.isalnum() else "" if unicodedata.combining(c) else " " for c in folded)
    return " ".join(letters.split())


# What is longer is neither an answer nor a date, and is not to be remembered.
_LONGEST = 100


def yes_or_no(text: str) -> bool | None:
    """An answer in French or English; None where nothing was said. Raises `NotUnderstood`: no answer is guessed."""
    if len(text) > _LONGEST:
        raise NotUnderstood(_("«%s» says neither yes nor no") % text.strip()[:40])
    return _yes_or_no(text)


@lru_cache(maxsize=8192)
def _yes_or_no(text: str) -> bool | None:
    word = plain(text)
    if word in _NOT_SAID:
        return None
    if word in _YES or text.strip() in {"✓", "✔"}:
        return True
    if word in _NO or word.rstrip("e") in _NO:
        return False
    if word.rstrip("e") in _YES:
        return True
    raise NotUnderstood(_("«%s» says neither yes nor no") % text.strip()[:40])


def word_of(text: str) -> str:
    """A word as answers are kept by: in lower case without accents, or as it stands where it is signs alone. A person
    who says what «???» means says nothing about empty cells."""
    return plain(text[:_LONGEST]) or text.strip()[:_LONGEST]


MOST_WORDS = 200


def unknown_answers(
    rows: Iterable[Mapping[str, str]], columns: Iterable[str] | None = None
) -> dict[str, Counter[str]]:
    """Column -> the words in it that say neither yes nor no, with how often each stands there.

    `rows` hold column -> text; of all their columns, or of those named, only those with such a word are told. A
    person who says what the words mean gives them to `Columns.of(..., answers=...)`. At most 200 words a column are
    kept: a column with more holds no answers.
    """
    wanted = None if columns is None else tuple(columns)
    unknown: dict[str, Counter[str]] = {}
    for row in rows:
        for column in row if wanted is None else wanted:
            word = row.get(column, "").strip()[:_LONGEST]
            try:
                yes_or_no(word)
            except NotUnderstood:
                counted = unknown.setdefault(column, Counter())
                if word in counted or len(counted) < MOST_WORDS:
                    counted[word] += 1
    return unknown


_DAY_FIRST = re.compile(
    r"(\d{1,2})[/. -](\d{1,2})[/. -](\d{4}|\d{2})(?:[ T,à]+(\d{1,2})[:h](\d{2})?(?::(\d{2}))?(?:[.,]\d+)?)?",
    re.I,
)
_IN_WORDS = re.compile(
    r"(?:[a-z]+ )?(\d{1,2})(?:er)? ([a-z]{3,9}) (\d{4})(?: (?:a )?(\d{1,2})[ h](\d{2})?(?: (\d{2}))?)?"
)
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})(?:(\d{2})(\d{2})(\d{2})?)?")
# Days since 30 December 1899, of the years 1954 to 2099: what a date becomes in a column that is not formatted as one.
_SERIAL = re.compile(r"\d{5}(?:[.,]\d+)?")
_SERIALS = (20_000, 73_050)
_MONTHS = {
    name: number
    for number, names in enumerate(
        ["janvier janv jan january", "fevrier fevr fev feb february", "mars mar march", "avril avr apr april",
         "mai may", "juin jun june", "juillet juil jul july", "aout aug august", "septembre sept sep september",
         "octobre oct october", "novembre nov november", "decembre dec december"],
        start=1,
    )
    for name in names.split()
}  # fmt: skip
# "+0200", "UTC" and "Z" behind a space, as shops in the cloud write them.
_ZONE_APART = re.compile(r" (?:UTC|GMT|Z|([+-]\d{2}):?(\d{2}))$")


def moment(text: str, zone: ZoneInfo) -> datetime | None:
    """A day or a moment, in UTC; one without a zone of its own is read in `zone`, day before month as in France.

    `03/04/26`, `3 avril 2026`, `2026-04-03T10:11:12+02:00`, `20260403`, and the number that a spreadsheet makes of a
    date. None for an empty cell. Raises `NotUnderstood`.
    """
    if len(text) > _LONGEST:
        raise NotUnderstood(_("«%s» is no date") % text[:40])
    return _moment(text, zone)


@lru_cache(maxsize=8192)
def _moment(text: str, zone: ZoneInfo) -> datetime | None:
    text = " ".join(text.split())
    if not text:
        return None
    try:
        moment_utc = _read(text, zone).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise NotUnderstood(_("«%s» is no date") % text[:40]) from error
    if not 1900 <= moment_utc.year < 2200:
        raise NotUnderstood(_("«%s» is no date") % text[:40])
    return moment_utc


def _read(text: str, zone: ZoneInfo) -> datetime:
    if found := _DAY_FIRST.fullmatch(text):
        day, month, year, *clock = (int(part or 0) for part in found.groups())
        if len(found[3]) == 2:
            year += 2000 if year < 70 else 1900
        return datetime(year, month, day, clock[0], clock[1], clock[2], tzinfo=zone)
    if found := _COMPACT.fullmatch(text):
        return datetime(*(int(part or 0) for part in found.groups()), tzinfo=zone)  # type: ignore[arg-type]
    if _SERIAL.fullmatch(text) and _SERIALS[0] <= (days := float(text.replace(",", "."))) < _SERIALS[1]:
        return (datetime(1899, 12, 30) + timedelta(seconds=round(days * 86_400))).replace(tzinfo=zone)  # noqa: DTZ001
    if found := _IN_WORDS.fullmatch(plain(text)):
        day, year, *clock = (int(part or 0) for part in found.group(1, 3, 4, 5, 6))
        if found[2] in _MONTHS:
            return datetime(year, _MONTHS[found[2]], day, clock[0], clock[1], clock[2], tzinfo=zone)
    text = _ZONE_APART.sub(lambda zone: f"{zone[1]}:{zone[2]}" if zone[1] else "+00:00", text)
    read = datetime.fromisoformat(text.replace("/", "-"))
    return read if read.tzinfo else read.replace(tzinfo=zone)


def day_of_serial(text: str) -> str:
    """A birth date that a spreadsheet has made a number of (days since 30 December 1899) as YYYY-MM-DD; any other text
    as it stands."""
    if len(text) == 5 and text.isdigit() and 10_000 <= int(text) < _SERIALS[1]:
        return (date(1899, 12, 30) + timedelta(days=int(text))).isoformat()
    return text


# What spreadsheets show in place of a value, in English and French; a row of # is a column too narrow.
_ERRORS = re.compile(
    r"#(?:N/A|REF!|VALUE!|NAME\?|DIV/0!|NULL!|NUM!|SPILL!|CALC!|NOM\s?\?|VALEUR\s?!|NOMBRE\s?!|NUL\s?!|REF\s?!|\#+)",
    re.I,
)
_ROUNDED = re.compile(r"[+-]?\d(?:[.,]\d+)?E\+\d+", re.I)
_QUOTED_FORMULA = re.compile(r'="([^"]*)"')


def unwrapped(text: str) -> str:
    """A cell without what was put around it to keep a spreadsheet from changing it: `="01000"`, `'+33…`.

    Raises `NotUnderstood` for a formula whose result was not saved, and for an error.
    """
    if text.startswith("'") and text[1:].startswith(FORMULA_STARTS):
        text = text[1:]
    if quoted := _QUOTED_FORMULA.fullmatch(text):
        return quoted[1].strip()
    if text.startswith("="):
        raise NotUnderstood(
            _("holds a formula and not its result: open the file in the spreadsheet and save it again")
        )
    if _ERRORS.fullmatch(text):
        raise NotUnderstood(_("holds the spreadsheet error «%s»") % text[:20])
    return text


def exact(text: str) -> str:
    """The number of a card, a customer or a phone. Raises `NotUnderstood` for one that a spreadsheet has rounded:
    several people would get the same."""
    if _ROUNDED.fullmatch(text):
        told = _("«%s» was rounded by a spreadsheet: format the column as text and export it again")
        raise NotUnderstood(told % text[:40])
    return text


# Countries whose postcodes have four digits, as a French file calls them: theirs must not be taken for one of France
# that lost its zero.
_FOUR_DIGITS = {
    "belgique": "B", "belgium": "B", "be": "B", "bel": "B", "suisse": "CH", "switzerland": "CH", "ch": "CH",
    "che": "CH", "luxembourg": "L", "lu": "L", "lux": "L", "l": "L", "b": "B", "autriche": "A", "austria": "A",
    "at": "A", "pays bas": "NL", "netherlands": "NL", "nl": "NL", "danemark": "DK", "denmark": "DK", "dk": "DK",
}  # fmt: skip


def postcode_in(text: str, country: str) -> str:
    """A postcode of four digits with the letter of its country before it, where that is not France."""
    if len(text) == 4 and text.isdigit() and (letter := _FOUR_DIGITS.get(plain(country))):
        return f"{letter}-{text}"
    return text


def first_and_last_name(text: str) -> tuple[str, str]:
    """A whole name in its two parts: "Martin, Alice", "MARTIN Alice" and "Alice MARTIN" are told by comma and capitals;
    otherwise the first word is the first name."""
    if "," in text:
        last, _comma, first = text.partition(",")
        return first.strip(), last.strip()
    words = text.split()
    capitals = [word for word in words if len(word) > 1 and word.isupper()]
    if capitals and len(capitals) < len(words):
        return " ".join(word for word in words if word not in capitals), " ".join(capitals)
    return " ".join(words[:1]), " ".join(words[1:])
