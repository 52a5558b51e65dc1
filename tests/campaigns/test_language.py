"""The segment language: what is read, what is refused and where, and how it is told."""

from datetime import date
from pathlib import Path
from string import ascii_letters

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.segments.fields import VOCABULARY
from campaigns.segments.language import (
    DEEPEST,
    MOST_LEAVES,
    Group,
    Leaf,
    SegmentError,
    Takes,
    Window,
    parse,
    tell,
    to_json,
)
from campaigns.segments.language.parsing import CHANNELS
from campaigns.segments.language.words import NEGATIVE, OF_A_ROW, OF_MANY, WITHOUT_VALUE

DAIRY = {"field": "purchases", "category": "DAIRY", "op": ">=", "value": 3, "window": {"last_days": 90}}
AWAY = {"field": "days_since_purchase", "op": ">=", "value": 30}
MAILABLE = {"field": "may_contact", "op": "=", "value": "email"}
NORTH = {"field": "home_region", "op": "in", "value": ["nord"]}


def test_a_definition_becomes_a_tree():
    assert parse({"all": [DAIRY, {"none": [AWAY]}]}, VOCABULARY) == Group(
        "all",
        (
            Leaf("purchases", ">=", 3, (("category", "DAIRY"),), Window(last_days=90)),
            Group("none", (Leaf("days_since_purchase", ">=", 30),)),
        ),
    )


def test_everybody_is_an_empty_all():
    assert parse({"all": []}, VOCABULARY) == Group("all", ())
    assert tell(parse({"all": []}, VOCABULARY), VOCABULARY, "en") == "All customers."


def nested(depth: int) -> dict:
    return AWAY if depth == 0 else {"all": [nested(depth - 1)]}


MISTAKES = [
    ({"all": [{"field": "foo", "op": "=", "value": 1}]}, "all[0].field: unknown field «foo»"),
    (
        {"all": [{"field": "purchase", "op": "=", "value": 1}]},
        "all[0].field: unknown field «purchase»; did you mean «purchases»?",
    ),
    (
        {"all": [AWAY, {"any": [{**AWAY, "op": "~"}]}]},
        "all[1].any[0].op: days since the last purchase does not know",
    ),
    (
        {"all": [{**AWAY, "valeu": 3}]},
        "all[0].valeu: «valeu» means nothing for days since the last purchase; did you",
    ),
    ({"all": [{**AWAY, "value": True}]}, "all[0].value: expected a whole number from 0 to"),
    ({"all": [{**AWAY, "value": 2.5}]}, "all[0].value: expected a whole number"),
    ({"all": [{**AWAY, "value": -1}]}, "all[0].value: expected a whole number"),
    (
        {"all": [{"field": "purchases", "op": ">=", "value": -1}]},
        "all[0].value: expected a whole number, 0 or more",
    ),
    (
        {"all": [{"field": "spend", "op": ">=", "value": 1.5}]},
        "all[0].value: expected an amount as a whole number",
    ),
    ({"all": [{"field": "purchases", "op": ">="}]}, "all[0].value: give a value"),
    ({"all": [{"op": ">="}]}, "all[0].field: choose a field"),
    ({"all": [{"field": "purchases"}]}, "all[0].op: choose an operator"),
    (
        {"all": [{**MAILABLE, "value": "fax"}]},
        "all[0].value: unknown channel «fax»; channels are email, sms, post",
    ),
    (
        {"all": [{**DAIRY, "window": {"last_days": 0}}]},
        "all[0].window.last_days: expected a whole number from 1",
    ),
    ({"all": [{**DAIRY, "window": {"weeks": 2}}]}, "all[0].window: expected"),
    (
        {"all": [{**DAIRY, "window": {"from": "2026-03-01", "to": "2026-02-01"}}]},
        "all[0].window: the window ends before it starts",
    ),
    ({"all": [{**DAIRY, "window": {"from": "20260301"}}]}, "all[0].window.from: expected a date"),
    ({"all": [{**NORTH, "window": {"last_days": 3}}]}, "all[0].window: home region takes no window"),
    ({"all": [{**NORTH, "value": []}]}, "all[0].value: expected a list of 1 to"),
    ({"all": [{**NORTH, "or_missing": True}]}, "all[0].or_missing: or_missing goes with"),
    ({"all": [{"field": "city", "op": "=", "value": "a\x00b"}]}, "all[0].value: expected a text"),
    ({"all": [{"field": "city", "op": "=", "value": "\ud800"}]}, "all[0].value: expected a text"),
    (
        {"all": [{"field": "city", "op": "missing", "value": "x"}]},
        "all[0].value: the operator «missing» takes no",
    ),
    (
        {"all": [{"field": "purchases", "op": "between", "value": [5, 2]}]},
        "all[0].value: expected two values",
    ),
    (
        {"all": [{"field": "points_expiring", "op": ">", "value": 1}]},
        "all[0].within_days: give the within days",
    ),
    ({"all": [3]}, "all[0]: expected a condition or a group"),
    ({"all": {}}, "all: expected a list of conditions"),
    ({"any": []}, "any: this group has no condition"),
    ({"all": [{"none": []}]}, "all[0].none: this group has no condition"),
    ({"all": [], "any": []}, "definition: a group has one key"),
    ([], "definition: a definition is a group"),
    (AWAY, "definition: a definition is a group"),
    ({"all": [AWAY] * (MOST_LEAVES + 1)}, f"all[{MOST_LEAVES}]: at most {MOST_LEAVES} conditions"),
    (nested(DEEPEST + 1), "groups may nest 5 deep at most"),
]


