"""What head office sees of people: customers, events, pairs to review, tickets, sources and imports; a module each."""

from profiles.admin import customers, events, review, sources, tickets
from profiles.imports import admin as imports

__all__ = ["customers", "events", "imports", "review", "sources", "tickets"]
