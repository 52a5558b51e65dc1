"""A settlement on paper, in the reader's language: for all, or for the one store that the scope is.

Loaded when the first is written: what draws it is large, and a web process that starts keeps tills waiting.
"""

from functools import cache
from html import escape
from io import BytesIO
from pathlib import Path

import reportlab
from django.db import connection
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.translation import get_language, ngettext, pgettext
from django.utils.translation import gettext as _
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import LongTable, Paragraph, SimpleDocTemplate, Spacer

from loyalty import owed
from tenants.network.models import Store
from tenants.templatetags.money import money

# Longer ones are read in the CSV.
LINES_ON_PAPER = 2000
QUIET = colors.Color(0.35, 0.4, 0.42)
RULE = colors.Color(0.8, 0.84, 0.85)


@cache
def _fonts() -> tuple[str, str]:
    """The typeface that comes with reportlab: it knows every letter of French, the euro and the minus sign."""
    folder = Path(reportlab.__file__).parent / "fonts"
    pdfmetrics.registerFont(TTFont("Text", str(folder / "Vera.ttf")))
    pdfmetrics.registerFont(TTFont("Bold", str(folder / "VeraBd.ttf")))
    return "Text", "Bold"


def write(told: owed.Settlement, store: Store | None = None) -> bytes:
    """The document. `store`: the statement of this one alone, with its lines; without it, all nets and debts."""
    text, bold = _fonts()
    plain = ParagraphStyle("plain", fontName=text, fontSize=9, leading=13)
    head = ParagraphStyle("head", fontName=bold, fontSize=15, leading=20, spaceAfter=4)
    section = ParagraphStyle("section", fontName=bold, fontSize=11, leading=15, spaceBefore=12, spaceAfter=5)
    note = ParagraphStyle("note", parent=plain, textColor=QUIET, fontSize=8, leading=11)
    title = _("Statement between stores, %(month)s") % {"month": told.month}
    story: list = [Paragraph(escape(connection.tenant.name), note), Paragraph(escape(title), head)]
    if store:
        owner = " · ".join(
            filter(None, [str(store), store.legal_name, f"{store.postcode} {store.city}".strip()])
        )
        story.append(Paragraph(escape(owner), plain))
    closed = told.statement and date_format(timezone.localtime(told.statement.closed_at), "DATETIME_FORMAT")
    story += [
        Paragraph(
            escape(
                _("Closed on %(at)s. A closed statement never changes.") % {"at": closed}
                if closed
                else _("Not closed yet: these figures may still change.")
            ),
            note,
        ),
        Spacer(1, 4 * mm),
    ]
    story += _of_store(told, section, note) if store else _of_all(told, section, note)
    out = BytesIO()
    document = SimpleDocTemplate(
        out, pagesize=A4, leftMargin=18 * mm, rightMargin=18 * mm, topMargin=16 * mm, bottomMargin=18 * mm,
        title=title, author=connection.tenant.name, lang=get_language() or "en", invariant=1,
    )  # fmt: skip

    def footed(canvas, doc):
        canvas.setFont(text, 7)
        canvas.setFillColor(QUIET)
        canvas.drawString(18 * mm, 10 * mm, title)
        canvas.drawRightString(A4[0] - 18 * mm, 10 * mm, _("page %(number)s") % {"number": doc.page})

    document.build(story, onFirstPage=footed, onLaterPages=footed)
    return out.getvalue()


def _of_all(told: owed.Settlement, section, note) -> list:
    names, nets = owed.names(), told.nets()
    rows = [[names[net.party], money(net.owed), money(net.owes), money(net.cents)] for net in nets]
    total = [_("Together"), "", "", money(sum(net.cents for net in nets))]
    owing = [
        [
            names[debt.debtor],
            names[debt.creditor],
            number_format(debt.lines, force_grouping=True),
            money(debt.cents),
        ]
        for debt in told.debts()
    ]
    story = [
        Paragraph(escape(_("What each is owed, or owes")), section),
        _table(
            [_("Party"), _("Is owed"), _("Owes"), _("Net")], [*rows, total], [78, 32, 32, 32], totalled=True
        ),
        Paragraph(escape(_("Who owes whom")), section),
    ]
    if owing:
        story.append(
            _table(
                [_("Owes"), pgettext("debt", "To"), _("Lines"), _("Amount")],
                owing,
                [62, 62, 18, 32],
                numbers=2,
            )
        )
    else:
        story.append(Paragraph(escape(_("Nobody owes anybody anything.")), note))
    story.append(Paragraph(escape(_("The CSV holds every line, lot by lot.")), note))
    return story


def _of_store(told: owed.Settlement, section, note) -> list:
    (given, paid), count = told.given_and_paid(), told.count()
    sums = [
        [_("Money given off here, paid by others"), money(given)],
        [_("Points of this store, spent elsewhere"), money(paid)],
        [_("To be received") if given + paid >= 0 else _("To be paid"), money(given + paid)],
    ]
    shown = owed.entries(told.rows[:LINES_ON_PAPER])
    rows = [
        [
            date_format(timezone.localtime(entry.happened_at), "SHORT_DATE_FORMAT"),
            _("here") if entry.is_redeemers else _("another store"),
            str(entry.lot_id), number_format(entry.points, force_grouping=True), money(entry.cents),
        ]
        for entry in shown
    ]  # fmt: skip
    story = [
        _table([_("Net of the store"), _("Amount")], sums, [130, 44], numbers=1, totalled=True),
        Paragraph(escape(_("Lot by lot")), section),
    ]
    if rows:
        header = [_("Day"), _("Spent at"), _("Lot"), _("Points"), _("Amount")]
        story.append(_table(header, rows, [34, 50, 30, 28, 32], numbers=2))
    else:
        story.append(Paragraph(escape(_("Nothing concerned this store in that month.")), note))
    if left := count - len(shown):
        said = ngettext(
            "%(left)s more line stands in the CSV.", "%(left)s more lines stand in the CSV.", left
        )
        story.append(Paragraph(escape(said % {"left": left}), note))
    return story


def _table(header: list, rows: list[list], widths: list[int], *, numbers: int = 1, totalled: bool = False):
    """A table whose columns from `numbers` on are numbers; `totalled`: its last row is a sum."""
    text, bold = _fonts()
    style = [
        ("FONT", (0, 0), (-1, -1), text, 8.5),
        ("FONT", (0, 0), (-1, 0), bold, 8),
        ("TEXTCOLOR", (0, 0), (-1, 0), QUIET),
        ("LINEBELOW", (0, 0), (-1, -1), 0.4, RULE),
        ("ALIGN", (numbers, 0), (-1, -1), "RIGHT"),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (0, -1), 0),
        ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
    ]
    if totalled:
        style += [("FONT", (0, -1), (-1, -1), bold, 8.5)]
    # A long name wraps; a figure does not.
    cell = ParagraphStyle("cell", fontName=text, fontSize=8.5, leading=11)
    wrapped = [
        [Paragraph(escape(str(value)), cell) if place < numbers else value for place, value in enumerate(row)]
        for row in rows
    ]
    if totalled and wrapped:
        wrapped[-1][0] = Paragraph(
            escape(str(rows[-1][0])), ParagraphStyle("sum", parent=cell, fontName=bold)
        )
    return LongTable(
        [header, *wrapped], [width * mm for width in widths], repeatRows=1, style=style, hAlign="LEFT"
    )
