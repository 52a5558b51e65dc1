"""Blocking rules: two records are compared only where they share at least one key.

A key is ``rule:value``. Values are kept readable, because an operator who asks why two records were ever compared is
shown the key. The rules overlap on purpose: a typing error defeats one of them, seldom all.
"""

from profiles import normalise
from profiles.matching.records import Comparable

# A key held by more records than this says little (a common name, a store's own phone) and costs n² comparisons:
# it is not used, and the pair must meet under a finer one.
FREQUENT = 60

# Keys made of an identifier: a value on more records than this belongs to nobody in particular.
FREQUENT_IDENTIFIER = 25
IDENTIFIER_RULES = frozenset({"customer", "card", "email", "phone", "device"})


def limit(key: str) -> int:
    """How many records may hold ``key`` before it is no longer used."""
    return FREQUENT_IDENTIFIER if key.partition(":")[0] in IDENTIFIER_RULES else FREQUENT


def blocking_keys(record: Comparable) -> list[str]:
    """The keys under which ``record`` is looked up, sorted and without repeats."""
    keys = {f"customer:{number}" for number in record.customer_ids}
    keys |= {f"device:{device}" for device in record.devices}
    if record.card:
        keys |= {f"card:{record.card}"}
        keys |= (
            {f"card_start:{record.card[:-3]}", f"card_end:{record.card[-7:]}"}
            if len(record.card) >= 10
            else set()
        )
    if record.phone:
        keys |= {
            f"phone:{record.phone}",
            f"phone_start:{record.phone[:-3]}",
            f"phone_end:{record.phone[-7:]}",
        }
    if record.email:
        user = record.email.partition("@")[0]
        keys |= {f"email:{record.email}"}
        keys |= {f"email_user:{user}"} if len(user) >= 5 else set()
    first, last = record.first_name, record.last_name
    # One order whichever of the two fields each name was typed into.
    both = " ".join(sorted([*first.split(), *last.split()])) if first and last else ""
    sound = normalise.phonetic(last) if last else ""
    places = [f"{place}" for place in (record.postcode, record.city) if place]
    if both:
        keys |= {f"names:{both}"}
        keys |= {f"sound_names:{sound}|{normalise.phonetic(first)}", f"starts:{first[:4]}|{last[:4]}"}
        keys |= {f"names_place:{both}|{place}" for place in places}
    if record.email:
        start = record.email[:5]
        keys |= {f"email_names:{start}|{initial}" for initial in {first[:1], last[:1]} - {""}}
    for place in places:
        keys |= {f"sound_place:{sound}|{place}"} if sound else set()
        keys |= {f"first_place:{first}|{place}"} if len(first) > 1 else set()
        keys |= {f"last_place:{last}|{place}"} if last else set()
    if record.birth_date:
        day = record.birth_date.isoformat()
        keys |= {f"sound_birth:{sound}|{day}"} if sound else set()
        keys |= (
            {f"first_birth:{first}|{day}", f"names_birth_year:{first}|{last[:3]}|{day[:4]}"}
            if first
            else set()
        )
        keys |= {f"birth_place:{day}|{place}" for place in places}
    if record.street and (record.postcode or record.city):
        where = record.postcode[:2] or record.city
        keys |= {f"address:{where}|{record.street_number}|{record.street.split()[-1]}"}
    return sorted(keys)
