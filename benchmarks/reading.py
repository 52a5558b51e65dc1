"""How many rows of a customer file are read in a second, without a database.

    python -m benchmarks.reading [ROWS]

The file is made up by `write_customers`: twenty columns as a French back office exports them, always the same for the
same seed, with the mess such files have.
"""

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

HEADER = (
    "Identifiant client", "Civilité", "Nom", "Prénom", "Date de naissance", "E-mail", "Téléphone", "Adresse",
    "Complément d'adresse", "Code postal", "Ville", "Pays", "N° carte de fidélité", "Magasin d'inscription",
    "Date de création", "Opt-in e-mail", "Opt-in SMS", "Date opt-in", "Texte opt-in", "Points",
)  # fmt: skip
WORDING = "J'accepte de recevoir les offres de l'enseigne"

_FIRST_NAMES = (
    ("Mme", ("Marie Hélène Nathalie Isabelle Sylvie Françoise Zoé Léa Chloé Manon Camille Inès Jade Louise Alice Anaïs"
     " Sophie Céline Aurélie Émilie Élodie Julie Laura Pauline Sarah Yasmine Fatima Aïcha Marie-Claire Anne-Sophie")),
    ("M.", ("Jean Pierre Michel André Philippe Nicolas Julien François René Gaël Loïc Noël Théo Hugo Lucas Louis"
     " Gabriel Raphaël Jérôme Cédric Rémi Benoît Mathéo Mohamed Karim Jean-Pierre Jean-Marc Thomas Antoine Maxime")),
)  # fmt: skip
_LAST_NAMES = (
    "Martin Bernard Dubois Thomas Robert Richard Petit Durand Leroy Moreau Simon Laurent Lefebvre Lefèvre Michel Garcia"
    " David Bertrand Roux Vincent Fournier Morel Girard André Mercier Dupont Lambert Bonnet François Martinez Legrand"
    " Garnier Faure Rousseau Blanc Guérin Müller Henry Roussel Nicolas Perrin Morin Mathieu Clément Gauthier Dumont"
    " Lopez Fontaine Chevalier Robin Masson Sanchez Gérard Nguyen Boyer Denis Lemaire Duval Joly Gautier Roger Roche"
    " Roy Noël Meyer Lucas Meunier Jean Pérez Marchand Dufour Blanchard Marie Barbier Brun Dumas Brunet Schmitt"
    " Leroux Colas Fernandez Renard Arnaud Rolland Caron Aubert Giraud Leclerc Vidal Bourgeois Renaud Lemoine Picard"
    " Gaillard Philippe Leclercq Lacroix Fabre Dupuis Olivier Rodriguez Da~Silva De~La~Fontaine O'Neil N'Diaye"
).replace("~", "\u00a0").split(" ")  # fmt: skip
_TOWNS = (
    ("59000", "Lille"), ("59100", "Roubaix"), ("59200", "Tourcoing"), ("62000", "Arras"), ("80000", "Amiens"),
    ("75011", "Paris 11e"), ("75018", "PARIS"), ("92100", "Boulogne-Billancourt"), ("13001", "Marseille"),
    ("69003", "Lyon 3e"), ("31000", "Toulouse"), ("06000", "Nice"), ("44000", "Nantes"), ("67000", "Strasbourg"),
    ("34000", "Montpellier"), ("33000", "Bordeaux"), ("35000", "Rennes"), ("51100", "Reims"), ("42000", "ST ETIENNE"),
    ("38000", "Grenoble"), ("21000", "Dijon"), ("49000", "Angers"), ("30000", "Nîmes"), ("01000", "Bourg-en-Bresse"),
    ("20000", "Ajaccio"), ("97400", "Saint-Denis"), ("25000", "Besançon"), ("37000", "Tours"), ("87000", "Limoges"),
)  # fmt: skip
_STREETS = (
    "rue de la République", "avenue Jean-Jaurès", "bd Victor Hugo", "rue Pasteur", "place de l'Église",
    "rue des Écoles", "impasse des Lilas", "chemin du Moulin", "rue du Maréchal Foch", "allée des Tilleuls",
    "route de Paris", "r. Gambetta",
    "AV DU GAL DE GAULLE", "quai de l'Hôtel de Ville", "rue \"des Trois Frères\"",
)  # fmt: skip
_DOMAINS = (
    "gmail.com",
    "orange.fr",
    "free.fr",
    "hotmail.fr",
    "wanadoo.fr",
    "laposte.net",
    "sfr.fr",
    "yahoo.fr",
    "gmial.com",
)
_FURTHER = ("", "", "", "", "", "Bât. B", "Appt 12", "Résidence Les Pins", "chez M. Petit")
_YES_OR_NO = ("oui", "oui", "non", "O", "N", "1", "0", "")
_PLAIN = str.maketrans("éèêëàâîïôûüçœÉÈ '\u00a0", "eeeeaaiiouucoEE...")


