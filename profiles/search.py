"""Finding a person by whatever somebody typed: words in any order, their beginnings, a phone written anyhow, an
e-mail, a card, a customer number, a town. Several words narrow each other.

`text_of` writes what a profile is found by (kept in `Profile.search_text`), `matching` asks for it; the two speak one
language, so both stand here. A search text is words separated by one space, without accents and in lower case:

- words of names and town, `st` and `ste` spelt out; compound names also in one word (`jeanpierre`, `delafontaine`);
- e-mails as written, and the mailbox where that differs (`j.dupont@gmail.com` `jdupont@gmail.com`);
- cards, customer numbers and postcode;
- phones twice: `#` and the national number, for beginnings, and `~` and all digits backwards, for endings. Thus
  `06 12 34`, `+33 6 12`, `612345678` and `5678` are all beginnings of a word, which is what the index is good at.

The index is a GIN over these words; a merged profile is left out of every answer. From how frequent each word is, the
database decides whether to collect who has it or to walk the list in its order until a page is full.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from django.db.models import BooleanField, Func, Q, QuerySet, Value

from profiles import normalise
from profiles.models import Profile, Source, SourceRecord
from profiles.models.profile import SearchWords

# More words, or longer ones, say nothing more about whom somebody looks for.
MOST_WORDS = 12
LONGEST_WORD = 120
LONGEST_ID = 80
# Fewer digits than this are not taken for the end of a phone number.
SHORTEST_ENDING = 4
# Counting further takes longer than reading one more page: lists say «more than».
COUNTED = 1000

_SAINTS = {"st": "saint", "ste": "sainte"}
_COURTESY = frozenset({"mr", "mme", "mlle", "monsieur", "madame", "mademoiselle"})
_NUMERIC = re.compile(r"\+?[\d().\-/]*\d[\d().\-/]*")


# --- What a profile is found by --------------------------------------------------------------------------------------


def text_of(
    *,
    first_name: str = "",
    last_name: str = "",
    postcode: str = "",
    city: str = "",
    identifiers: Iterable[str] = (),
) -> str:
    """The search text. `identifiers` are e-mails, phones as E.164, cards and customer numbers (`crm:4711`), all the
    person was ever known by."""
    words = [*_name_words(first_name), *_name_words(last_name)]
    for value in identifiers:
        if "@" in value:
            words += _address_words(value)
        elif value.startswith("+"):
            digits = value[1:]
            words += [f"#{normalise.national_digits(digits)}", f"~{digits[::-1]}"]
        elif value:
            words.append(value.lower())
            # A customer number stands behind the code of its source; nobody types that.
            source, colon, number = value.partition(":")
            words += [number.lower()] if colon and source and number else []
    if postcode:
        words.append(postcode.lower())
    if city:
        words += _city_words(city)
    return " ".join(dict.fromkeys(words))


@lru_cache(maxsize=65536)
def _name_words(name: str) -> tuple[str, ...]:
    words = normalise.name_key(name).split()
    joined = ["".join(words)] if len(words) > 1 else []
    return (*(_SAINTS.get(word, word) for word in words), *joined)


@lru_cache(maxsize=65536)
def _city_words(city: str) -> tuple[str, ...]:
    return tuple((normalise.city(city) or "").split())


def _address_words(address: str) -> list[str]:
    written = normalise.plain(address).replace(" ", "")
    mailbox = normalise.email(address)
    return [written] if mailbox is None or mailbox.key == written else [written, normalise.plain(mailbox.key)]


# --- What somebody typed ---------------------------------------------------------------------------------------------


def query_of(text: str) -> str:
    """What was typed as a `tsquery`, "" where nothing in it can be searched. Every word must be found."""
    words = normalise.plain(
        normalise.straight(text[: MOST_WORDS * LONGEST_WORD].replace("\x00", " "))
    ).split()
    if len(words) > 1:
        words = [word for word in words if word.rstrip(".") not in _COURTESY] or words
    parts: list[str] = []
    while words and len(parts) < MOST_WORDS:
        numbers = 0
        while numbers < len(words) and _NUMERIC.fullmatch(words[numbers]):
            numbers += 1
        if numbers:
            parts.append(_numbers(words[:numbers]))
            words = words[numbers:]
        elif words[0] == "cedex":
            words = words[2:] if len(words) > 1 and words[1].isdigit() else words[1:]
        else:
            parts.append(_word(words[0][:LONGEST_WORD], is_last=len(words) == 1))
            words = words[1:]
    return " & ".join(part for part in parts if part)


def _word(word: str, *, is_last: bool) -> str:
    pieces = normalise.words(word).split()
    spelt = [
        # The last word may still be being typed: «st» begins «stephane» too.
        _any(_starts("st"), _starts("saint")) if piece == "st" and is_last and piece is pieces[-1]
        else _starts(_SAINTS.get(piece, piece))
        for piece in pieces
    ]  # fmt: skip
    as_words = " & ".join(spelt)
    if "@" in word:
        mailbox = normalise.email(word)
        return _any(_starts(word), _is(normalise.plain(mailbox.key)) if mailbox else "")
    if any(sign in word for sign in "._+") or any(c.isdigit() for c in word):
        # «jean.dup» begins an e-mail as well as it names a person.
        return _any(_starts(word.strip(".,;")), f"({as_words})" if as_words else "")
    return as_words


def _numbers(words: list[str]) -> str:
    """Words of digits that follow each other: one number written in groups, or several numbers."""
    together = "".join(words)
    one = _number(together)
    if len(words) == 1:
        return one
    groups = [sum(c.isdigit() for c in word) for word in words]
    if sum(groups) >= 6 and max(groups) <= 4:
        return one
    apart = [part for word in words if (part := _number(word))]
    return _any(one, f"({' & '.join(apart)})" if apart else "")


def _number(written: str) -> str:
    digits = re.sub(r"\(0\)|\D", "", written)[:LONGEST_WORD]
    if not digits:
        return ""
    found = [_starts(digits)]
    abroad = written.startswith("+") or digits.startswith("00")
    if abroad:
        line = normalise.phone(written)
        national = normalise.national_digits(digits.removeprefix("00"))
        found += [_is(f"~{line.e164[:0:-1]}")] if line else []
        found += [_starts(f"#{national}")] if national and not (line and len(digits) > 9) else []
    elif digits.startswith("0") and len(digits) not in (1, 5):
        # Five digits are a postcode.
        found.append(_starts(f"#{digits[1:]}"))
    if not abroad and len(digits) >= SHORTEST_ENDING:
        found.append(_starts(f"~{digits[::-1]}"))
    return _any(*found)


def _quoted(word: str) -> str:
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"


def _is(word: str) -> str:
    return _quoted(word)


def _starts(word: str) -> str:
    return f"{_quoted(word)}:*" if word else ""


def _any(*choices: str) -> str:
    said = list(dict.fromkeys(choice for choice in choices if choice))
    return said[0] if len(said) == 1 else f"({' | '.join(said)})" if said else ""


# --- The question ----------------------------------------------------------------------------------------------------


class _Holds(Func):
    """A search text's words hold what a `tsquery` asks for."""

    arity = 2
    template = "%(expressions)s::tsquery"
    arg_joiner = " @@ "
    output_field = BooleanField()


