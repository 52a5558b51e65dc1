"""Ways in that have pages of their own: the catalogue names them, with their format, and leads there."""

from django.utils.translation import gettext_lazy

from profiles.connectors.kinds import Kind, Sample
from profiles.connectors.samples import customers_csv


def ticket() -> Sample:
    """A ticket as a till sends it."""
    content = """\
{
  "receipt_id": "R-1001",
  "bought_at": "2026-11-21T17:05:00+01:00",
  "member": {"card": "2990000099990"},
  "lines": [
    {"sku": "3250", "label": "Comté 12 mois", "category": "DAIRY", "quantity": 2, "amount": 19.80},
    {"sku": "7711", "label": "Panier de Noël", "category": "GROCERY", "amount": 89.90}
  ]
}
"""
    return Sample("ticket.json", "application/json", content.encode())


TILLS = Kind(
    code="till",
    title=gettext_lazy("Tills"),
    summary=gettext_lazy(
        "Each till of each store calls with a key of its own: members, tickets, refunds, points."
    ),
    icon="point_of_sale",
    format=gettext_lazy(
        "REST and JSON: POST /api/v1/purchases for a ticket, /api/v1/purchases/batch for up to 500, such as a day the "
        "till was offline. Every request may be sent again."
    ),
    anchor="tills",
    sample=ticket,
    page="admin:network_till_changelist",
    page_label=gettext_lazy("Tills and their keys"),
)
UPLOADS = Kind(
    code="upload",
    title=gettext_lazy("CSV or spreadsheet"),
    summary=gettext_lazy("A file uploaded by hand: see how it is read, correct it, rehearse, take it in."),
    icon="upload_file",
    format=gettext_lazy(
        "CSV in any charset and with any delimiter, or XLSX; one customer a row, with an id that never changes."
    ),
    anchor="csv-or-spreadsheet",
    sample=customers_csv,
    page="admin:profiles_importrun_add",
    page_label=gettext_lazy("Import a file"),
)
WEB_EVENTS = Kind(
    code="web",
    title=gettext_lazy("Web and app events"),
    summary=gettext_lazy("What visitors of a site or an app do, anonymous until they say who they are."),
    icon="web",
    format=gettext_lazy("Events in JSON, sent by the page itself with the site's key."),
    anchor="web-events",
    page="admin:profiles_site_changelist",
    page_label=gettext_lazy("Sites"),
)
