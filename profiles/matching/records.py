"""The comparable form of a source record: every value normalised, ready for blocking and comparison."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from profiles import normalise


@dataclass(frozen=True, slots=True)
class Comparable:
    """One source record as matching sees it. Empty string, None or empty set: the source did not say.

    Names are in ``name_key`` form, ``email`` is a match key, ``phone`` is E.164, ``customer_ids`` are
    ``source:number`` so that two tills may give the same number to two persons.
    """

    record_id: int
    profile_id: int | None = None
    source: str = ""
    first_name: str = ""
    last_name: str = ""
    birth_date: date | None = None
    email: str = ""
    phone: str = ""
    phone_is_personal: bool = False
    postcode: str = ""
    city: str = ""
    street: str = ""
    street_number: str = ""
    card: str = ""
    customer_ids: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()

    @classmethod
    def from_fields(
        cls,
        fields: Mapping[str, str],
        *,
        record_id: int,
        profile_id: int | None = None,
        source: str = "",
        region: str = "FR",
        blocked: Iterable[tuple[str, str]] = (),
    ) -> "Comparable":
        """From raw strings keyed first_name, last_name, birth_date, email, phone, postcode, city, street,
        street_number, card, customer_id, device; unknown keys are left alone.

        ``region`` is the country of the store, for phones. ``blocked`` holds (field, normalised value) pairs that are
        known to belong to nobody, such as a store's own phone; they count as missing.
        """
        mailbox = normalise.email(_text(fields, "email"))
        line = normalise.phone(_text(fields, "phone"), region)
        road = normalise.street(_text(fields, "street"))
        number = normalise.street_number(_text(fields, "street_number")) or (road.number if road else None)
        customer = normalise.customer_id(_text(fields, "customer_id"))
        device = normalise.customer_id(_text(fields, "device"))
        values = {
            "email": mailbox.key if mailbox else "",
            "phone": line.e164 if line else "",
            "card": normalise.card(_text(fields, "card")) or "",
            "customer_id": f"{source}:{customer}" if customer else "",
            "device": device or "",
        }
        for field, value in blocked:
            if values.get(field) == value:
                values[field] = ""
        return cls(
            record_id=record_id,
            profile_id=profile_id,
            source=source,
            first_name=normalise.name_key(normalise.first_name(_text(fields, "first_name")) or ""),
            last_name=normalise.name_key(normalise.last_name(_text(fields, "last_name")) or ""),
            birth_date=normalise.birth_date(_text(fields, "birth_date")),
            email=values["email"],
            phone=values["phone"],
            phone_is_personal=bool(line and values["phone"] and line.personal),
            postcode=normalise.postcode(_text(fields, "postcode")) or "",
            city=normalise.city(_text(fields, "city")) or "",
            street=road.name if road else "",
            street_number=number or "",
            card=values["card"],
            customer_ids=frozenset({values["customer_id"]} - {""}),
            devices=frozenset({values["device"]} - {""}),
        )


def _text(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else "" if value is None else str(value)
