"""What head office sees of people: customers, pairs to review, tickets and sources. One module a list."""

from profiles.admin import customers, review, sources, tickets

__all__ = ["customers", "review", "sources", "tickets"]
