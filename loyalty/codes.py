"""Codes of vouchers: pure, drawn at random, with a sign that finds mistypings.

The alphabet has 31 signs, a prime; what is taken for another sign (0, 1, I, O, U) is left out. A code is fifteen
random signs (74 bits: nobody guesses one) and a check sign, which finds every single wrong sign and every two that
changed places, since each place weighs differently.
"""

import secrets

ALPHABET = "23456789ABCDEFGHJKLMNPQRSTVWXYZ"
LENGTH = 16


def draw() -> str:
    """A new code."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH - 1))
    return body + _check_sign(body)


def read(told: str) -> str:
    """The code as it was typed or scanned, with blanks and hyphens anywhere, in any case; "" where it is mistyped."""
    code = "".join(told.split()).replace("-", "").upper()
    if len(code) != LENGTH or any(sign not in ALPHABET for sign in code):
        return ""
    return code if _check_sign(code[:-1]) == code[-1] else ""


def shown(code: str) -> str:
    """The code in groups of four, to be read aloud."""
    return "-".join(code[start : start + 4] for start in range(0, len(code), 4))


def _check_sign(body: str) -> str:
    weighted = sum(place * ALPHABET.index(sign) for place, sign in enumerate(body, start=2))
    return ALPHABET[-weighted % len(ALPHABET)]
