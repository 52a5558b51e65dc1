"""How long one row of a customer file takes to normalise: `python -m benchmarks.normalise [rows]`.

The rows repeat as those of a real file do: given names, surnames, towns, postcodes and days often, streets seldom;
e-mails, phones and cards never. A tenth of the values is written with accents, in capitals or in an odd form.
"""

import random
import sys
import time
from collections.abc import Callable

from profiles import normalise

LIMIT_US = 12.0
FIRST_NAMES = """
Marie Jean Pierre Michel Philippe Nathalie Isabelle Alain Sylvie Catherine Stéphane Frédéric Hélène Chloé Léa Théo
Jean-Pierre Anne-Marie MARIE-CLAUDE Jérôme Zoé éric SÉBASTIEN aurélie Valérie Noémie Sofiane Inès Gaël Loïc
""".split()
SURNAMES = """
MARTIN Bernard Dubois THOMAS Robert Richard PETIT Durand Leroy Moreau LEFÈVRE Fournier Girard Lefebvre Mercier
""".split()
WAYS = """
av. Victor Hugo|rue de la République|bd du Gal de Gaulle|rue Pasteur|impasse des Lilas|place de l'Église|rte de Lyon
""".strip().split("|")
TOWNS = (
    "Paris|LYON|Saint-Étienne|ST ETIENNE|Clermont-Ferrand|Lille Cedex|Nîmes|Bordeaux|Aix-en-Provence".split(
        "|"
    )
)
DOMAINS = "gmail.com orange.fr hotmail.fr free.fr yahoo.fr wanadoo.fr sfr.fr laposte.net outlook.fr gmial.com".split()


def _rows(count: int) -> list[tuple[str, ...]]:
    chance = random.Random(3)
    syllables = "ba be ca cha da de fa gi la lo ma mi no pa ri sa te vo".split()
    surnames = SURNAMES + [
        "".join(chance.choices(syllables, k=3)).capitalize() for _ in range(min(count // 10, 60_000))
    ]
    ways = WAYS + [f"rue {chance.choice(surnames)} {chance.choice(surnames)}" for _ in range(count // 5)]
    rows = []
    for n in range(count):
        first, last = chance.choice(FIRST_NAMES), surnames[int(len(surnames) * chance.random() ** 2)]
        digits = (
            chance.choice(("0612", "0674", "0750", "0142", "0478", "0320")) + f"{chance.randrange(10**6):06}"
        )
        written = chance.random()
        phone = (
            digits if written < 0.5
            else " ".join(digits[i : i + 2] for i in range(0, 10, 2)) if written < 0.8
            else "+33" + digits[1:] if written < 0.95
            else "+33 (0)" + digits[1:]
        )  # fmt: skip
        day, month, year = chance.randint(1, 28), chance.randint(1, 12), chance.randint(1940, 2008)
        rows.append(
            (
                first, last,
                _address(first, last, n, chance),
                phone,
                f"{day:02}/{month:02}/{year}" if n % 5 else f"{year}-{month:02}-{day:02}",
                f"{chance.randint(1, 200)}{chance.choice(('', '', '', ' bis', ','))} {chance.choice(ways)}",
                f"{chance.randrange(1, 96):02}{chance.randrange(0, 900, 10):03}",
                chance.choice(TOWNS),
                f"299{chance.randrange(10**10):010}",
            )
        )  # fmt: skip
    return rows


def _address(first: str, last: str, n: int, chance: random.Random) -> str:
    user = f"{first}.{last}{n}"
    if n % 10 == 0:
        return f"{normalise.plain(user)}@Maison{n % 500}.fr"
    # Hardly anybody has a mailbox with accents, though some type one.
    user = user.lower() if n % 100 == 1 else normalise.plain(user)
    return f"{user}@{chance.choice(DOMAINS)}"


FIELDS: dict[str, Callable[[str], object]] = {
    "first name": normalise.first_name,
    "last name": normalise.last_name,
    "e-mail": normalise.email,
    "phone": normalise.phone,
    "birth date": normalise.birth_date,
    "street": normalise.street,
    "postcode": normalise.postcode,
    "town": normalise.city,
    "card": normalise.card,
}


def measure(rows: int = 100_000) -> dict:
    """Microseconds for a whole row, and for each of its fields. Nothing is remembered from before."""
    written = _rows(rows)
    told: dict = {"rows": rows, "limit_us": LIMIT_US, "fields_us": {}}
    for place, (name, normal) in enumerate(FIELDS.items()):
        values = [row[place] for row in written]
        started = time.process_time()
        for value in values:
            normal(value)
        told["fields_us"][name] = round(1e6 * (time.process_time() - started) / rows, 2)
    told["row_us"] = round(sum(told["fields_us"].values()), 2)
    return told


def show(told: dict) -> None:
    """Print the figures as a table."""
    for name, cost in told["fields_us"].items():
        print(f"{name:12} {cost:6.2f} µs")
    print(
        f"{'a whole row':12} {told['row_us']:6.2f} µs (limit {told['limit_us']:.0f}), {told['rows']:,} rows"
    )


if __name__ == "__main__":
    figures = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
    show(figures)
    sys.exit(0 if figures["row_us"] <= LIMIT_US else 1)
