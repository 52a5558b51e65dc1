-- One ticket more for each member of the benchmark: what the product would have written, chain included, by sets. The
-- triggers sleep meanwhile; the proof that is measured afterwards would see a mistake.
CREATE TEMP TABLE bought AS
SELECT p.id AS person, a.id AS account, a.entries + 1 AS number, a.head, nextval('profiles_purchase_id_seq') AS purchase,
       nextval('loyalty_transaction_id_seq') AS fact,
       timestamptz '2026-01-05 10:00+01' + make_interval(days => %(round)s) AS at
  FROM profiles_profile p JOIN loyalty_account a ON a.profile_id = p.id AND a.kind = 'available'
-- next
INSERT INTO profiles_purchase (id, store_id, till_id, business_day, receipt_id, bought_at, received_at, profile_id,
                               identified_by, total_cents, payment, content_hash)
SELECT purchase, %(store)s, %(till)s, at::date, 'H' || purchase, at, at, person, '', 6230, 'card', '-' FROM bought
-- next
INSERT INTO profiles_purchaseline (purchase_id, number, sku, label, category, quantity, amount_cents, discount_cents,
                                   store_id, profile_id, business_day)
SELECT purchase, n, 'S' || n, '', 'GROCERY', 1, CASE n WHEN 1 THEN 1980 ELSE 4250 END, 0, %(store)s, person, at::date
  FROM bought, generate_series(1, 2) n
-- next
INSERT INTO loyalty_transaction (id, key, kind, profile_id, store_id, purchase_id, occurred_at, posted_at,
                                 qualifying_points, tier, explanation, actor, earned_before)
SELECT fact, 'earn:' || purchase, 'earn', person, %(store)s, purchase, at, at, 62, '',
       '[{"why": "base", "rule": "base", "points": 62, "version": 1}]', '', 0 FROM bought
-- next
INSERT INTO loyalty_posting (transaction_id, account_id, points, number, hash)
SELECT fact, %(issued)s, -62, 0, '' FROM bought
-- next
INSERT INTO loyalty_posting (transaction_id, account_id, points, number, hash)
SELECT fact, account, 62, number,
       encode(sha256(convert_to(concat_ws('|', head, account, number, 62, fact, 'earn:' || purchase, 'earn'), 'UTF8')),
              'hex') FROM bought
-- next
UPDATE loyalty_account a SET balance = a.balance + 62, entries = b.number, head = p.hash
  FROM bought b JOIN loyalty_posting p ON p.transaction_id = b.fact AND p.account_id = b.account WHERE a.id = b.account
-- next
INSERT INTO loyalty_lot (transaction_id, account_id, store_id, points, remaining, available_on, expires_on)
SELECT fact, account, %(store)s, 62, 62, at::date, at::date + 365 FROM bought
-- next
DROP TABLE bought
