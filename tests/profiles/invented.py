"""People who do not exist, made of syllables: families, slips of the keyboard, moves, shared phones; with the truth."""

import random
from dataclasses import dataclass, field

COLUMNS = (
    "first_name", "last_name", "birth_date", "email", "phone", "street_number", "street", "postcode", "city",
    "loyalty_number",
)  # fmt: skip
_SYLLABLES = "ba bre cla dou fi gor hu ja kel lum mo nar ol pru qui ros sti tu vel wen yo zan".split()
_STREETS = (
    "rue du Vieux Puits,allée des Tilleuls,chemin Creux,place du Grand Orme,quai Neuf,impasse Verte".split(
        ","
    )
)


@dataclass
class Invented:
    """``columns`` of raw strings, and ``persons``: who each record is about."""

    columns: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in COLUMNS})
    persons: list[int] = field(default_factory=list)
    homes: list[int] = field(default_factory=list)


def people(households: int, seed: int = 7) -> Invented:
    """About five records for each household."""
    draw = random.Random(seed)
    made = Invented()
    person = 0
    for home in range(households):
        family = _word(draw, 3)
        phone = f"06{draw.randrange(10**8):08}"
        town = draw.randrange(60)
        address = {
            "street_number": str(draw.randrange(1, 99)),
            "street": draw.choice(_STREETS),
            "postcode": f"{21000 + 10 * town}",
            "city": f"Bourg {_SYLLABLES[town % 22]}{_SYLLABLES[town // 22]}",
        }
        for _member in range(draw.choice((1, 1, 2, 3))):
            first = _word(draw, 2)
            born = f"{draw.randrange(1940, 2006)}-{draw.randrange(1, 13):02}-{draw.randrange(1, 29):02}"
            own = {
                "first_name": first,
                "last_name": family,
                "birth_date": born,
                "email": f"{first}.{family}{draw.randrange(100)}@orange.fr",
                "phone": phone if draw.random() < 0.6 else f"07{draw.randrange(10**8):08}",
                "loyalty_number": f"29{draw.randrange(10**9):09}",
                **address,
            }
            for _record in range(draw.choice((1, 2, 2, 3))):
                _write_down(made, own, draw)
                made.persons.append(person)
                made.homes.append(home)
            person += 1
    return made


def _word(draw: random.Random, syllables: int) -> str:
    return "".join(draw.choice(_SYLLABLES) for _ in range(syllables)).capitalize()


def _write_down(made: Invented, own: dict[str, str], draw: random.Random) -> None:
    """One record: not every field is asked for, and hands slip."""
    for name in COLUMNS:
        value = own[name]
        if name not in ("first_name", "last_name") and draw.random() < 0.45:
            value = ""
        elif draw.random() < 0.06 and len(value) > 4:
            at = draw.randrange(1, len(value) - 1)
            value = value[:at] + value[at + 1] + value[at] + value[at + 2 :]
        made.columns[name].append(value.upper() if draw.random() < 0.3 else value)


def pairwise(labels: list[int], truth: list[int]) -> tuple[float, float]:
    """Precision and recall over pairs of records."""
    together = {(i, j) for i in range(len(labels)) for j in range(i) if labels[i] == labels[j]}
    true = {(i, j) for i in range(len(truth)) for j in range(i) if truth[i] == truth[j]}
    return len(together & true) / max(len(together), 1), len(together & true) / max(len(true), 1)
