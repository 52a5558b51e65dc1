"""What the words in a cell mean: yes or no, a moment, a whole name. Pure: asks no database."""

import re
import unicodedata
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

_YES = frozenset(
    "oui o yes y 1 true vrai x ok v accepte accord optin opted abonne subscribed granted consent actif active on"
    .split()
) | {"opt in", "d accord", "j accepte"}  # fmt: skip
_NO = frozenset(
    "non n no 0 false faux refuse refus optout desabonne unsubscribed denied stop inactif inactive off".split()
) | {"opt out"}
_NOT_SAID = frozenset({"", "nc", "nr", "nsp", "null", "none", "n a", "na", "inconnu", "unknown"})


class NotUnderstood(ValueError):
    """The cell holds something, but not what its column is said to hold."""


def plain(text: str) -> str:
    """Lower case without accents; whatever is neither letter nor digit becomes one space."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    letters = "".join(c if c.isalnum() else "" if unicodedata.combining(c) else " " for c in folded)
    return " ".join(letters.split())


def yes_or_no(text: str) -> bool | None:
    """An answer in French or English; None where nothing was said. Raises `NotUnderstood`: no answer is guessed."""
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


_DAY_FIRST = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})(?:[ T,à]+(\d{1,2})[:h](\d{2})(?::(\d{2}))?.*)?")
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})")


def moment(text: str, zone: ZoneInfo) -> datetime | None:
    """A day or a moment, in UTC; one without a zone of its own is read in `zone`, day before month as in France.

    None for an empty cell. Raises `NotUnderstood`.
    """
    text = " ".join(text.split())
    if not text:
        return None
    day_first, compact = _DAY_FIRST.fullmatch(text), _COMPACT.fullmatch(text)
    try:
        if day_first:
            day, month, year, *clock = (int(part or 0) for part in day_first.groups())
            read = datetime(year, month, day, clock[0], clock[1], clock[2], tzinfo=zone)
        elif compact:
            year, month, day = (int(part) for part in compact.groups())
            read = datetime(year, month, day, tzinfo=zone)
        else:
            read = datetime.fromisoformat(text.replace("/", "-"))
            read = read if read.tzinfo else read.replace(tzinfo=zone)
        moment_utc = read.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise NotUnderstood(_("«%s» is no date") % text[:40]) from error
    if not 1900 <= moment_utc.year < 2200:
        raise NotUnderstood(_("«%s» is no date") % text[:40])
    return moment_utc


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