@pytest.mark.parametrize(("definition", "said"), MISTAKES, ids=[said[:60] for _definition, said in MISTAKES])
def test_a_mistake_is_named_with_its_path(definition, said):
    with pytest.raises(SegmentError) as caught:
        parse(definition, VOCABULARY)
    assert said in str(caught.value)
    assert caught.value.told("fr")


def test_the_deepest_tree_is_read():
    assert parse(nested(DEEPEST), VOCABULARY)


def test_operators_may_be_written_as_people_write_them():
    tree = parse({"all": [{**AWAY, "op": "≥"}, {**AWAY, "op": "≠"}]}, VOCABULARY)
    assert [leaf.op for leaf in tree.children] == [">=", "!="]


# Told in both languages ------------------------------------------------------------------------------------------

TOLD = [
    (
        {"all": [DAIRY, AWAY, MAILABLE, NORTH]},
        (
            "Customers with at least 3 purchases in category DAIRY in the last 90 days, last purchase at least 30 days "
            "ago, consent to be contacted by email and home region nord."
        ),
        (
            "Clients avec au moins 3 achats dans la catégorie DAIRY depuis 90 jours, dernier achat il y "
            "a au moins 30 jours, accord pour un contact par email et région d’attache nord."
        ),
    ),
    (
        {"any": [{"field": "spend", "op": "between", "value": [1000, 2550]}, {"none": [MAILABLE, NORTH]}]},
        (
            "Customers with between 10.00 and 25.50 spent or none of: (consent to be contacted by email; home region "
            "nord)."
        ),
        (
            "Clients avec entre 10.00 et 25.50 dépensés ou rien de ceci : (accord pour un contact par email ; région "
            "d’attache nord)."
        ),
    ),
    (
        {
            "all": [
                {"field": "city", "op": "!=", "value": "Lyon", "or_missing": True},
                {**MAILABLE, "op": "!="},
            ]
        },
        "Customers with town other than «Lyon» or unknown and no consent to be contacted by email.",
        "Clients avec ville autre que « Lyon » ou inconnu et pas d’accord pour un contact par email.",
    ),
    (
        {
            "all": [
                {
                    "field": "purchases",
                    "store": ["A", "B"],
                    "op": "=",
                    "value": 0,
                    "window": {"month": "previous"},
                }
            ]
        },
        "Customers with exactly 0 purchases in store A or B in the month before this one.",
        "Clients avec exactement 0 achat dans le magasin A ou B le mois précédent.",
    ),
    (
        {
            "all": [
                {"field": "birthday", "op": "next", "value": 7},
                {"field": "has_phone", "op": "=", "value": False},
            ]
        },
        "Customers with a birthday in the next 7 days and no phone number.",
        "Clients avec un anniversaire d’ici 7 jours et pas de téléphone.",
    ),
]


@pytest.mark.parametrize(("definition", "english", "french"), TOLD)
def test_conditions_are_told_in_plain_words(definition, english, french):
    tree = parse(definition, VOCABULARY)
    assert tell(tree, VOCABULARY, "en") == english
    assert tell(tree, VOCABULARY, "fr") == french


