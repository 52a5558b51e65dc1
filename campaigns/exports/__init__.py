"""Files that leave: one module a destination, one streaming writer, and the record of what left, to whom and why."""

from campaigns.exports import brevo, plain_csv
from campaigns.exports.columns import Column, Format, Row

FORMATS: dict[str, Format] = {format_.code: format_ for format_ in (brevo.FORMAT, plain_csv.FORMAT)}

__all__ = ["FORMATS", "Column", "Format", "Row"]
