"""What must hold after every fault, asked of the database in plain SQL, and of the book of what tills heard."""

import json
from collections import Counter, defaultdict

from django.db import connection

from loyalty import proof
from tenants.models import Brand
from tenants.scoping import whole_network

# Each finds nothing. They read tables only, and share no word with the code that posted or with the ledger's proof.
ORACLES = {
    "balance is the sum of its postings": """
        SELECT a.id FROM loyalty_account a LEFT JOIN loyalty_posting p ON p.account_id = a.id
         WHERE a.balance IS NOT NULL GROUP BY a.id HAVING a.balance <> coalesce(sum(p.points), 0)""",
    "balance is what remains of its lots": """
        SELECT a.id FROM loyalty_account a LEFT JOIN loyalty_lot l ON l.account_id = a.id
         WHERE a.kind IN ('available', 'pending') GROUP BY a.id HAVING a.balance <> coalesce(sum(l.remaining), 0)""",
    "no balance is below zero, no debt above": """
        SELECT id FROM loyalty_account WHERE (kind IN ('available', 'pending') AND balance < 0)
            OR (kind = 'debt' AND balance > 0)""",
    "postings are numbered without a gap": """
        SELECT account_id FROM loyalty_posting p JOIN loyalty_account a ON a.id = p.account_id
         WHERE a.balance IS NOT NULL GROUP BY account_id
        HAVING count(*) <> max(number) OR min(number) <> 1 OR count(DISTINCT number) <> count(*)""",
    "each posting holds the hash of the one before": """
        SELECT id FROM (
            SELECT p.id, p.hash = encode(sha256(convert_to(concat_ws('|',
                       coalesce(lag(p.hash) OVER (PARTITION BY p.account_id ORDER BY p.number), ''),
                       p.account_id, p.number, p.points, t.id, t.key, t.kind), 'UTF8')), 'hex') AS fits
              FROM loyalty_posting p JOIN loyalty_account a ON a.id = p.account_id
              JOIN loyalty_transaction t ON t.id = p.transaction_id WHERE a.balance IS NOT NULL) link
         WHERE NOT fits""",
    "a transaction sums to zero": """
        SELECT transaction_id FROM loyalty_posting GROUP BY transaction_id HAVING sum(points) <> 0""",
    "a transaction has its postings": """
        SELECT t.id FROM loyalty_transaction t
         WHERE NOT EXISTS (SELECT FROM loyalty_posting p WHERE p.transaction_id = t.id)""",
    "a kept request has its answer": """
        SELECT id FROM loyalty_tillrequest
         WHERE response IS NULL OR response = '{}' OR status NOT BETWEEN 200 AND 299""",
    "a receipt is one purchase": """
        SELECT min(id) FROM profiles_purchase
         GROUP BY store_id, receipt_id, business_day, till_id HAVING count(*) > 1""",
    "what a ticket earned has a ticket, once": """
        SELECT min(t.id) FROM loyalty_transaction t LEFT JOIN profiles_purchase p ON p.id = t.purchase_id
         WHERE t.kind = 'earn' GROUP BY coalesce(p.id, -t.id) HAVING count(*) > 1 OR count(p.id) = 0""",
    "a ticket is the sum of its lines": """
        SELECT p.id FROM profiles_purchase p LEFT JOIN profiles_purchaseline l ON l.purchase_id = p.id
         GROUP BY p.id HAVING p.total_cents <> coalesce(sum(l.amount_cents), 0)""",
    "a ticket of a till has its kept answer": """
        SELECT p.id FROM profiles_purchase p WHERE NOT EXISTS (
            SELECT FROM loyalty_tillrequest r WHERE r.till_id = p.till_id
               AND r.key = 'purchase:' || p.business_day || ':' || p.receipt_id)""",
}


def rows(query: str, *params) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        return cursor.fetchall()


def check(brand: Brand, book) -> Counter:
    """Everything that `book` says was acknowledged happened once, nothing else did, and the ledger adds up.

    Returns how many of each were compared.
    """
    connection.close()  # a fault may have cut it
    connection.set_tenant(brand)
    assert not book.wrong, book.wrong[:3]
    assert {name: found for name, query in ORACLES.items() if (found := rows(query))} == {}
    counted = Counter(
        tickets=_tickets(book), refunds=_refunds(book), redemptions=_redemptions(book), answers=_answers(book),
        balances=_balances(book),
    )  # fmt: skip
    with whole_network():
        proved = proof.prove()
    assert proved.differences == []
    assert proved.counted["tickets"] == sum(1 for sold in book.sold.values() if sold.card)
    return counted


def _tickets(book) -> int:
    found = rows(
        "SELECT till_id, receipt_id, business_day, total_cents, identified_by FROM profiles_purchase"
    )
    expected = [
        (sold.till, receipt, sold.day, sum(sold.cents), f"card:{sold.card}" if sold.card else "")
        for receipt, sold in book.sold.items()
    ]
    assert Counter(found) == Counter(expected)
    return len(expected)


def _refunds(book) -> int:
    found = rows(
        "SELECT r.till_id, r.refund_id, p.receipt_id, r.total_cents"
        "  FROM profiles_refund r JOIN profiles_purchase p ON p.id = r.purchase_id"
    )
    expected = [
        (back.till, refund, back.receipt, book.sold[back.receipt].cents[back.line])
        for refund, back in book.brought_back.items()
    ]
    assert Counter(found) == Counter(expected)
    return len(expected)


def _redemptions(book) -> int:
    found = rows(
        "SELECT t.key, -sum(p.points)::bigint FROM loyalty_transaction t"
        "  JOIN loyalty_posting p ON p.transaction_id = t.id"
        "  JOIN loyalty_account a ON a.id = p.account_id"
        " WHERE t.kind = 'redeem' AND a.kind = 'available' GROUP BY t.key"
    )
    expected = [(f"redeem:{spent.till}:{name}", spent.points) for name, spent in book.spent.items()]
    assert Counter(found) == Counter(expected)
    return len(expected)


def _answers(book) -> int:
    """What is kept for a till is what it heard, and nothing is kept that it did not hear."""
    found = {(till, key): json.loads(body) for till, key, body in rows(
        "SELECT till_id, key, response::text FROM loyalty_tillrequest"
    )}  # fmt: skip
    assert found.keys() == book.heard.keys()
    assert {key: (found[key], told) for key, told in book.heard.items() if found[key] != told} == {}
    return len(found)


def _balances(book) -> int:
    """Each member has what their tickets are worth by hand, less what they spent."""
    expected: dict[str, int] = defaultdict(int)
    returned: dict[str, set[int]] = defaultdict(set)
    for back in book.brought_back.values():
        returned[back.receipt].add(back.line)
    for receipt, sold in book.sold.items():
        if sold.card:
            kept = [cents for n, cents in enumerate(sold.cents) if n not in returned[receipt]]
            expected[sold.card] += worth(kept)
    for spent in book.spent.values():
        expected[spent.card] -= spent.points
    found = dict(rows(
        "SELECT i.key, coalesce(sum(a.balance), 0)::bigint FROM profiles_identifier i"
        "  LEFT JOIN loyalty_account a ON a.profile_id = i.profile_id WHERE i.kind = 'card' GROUP BY i.key"
    ))  # fmt: skip
    assert {card: points for card, points in found.items() if points} == {
        card: points for card, points in expected.items() if points
    }
    return len(expected)


def worth(cents: list[int]) -> int:
    """Points of a ticket with these lines, under the programme that a new brand begins with."""
    total = sum(cents)
    return total // 100 + (50 if total >= 10_000 else 0)
