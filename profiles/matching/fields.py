"""What kinds of columns there are, and the comparison levels of each kind.

A column is compared by its *kind*, never by its name, so that one configuration serves every schema. Levels go from
exact agreement down to ``other``; a value that is missing on one side has a level of its own behind the last one, and
that level weighs nothing.
"""

from typing import Final

# Levels by kind, best first. The words are those that `reasons` has sentences for.
LEVELS: Final[dict[str, tuple[str, ...]]] = {
    "name": ("exact", "close", "similar", "short", "weak", "other"),
    "date": ("exact", "typo", "partial", "same_year", "other"),
    "email": ("exact", "typo", "same_user", "similar_user", "other"),
    "phone": ("exact", "typo", "two_typos", "other"),
    "number": ("exact", "typo", "two_typos", "other"),
    "machine": ("exact", "other"),
    "postcode": ("exact", "typo", "near", "same_department", "other"),
    "street": ("exact", "similar", "weak", "other"),
    "house": ("exact", "typo", "other"),
    "text": ("exact", "similar", "weak", "other"),
    "category": ("exact", "other"),
    "swap": ("straight", "swapped"),
}

KINDS: Final[dict[str, str]] = {
    "first_name": "name",
    "last_name": "name",
    "full_name": "name",
    "birth_date": "date",
    "gender": "category",
    "occupation": "category",
    "email": "email",
    "phone": "phone",
    "street_number": "house",
    "street": "street",
    "city": "text",
    "birth_place": "text",
    "postcode": "postcode",
    "loyalty_number": "number",  # typed by hand: a digit may be wrong
    "national_id": "number",
    "customer_id": "machine",  # given by a machine: equal or not
    "device_id": "machine",
}

# Never evidence: who said it, and what repeats another column in coarser words.
IGNORED: Final = frozenset({"record_id", "source", "state", "address2"})

# One value of these belongs to one person, or to a household. On more records than this it belongs to nobody.
IDENTIFIER_KINDS: Final = frozenset({"email", "phone", "number", "machine"})
MOST_RECORDS_PER_IDENTIFIER: Final = 25

# Identifiers that two persons of one household seldom share.
PERSONAL_NUMBERS: Final = ("loyalty_number", "customer_id", "national_id")

# Columns that may tell one place in several words, finest last to be dropped. Tested for it by `grouping`.
GEOGRAPHY: Final = ("street_number", "street", "postcode", "city", "birth_place")

# What makes a household recognisable: a contact or an address that its members share.
CONTACTS: Final = ("email", "phone", "street", "postcode")

# Columns whose agreed value is worth more the rarer it is (see `scoring`), and those where this holds for two persons
# of one household as well.
RARITY_COUNTS: Final = (
    "first_name", "last_name", "full_name", "birth_date", "street", "postcode", "city", "birth_place", "email",
    "phone", "device_id",
)  # fmt: skip
RARITY_COUNTS_FOR_HOUSEHOLDS: Final = frozenset(RARITY_COUNTS) - {"first_name", "full_name", "birth_date"}


def kind_of(column: str) -> str:
    """The kind of a column; one nobody has heard of is a text."""
    return KINDS.get(column, "text")


def missing_level(column: str) -> int:
    """The index of the level «missing» of a column."""
    return len(LEVELS["swap" if column == "swap" else kind_of(column)])