def write_customers(path: Path, rows: int, seed: int = 2026) -> None:
    """A file of `rows` customers in UTF-8, divided by `;`. About one row in twenty is somebody who is in the file
    already, written another way; about one in fifty holds something unusable."""
    # Numbers are drawn from one stream of bits: a call of `random` for each cell would take ten times as long.
    draw = random.Random(seed)
    people = [
        (civility, first, last, f"{first}.{last}".translate(_PLAIN).lower())
        for civility, names in _FIRST_NAMES
        for first in names.split()
        for last in _LAST_NAMES
    ]
    addresses = [
        f'{number} {street}'.replace('"', '""') for number in (*range(1, 140), "12 bis", "3ter") for street in _STREETS
    ]  # fmt: skip
    addresses = [f'"{address}"' if '"' in address else address for address in addresses]
    days = [f"{day:02d}/{month:02d}/" for month in range(1, 13) for day in range(1, 29)]
    before: list[str] = []
    with Path(path).open("w", encoding="utf-8", newline="") as stream:
        stream.write(";".join(HEADER) + "\r\n")
        some: list[str] = []
        for number in range(1, rows + 1):
            bits = draw.getrandbits(128)
            civility, first, last, mailbox = people[bits % len(people)]
            again = number if bits & 0x1F00 or not before else (bits >> 40) % number or 1
            town = _TOWNS[(bits >> 13) % len(_TOWNS)]
            mess = (bits >> 20) & 0x3F
            # Of the ranges that are given out: 06 1… to 06 8…, 07 5… to 07 8….
            phone = f"0{6 + (again & 1)}{5 + (again >> 1) % 4}{(again * 7_919 + 3_000_019) % 10_000_000:07d}"
            email = f"{mailbox}{again % 9973}@{_DOMAINS[(bits >> 26) % len(_DOMAINS)]}"
            if mess == 0:
                email = ("pas d'email", "nc@nc.fr", mailbox, "@")[(bits >> 32) & 3]
            elif mess < 8:
                email = email.upper()
            elif mess < 16:
                email = ""
            if mess & 7 == 1:
                phone = f"{phone[:2]} {phone[2:4]} {phone[4:6]} {phone[6:8]} {phone[8:]}"
            elif mess & 7 == 2:
                phone = "+33" + phone[1:]
            elif mess & 7 == 3:
                phone = phone[1:]
            elif mess & 7 == 4:
                phone = ""
            if mess & 3 == 2:
                last, first = last.upper(), first.upper()
            day = days[(bits >> 34) % len(days)]
            since = days[(bits >> 52) % len(days)]
            postcode = town[0].lstrip("0") if mess == 21 else town[0]
            answer = _YES_OR_NO[(bits >> 60) & 7]
            some.append(
                f"C{number:07d};{civility if mess & 15 else ''};{last};{first};{day}{1940 + (bits >> 70) % 68};{email};"
                f"{phone};{addresses[(bits >> 76) % len(addresses)]};{_FURTHER[(bits >> 88) % 9]};{postcode};{town[1]};"
                f"{'France' if mess & 31 else ''};{2_990_000_000_000 + again if mess & 12 else ''};"
                f"MAG-{1 + (bits >> 96) % 120:03d};{since}{2012 + (bits >> 104) % 14};{answer};"
                f"{_YES_OR_NO[(bits >> 112) & 7]};{since + '2024' if answer else ''};{WORDING if answer else ''};"
                f"{(bits >> 116) & 0x7FF}\r\n"
            )
            if len(some) == 5000:
                before = some[-1:]
                stream.write("".join(some))
                some.clear()
        stream.write("".join(some))


def measure(rows: int = 1_000_000) -> dict:
    """Rows a second, by the clock and by the processor (what a machine with nothing else to do would show): writing the
    file, `detect`, reading alone, and reading with each row made a statement."""
    from profiles.imports import mapping, reading
    from profiles.imports.columns import Columns
    from profiles.imports.detect import detect
    from profiles.imports.staging import BLOCK

    figures: dict = {"rows": rows}

    def timed(deed: str, do: Callable[[], Any]) -> Any:
        begun, begun_cpu = time.perf_counter(), time.process_time()
        answer = do()
        figures[f"{deed}_a_second"] = round(rows / (time.perf_counter() - begun))
        figures[f"{deed}_a_cpu_second"] = round(rows / (time.process_time() - begun_cpu))
        return answer

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "customers.csv"
        timed("written", lambda: write_customers(path, rows))
        figures["megabytes"] = round(path.stat().st_size / 1e6, 1)
        dialect = timed("detected", lambda: detect(path))
        guesses = mapping.guess(dialect.header, dialect.first_rows)
        columns = Columns.of(
            {column: guess.field for column, guess in guesses.items()}, ZoneInfo("Europe/Paris")
        )
        figures["read"] = timed("read", lambda: sum(1 for _row in reading.rows(path, dialect)))

        def stated() -> int:
            waiting, understood = iter(reading.rows(path, dialect)), 0
            while some := list(islice(waiting, BLOCK)):
                understood += len(some) - len(columns.block(some).refused)
            return understood

        figures["stated"] = timed("stated", stated)
    return figures


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cdp.settings")
    django.setup()
    print(json.dumps(measure(*map(int, sys.argv[1:])), indent=2))
