"""What the code says to people, and the French catalogue that must say all of it.

`python -m tests.catalogue` (or `make messages`) brings every catalogue up to date: what is new stands in it without a
translation, what nobody says any more is gone. Unfold ships no translations, so its words stand in our catalogue too.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("cdp", "tenants", "profiles", "loyalty", "campaigns", "templates")
CATALOGUES = sorted((ROOT / "locale").glob("*/LC_MESSAGES/django.po"))

# Function -> which of its arguments is the context, the message, the plural. With the short names we import them by.
KEYWORDS: dict[str, tuple | None] = {
    **dict.fromkeys(("_", "_t", "_lazy", "gettext", "gettext_lazy", "gettext_noop")),
    **dict.fromkeys(("ngettext", "ngettext_lazy"), (1, 2)),
    **dict.fromkeys(("pgettext", "pgettext_lazy"), ((1, "c"), 2)),
    **dict.fromkeys(("npgettext", "npgettext_lazy"), ((1, "c"), 2, 3)),
}
_LITERAL = r"""u?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_CALL_IN_TEMPLATE = re.compile(rf"\b(n?p?gettext|_)\(\s*({_LITERAL}(?:\s*,\s*{_LITERAL})*)")

Said = tuple[str | None, str | tuple[str, ...]]  # (context, message or (singular, plural))


def said_in_python(path: Path) -> Iterator[Said]:
    for _line, message, _comments, context in extract("python", BytesIO(path.read_bytes()), KEYWORDS):
        yield context, message


def said_in_template(path: Path) -> Iterator[Said]:
    # Django turns a template into the calls it makes, everything else blotted out.
    for function, arguments in _CALL_IN_TEMPLATE.findall(templatize(path.read_text(encoding="utf-8"))):
        texts = [ast.literal_eval(text) for text in re.findall(_LITERAL, arguments)]
        context = texts.pop(0) if "p" in function else None
        yield context, texts[0] if len(texts) == 1 else tuple(texts[:2])


def said_below(folders: Iterable[Path]) -> Iterator[Said]:
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix == ".py" and "migrations" not in path.parts:
                yield from said_in_python(path)
            elif path.suffix == ".html" or (path.suffix == ".txt" and "templates" in path.parts):
                yield from said_in_template(path)


def said_by_us() -> set[Said]:
    """Every message of our own code and templates."""
    return set(said_below(ROOT / package for package in PACKAGES))


def said_by_unfold(language: str) -> set[Said]:
    """The messages of the parts of Unfold that we install, without those that Django's admin translates for it."""
    home = Path(find_spec("unfold").submodule_search_locations[0])
    folders = [home / "contrib/filters", *(path for path in home.iterdir() if path.name != "contrib")]
    single = [path for path in folders if path.suffix == ".py"]
    messages = {*said_below(folders), *(said for path in single for said in said_in_python(path))}
    translated = _said_by_django(language)
    return {(context, text) for context, text in messages if (context, first(text)) not in translated}


def _said_by_django(language: str) -> set[tuple[str | None, str]]:
    home = Path(find_spec("django").submodule_search_locations[0])
    known = set()
    for app in ("conf", "contrib/admin", "contrib/auth"):
        with (home / app / "locale" / language / "LC_MESSAGES/django.mo").open("rb") as file:
            known |= {(message.context, first(message.id)) for message in read_mo(file) if message.string}
    return known


def first(text: str | tuple[str, ...]) -> str:
    """The singular, by which a catalogue finds an entry."""
    return text if isinstance(text, str) else text[0]


def read(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file)


def write(catalogue: Catalog, path: Path) -> None:
    """In a form whose differences are what changed: sorted, without places, dates and wrapped lines."""
    written = BytesIO()
    write_po(
        written,
        catalogue,
        width=0,
        no_location=True,
        omit_header=True,
        sort_output=True,
        ignore_obsolete=True,
    )
    header = (
        'msgid ""\nmsgstr ""\n'
        f'"Language: {catalogue.locale}\\n"\n'
        '"MIME-Version: 1.0\\n"\n"Content-Type: text/plain; charset=UTF-8\\n"\n'
        '"Content-Transfer-Encoding: 8bit\\n"\n'
        f'"Plural-Forms: {catalogue.plural_forms}\\n"\n\n'
    )
    path.write_text(header + written.getvalue().decode().strip() + "\n", encoding="utf-8")


def bring_up_to_date(path: Path) -> list[str]:
    """Write the catalogue with what is said today; returns what waits for a translation."""
    known = read(path)
    fresh = Catalog(locale=known.locale)
    for context, text in said_by_us() | said_by_unfold(known.locale.language):
        fresh.add(text, context=context)
    for message in fresh:
        before = known.get(first(message.id), message.context) if message.id else None
        if before and isinstance(before.string, str) == isinstance(message.id, str):
            message.string = before.string
    # Nobody's plural form but the catalogue's own: nplurals and the rule stay as they were.
    fresh._num_plurals, fresh._plural_expr = known.num_plurals, known.plural_expr
    write(fresh, path)
    return sorted(first(message.id) for message in fresh if message.id and not all(_strings(message.string)))


def _strings(string: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return string if isinstance(string, tuple) else (string or "",)


def main() -> None:
    for path in CATALOGUES:
        waiting = bring_up_to_date(path)
        sys.stdout.write(f"{path.relative_to(ROOT)}: {len(waiting)} to translate\n")
        sys.stdout.writelines(f"  {text!r}\n" for text in waiting)


if __name__ == "__main__":
    main()