def test_windows_are_days_of_the_brand():
    today = date(2026, 3, 15)
    assert Window(last_days=14).bounds(today) == (date(2026, 3, 1), today)
    assert Window(month="previous").bounds(today) == (date(2026, 2, 1), date(2026, 2, 28))
    assert Window(first=date(2026, 1, 1)).bounds(today) == (date(2026, 1, 1), date.max)


# Properties ------------------------------------------------------------------------------------------------------

texts = st.text(ascii_letters + "éèçÉ' -<&\u2028", min_size=1, max_size=12).filter(str.strip)
days = st.dates(date(1990, 1, 1), date(2060, 1, 1))
ATOMS = {
    Takes.NUMBER: st.integers(0, 10**9),
    Takes.CENTS: st.integers(-(10**9), 10**9),
    Takes.DAYS: st.integers(0, 3000),
    Takes.DAY: days,
    Takes.TEXT: texts,
    Takes.CODE: texts,
    Takes.CHANNEL: st.sampled_from(CHANNELS),
    Takes.FLAG: st.booleans(),
}
windows = st.one_of(
    st.none(),
    st.builds(Window, last_days=st.integers(1, 3660)),
    st.just(Window(month="previous")),
    st.tuples(days, days).map(lambda pair: Window(first=min(pair), last=max(pair))),
)


@st.composite
def any_leaf(draw):
    word = draw(st.sampled_from(sorted(VOCABULARY.values(), key=lambda word: word.name)))
    op = draw(st.sampled_from(word.allowed_operators))
    atom = ATOMS[word.takes]
    if op in WITHOUT_VALUE:
        value = None
    elif op in OF_A_ROW:
        value = draw(st.integers(0, 182))
    elif op in OF_MANY:
        value = tuple(draw(st.lists(atom, min_size=1, max_size=4)))
    elif op == "between":
        value = tuple(sorted((draw(atom), draw(atom))))
    else:
        value = draw(atom)
    params = []
    for param in sorted(word.params, key=lambda param: param.name):
        if param.required or draw(st.booleans()):
            given_value = ATOMS[param.takes]
            if param.many:
                given_value |= st.lists(ATOMS[param.takes], min_size=1, max_size=3).map(tuple)
            params.append((param.name, draw(given_value)))
    window = draw(windows) if word.windowed else None
    or_missing = op in NEGATIVE and word.may_be_missing and draw(st.booleans())
    return Leaf(word.name, op, value, tuple(params), window, or_missing)


def groups(children):
    return st.builds(
        Group, st.sampled_from(["all", "any", "none"]), st.lists(children, min_size=1, max_size=3).map(tuple)
    )


trees = groups(st.recursive(any_leaf(), groups, max_leaves=6)).filter(lambda tree: depth(tree) <= DEEPEST)


def depth(tree) -> int:
    return 0 if isinstance(tree, Leaf) else 1 + max(depth(child) for child in tree.children)


@given(trees)
def test_what_is_written_is_read_back_alike(tree):
    assert parse(to_json(tree), VOCABULARY) == tree


@given(trees, st.sampled_from(["fr", "en"]))
def test_every_tree_can_be_told(tree, language):
    assert tell(tree, VOCABULARY, language).endswith(".")


KEYS = st.sampled_from(
    [
        "all",
        "any",
        "none",
        "field",
        "op",
        "value",
        "window",
        "last_days",
        "month",
        "from",
        "to",
        "category",
        "or_missing",
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(
        [*VOCABULARY, "=", ">=", "in", "between", "within", "missing", "previous", "2026-01-01"]
    )
)
json_values = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=15,
)


@given(json_values | st.fixed_dictionaries({"all": st.lists(json_values, max_size=4)}))
def test_arbitrary_json_is_read_or_refused_with_a_path(definition):
    try:
        tree = parse(definition, VOCABULARY)
    except SegmentError as refused:
        said = [str(refused), refused.told("fr")]
        assert all(said)
    else:
        assert parse(to_json(tree), VOCABULARY) == tree


def test_every_word_stands_in_the_documentation():
    told = (Path(__file__).parents[2] / "docs" / "segments.md").read_text("utf-8")
    assert [name for name in VOCABULARY if f"`{name}`" not in told] == []
