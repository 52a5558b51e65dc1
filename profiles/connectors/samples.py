"""Examples to download that several kinds share."""

import csv
import io

from profiles.connectors.kinds import Sample

_WORDS = "J'accepte de recevoir les offres par e-mail."
_CUSTOMERS = (
    ("Identifiant", "Prénom", "Nom", "E-mail", "Téléphone", "Adresse", "Code postal", "Ville", "Carte", "Modifié le",
     "Accord e-mail", "Texte accord"),
    ("C-1001", "Marie", "Durand", "marie.durand@mail.example", "06 12 34 56 78", "12 rue des Lilas", "59000", "Lille",
     "2990000000017", "2026-11-20 14:05", "oui", _WORDS),
    ("C-1002", "Paul", "Lefèvre", "paul.lefevre@mail.example", "", "3 quai Rambaud", "69002", "Lyon", "",
     "2026-11-21 09:30", "non", _WORDS),
)  # fmt: skip


def customers_csv() -> Sample:
    """Two customers as a back office would write them, with what was shown for their consent."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=";").writerows(_CUSTOMERS)
    return Sample("clients.csv", "text/csv; charset=utf-8", b"\xef\xbb\xbf" + text.getvalue().encode())
