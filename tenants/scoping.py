"""The wall between stores: what the code that runs now may see.

A `Scope` is a set of store ids, or `None` for the whole network; an empty set sees nothing. It lives in a
context variable that the entrances set (middleware, tills, Celery tasks) and that the default manager of every
`StoreScoped` model reads **when its SQL is compiled**. Late binding is the point: querysets that DRF,
django-filter and the admin build once, at import, stay safe, and a query outside any scope raises `NoScope`
instead of returning rows.

Known hole, held by a rule and by `tests/test_scoping.py`: a join is not scoped. `Sum("purchases__total_cents")`
walks around the wall, `Subquery(Purchase.objects…)` does not; ask across tables by subquery.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from django.db import models
from django.db.models.expressions import Expression, F
from django.db.models.sql import Query


class NoScope(RuntimeError):
    """A query on store-scoped rows ran where nobody said what may be seen."""


@dataclass(frozen=True)
class Scope:
    """What may be seen: the stores' ids, or `None` for the whole network."""

    store_ids: frozenset[int] | None

    @property
    def is_whole_network(self) -> bool:
        return self.store_ids is None

    @classmethod
    def of(cls, store_ids: Iterable[int] | None) -> "Scope":
        return cls(None if store_ids is None else frozenset(store_ids))


NOTHING = Scope(frozenset())
WHOLE_NETWORK = Scope(None)

_scope: ContextVar[Scope | None] = ContextVar("store_scope", default=None)


def current_scope() -> Scope:
    """The scope in force; raises `NoScope` where none was opened."""
    scope = _scope.get()
    if scope is None:
        raise NoScope("no store scope is open: use scoped_to(...) or whole_network()")
    return scope


@contextmanager
def scoped_to(scope: Scope) -> Iterator[Scope]:
    """Open a scope for the block. Scopes nest; leaving a block restores the one before."""
    token = _scope.set(scope)
    try:
        yield scope
    finally:
        _scope.reset(token)


def enter(scope: Scope) -> None:
    """Replace the scope in force until the block around ends: for who is recognised only inside a view."""
    current_scope()
    _scope.set(scope)


def whole_network():
    """Open the scope that sees every store: head office, and verbs that must find a person wherever known."""
    return scoped_to(WHOLE_NETWORK)


class InScope(Expression):
    """A boolean SQL expression: may the row be seen from the scope in force when the SQL is compiled?

    It holds a reference to the row's primary key only to follow the table's alias through subqueries.
    """

    conditional = True
    # The key's alias is all that is asked of it, and a key of several columns has one too.
    allows_composite_expressions = True
    output_field = models.BooleanField()

    def __init__(self, model: type["StoreScoped"], key: Expression | F | None = None):
        super().__init__()
        self.model = model
        self.key = key or F("pk")

    def get_source_expressions(self):
        return [self.key]

    def set_source_expressions(self, expressions):
        (self.key,) = expressions

    def as_sql(self, compiler, connection):
        stores = current_scope().store_ids
        if stores is None:
            return "TRUE", []
        if not stores:
            return "FALSE", []
        rule = Query(self.model)
        rule.add_q(self.model.visible_from(stores))
        if sum(1 for uses in rule.alias_refcount.values() if uses) != 1:
            raise TypeError(f"{self.model.__name__}.visible_from must not join: ask by subquery")
        where = rule.where.clone()
        if rule.base_table != self.key.alias:
            where.relabel_aliases({rule.base_table: self.key.alias})
        return compiler.compile(where)


class ScopedManager(models.Manager):
    """The default manager of store-scoped models."""

    def get_queryset(self):
        return super().get_queryset().filter(InScope(self.model))


class StoreScoped(models.Model):
    """A row that a store sees or not. The model says which in one line: `visible_from(stores)`."""

    objects = ScopedManager()

    class Meta:
        abstract = True

    @classmethod
    def visible_from(cls, stores: frozenset[int]) -> models.Q:
        """Which rows the given stores see. Local columns and subqueries only, no join."""
        raise TypeError(f"{cls.__name__} does not say who sees it")


class NetworkWide(models.Model):
    """A row that everybody in the brand may read, where the role allows the deed."""

    class Meta:
        abstract = True
