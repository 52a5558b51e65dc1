"""Brevo's contact import: semicolons, e-mail in lower case, phones as country code and digits.

Attributes other than EMAIL and SMS must exist in the Brevo account beforehand, else Brevo leaves them out.
"""

from campaigns.exports.columns import Column, Format, Row


def _sms(row: Row) -> str:
    return row.phone.removeprefix("+")


FORMAT = Format(
    code="brevo",
    label="Brevo (CSV)",
    delimiter=";",
    columns=(
        Column("EMAIL", lambda row: row.email.strip().lower()),
        Column("SMS", _sms),
        Column("EXT_ID", lambda row: str(row.public_id)),
        Column("PRENOM", lambda row: row.first_name),
        Column("NOM", lambda row: row.last_name),
        Column("MAGASIN", lambda row: row.store_code),
    ),
)
