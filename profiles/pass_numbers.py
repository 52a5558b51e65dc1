"""Numbers of wallet passes: pure, drawn at random, known by their form.

What a till scans it sends as a card: a pass is told from a card by the number alone. A number is `WP`, twenty random
signs (99 bits: nobody guesses one) and two check signs, so no card is taken for a pass by accident. The alphabet has
31 signs, a prime; what is taken for another sign (0, 1, I, O, U) is left out. Each place weighs differently, so every
single wrong sign is found, and every two that changed places.
"""

import secrets

ALPHABET = "23456789ABCDEFGHJKLMNPQRSTVWXYZ"
PREFIX = "WP"
RANDOM, CHECKS = 20, 2
LENGTH = len(PREFIX) + RANDOM + CHECKS


def draw() -> str:
    """A new number."""
    body = PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM))
    return body + _checks(body)


def read(told: str) -> str:
    """The number as it was typed or scanned, with blanks and hyphens anywhere, in any case; "" where it is none."""
    told = told.lstrip()
    if told[:1] not in ("W", "w") or len(told) > 2 * LENGTH:
        return ""
    number = "".join(told.split()).replace("-", "").upper()
    if len(number) != LENGTH or not number.startswith(PREFIX):
        return ""
    if any(sign not in ALPHABET for sign in number[len(PREFIX) :]):
        return ""
    return number if _checks(number[:-CHECKS]) == number[-CHECKS:] else ""


def shown(number: str) -> str:
    """The number in groups of four, to be read aloud."""
    return "-".join(number[start : start + 4] for start in range(0, len(number), 4))


def _checks(body: str) -> str:
    values = [(place, ALPHABET.index(sign)) for place, sign in enumerate(body, start=1)]
    sums = (
        sum(place * value for place, value in values),
        sum(place * place * value for place, value in values),
    )
    return "".join(ALPHABET[weighed % len(ALPHABET)] for weighed in sums)
