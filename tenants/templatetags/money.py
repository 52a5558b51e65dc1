"""Amounts as the reader writes them: 1 234,50 € in French, €1,234.50 in English."""

from decimal import Decimal

from django import template
from django.db import connection
from django.utils.formats import number_format
from django.utils.translation import get_language

register = template.Library()

SYMBOLS = {"EUR": "€", "GBP": "£", "USD": "$"}
NO_BREAK_SPACE = "\u00a0"


@register.filter
def money(cents: int | None) -> str:
    """An amount in minor units, in the brand's currency; empty for `None`."""
    if cents is None:
        return ""
    currency = getattr(connection.tenant, "currency", "EUR")
    symbol = SYMBOLS.get(currency, currency)
    amount = number_format(abs(Decimal(cents)) / 100, decimal_pos=2, force_grouping=True)
    sign = "−" if cents < 0 else ""
    if (get_language() or "en").startswith("fr") or symbol == currency:
        return f"{sign}{amount}{NO_BREAK_SPACE}{symbol}"
    return f"{sign}{symbol}{amount}"
