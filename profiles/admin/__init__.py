"""What head office sees of people: customers, pairs to review, tickets, sources and imports. One module a list."""

from profiles.admin import customers, review, sources, tickets
from profiles.imports import admin as imports

__all__ = ["customers", "imports", "review", "sources", "tickets"]
