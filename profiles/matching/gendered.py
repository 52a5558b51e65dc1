"""Masculine and feminine forms of one given name: alike to the eye, and yet two persons."""

from functools import lru_cache

# Endings that turn a man's given name into a woman's: (masculine, feminine) after a shared beginning.
_ENDINGS = frozenset(
    {
        ("", "ne"),  # Fabien, Fabienne
        ("", "le"),  # Daniel, Danielle
        ("", "ine"),  # Paul, Pauline
        ("", "ette"),  # Paul, Paulette
        ("", "a"),  # Carl, Carla
        ("n", ""),  # Julien, Julie
        ("c", "que"),  # Frédéric, Frédérique
        ("o", "a"),  # Léo, Léa
        ("as", "e"),  # Nicolas, Nicole
        ("as", "ie"),  # Lucas, Lucie
        ("e", "ie"),  # Stéphane, Stéphanie
        ("e", "ine"),  # Claude, Claudine
        ("e", "ette"),  # Claude, Claudette
        ("es", "ie"),  # Jules, Julie
        ("es", "otte"),  # Charles, Charlotte
        ("rd", "dette"),  # Bernard, Bernadette
        ("s", "line"),  # Jacques, Jacqueline
        ("s", "tte"),  # Georges, Georgette
        ("t", "ce"),  # Laurent, Laurence
        ("y", "ie"),  # Valéry, Valérie
    }
)


@lru_cache(maxsize=1 << 17)
def differ_by_gender(a: str, b: str) -> bool:
    """Whether two given names are a masculine and a feminine form, such as Louis and Louise or Léo and Léa."""
    shared = 0
    for left, right in zip(a, b, strict=False):
        if left != right:
            break
        shared += 1
    # The ending may begin a letter or more before the first difference (Nicolas, Nicole).
    return shared >= 2 and any(
        (a[cut:], b[cut:]) in _ENDINGS or (b[cut:], a[cut:]) in _ENDINGS
        for cut in range(max(2, shared - 2), shared + 1)
    )