def matching(queryset: QuerySet[Profile], text: str) -> QuerySet[Profile]:
    """Those of the profiles that are found by what was typed, merged-away ones left out.

    Nothing typed asks for everybody; a text without a letter or a digit finds nobody.
    """
    living = queryset.filter(merged_into=None)
    if not text.strip():
        return living
    query = query_of(text)
    found = Q(_Holds(SearchWords("search_text"), Value(query))) if query else Q(pk__in=[])
    # Asked at once, so that both halves are looked up by an index, and inside the scope in force.
    if numbered := _known_at_a_source_by(text):
        found |= Q(pk__in=numbered)
    return living.filter(found)


def _known_at_a_source_by(text: str) -> list[int]:
    """Who has this very id at a source: what a marketer reads on a card, a letter or another system's screen."""
    told = text.strip()
    if not any(map(str.isdigit, told)) or len(told) > LONGEST_ID or "\x00" in told:
        return []
    sources = list(Source.objects.values_list("pk", flat=True))
    written = {told, told.upper(), told.lower()}
    records = SourceRecord.objects.filter(source__in=sources, external_id__in=written)
    return list(records.order_by().values_list("profile", flat=True).distinct()[:COUNTED])


def find(text: str) -> QuerySet[Profile]:
    """The profiles that are found by what was typed, inside the scope in force."""
    return matching(Profile.objects.all(), text)


def narrowed(queryset: QuerySet[Profile], text: str) -> QuerySet[Profile]:
    """As `matching`, for lists cut into pages: where few are found, the index finds them first, by their ids.

    Asked for one page of few people, the database would rather walk the whole list in its order and hope to meet them
    early. So this asks at once, and inside the scope in force.
    """
    found = list(find(text).order_by().values_list("pk", flat=True)[: COUNTED + 1]) if text.strip() else []
    if not text.strip() or len(found) > COUNTED:
        return matching(queryset, text)
    return queryset.filter(pk__in=found, merged_into=None)


def counted(queryset: QuerySet, limit: int = COUNTED) -> int:
    """How many rows there are, `limit + 1` standing for «more than that»: a common word is not counted to its end."""
    return queryset.order_by()[: limit + 1].count()
