"""A file for people, opened in a spreadsheet: every cell is guarded against formulas."""

from django.utils.translation import gettext_lazy as _

from campaigns.exports.columns import Column, Format

FORMAT = Format(
    code="plain_csv",
    label=_("Spreadsheet (CSV)"),
    for_people=True,
    columns=(
        Column("customer_id", lambda row: str(row.public_id)),
        Column("first_name", lambda row: row.first_name),
        Column("last_name", lambda row: row.last_name),
        Column("email", lambda row: row.email),
        Column("phone", lambda row: row.phone),
        Column("street", lambda row: row.street),
        Column("postcode", lambda row: row.postcode),
        Column("city", lambda row: row.city),
        Column("home_store", lambda row: row.store_code),
    ),
)
