"""How people and tills spoil what they write down: typing errors, short forms, lost accents, swapped fields."""

import unicodedata
from datetime import date
from random import Random

_VOWELS = set("aeiouyàâéèêëîïôöûü")
_STREET_KINDS = {"avenue": "av.", "boulevard": "bd", "chemin": "ch.", "place": "pl.", "rue": "r."}
_NEIGHBOURS = dict(
    zip(
        "azertyuiopqsdfghjklmwxcvbn0123456789",
        "zertyuiopmsdfghjklmlxcvbnb1234567890",
        strict=True,
    )
)


def mistyped(text: str, chance: Random) -> str:
    """`text` with one typing error: two letters exchanged, one lost, doubled, or hit beside."""
    if len(text) < 4:
        return text
    place = chance.randrange(1, len(text) - 1)
    before, letter, following, after = text[:place], text[place], text[place + 1], text[place + 2 :]
    return chance.choice(
        (
            before + following + letter + after,
            before + following + after,
            before + letter + letter + following + after,
            before + _NEIGHBOURS.get(letter.lower(), letter) + following + after,
        )
    )


def short_form(first_name: str) -> str:
    """What friends say: the first syllable and the consonants that close it; initials for a compound name."""
    if "-" in first_name:
        return "".join(part[:1] for part in first_name.split("-"))
    lowered = first_name.lower()
    end = 0
    while end < len(lowered) and lowered[end] not in _VOWELS:
        end += 1
    while end < len(lowered) and lowered[end] in _VOWELS:
        end += 1
    while end < len(lowered) and lowered[end] not in _VOWELS:
        end += 1
    return first_name[:end] if end >= 3 else first_name


def shortened_street(street: str) -> str:
    """A street as clerks write it: "12, avenue Foch" becomes "12 av. Foch"."""
    street = street.replace(",", "", 1)
    for word, short in _STREET_KINDS.items():
        street = street.replace(f" {word} ", f" {short} ", 1)
    return street


def without_accents(text: str) -> str:
    """`text` in the letters of an old till: "Hélène" becomes "Helene"."""
    decomposed = unicodedata.normalize("NFD", text)
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def day_and_month_swapped(day: date) -> date:
    """The date an English reader makes of a French one; `day` itself where that is no date."""
    return day.replace(day=day.month, month=day.day) if day.day <= 12 else day


def broken_email(address: str, chance: Random) -> str:
    """An address no mail can reach: without its @, with two, or cut off behind it."""
    user, _, domain = address.partition("@")
    return chance.choice((f"{user}{domain}", f"{user}@@{domain}", f"{user}@"))
