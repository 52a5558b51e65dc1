-- The limit: the rows of one purchase and what it earns (ticket, lines, buyer's facts, transaction, postings, balance, lot,
-- kept answer), written by a function that neither asks nor thinks. It writes into the brand's own tables, with their
-- indexes, constraints and triggers.
CREATE SEQUENCE bench_receipt
-- next
CREATE FUNCTION bench_earn(person bigint, till bigint, store bigint, issued bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    receipt text := 'B' || nextval('bench_receipt');
    ticket bigint;
    fact bigint;
    account bigint;
    has bigint;
BEGIN
    INSERT INTO profiles_purchase (store_id, till_id, business_day, receipt_id, bought_at, received_at, profile_id,
                                   identified_by, total_cents, payment, content_hash)
    VALUES (store, till, current_date, receipt, now(), now(), person, 'card:2990000000001', 6230, 'card',
            '0b5c5e5a41a6e8f3d8f8f1f2ad8d6d3a0b5c5e5a41a6e8f3d8f8f1f2ad8d6d3a') RETURNING id INTO ticket;
    INSERT INTO profiles_purchaseline (purchase_id, number, sku, label, category, quantity, amount_cents,
                                       discount_cents, store_id, profile_id, business_day)
    VALUES (ticket, 1, 'S101', 'Comté 12 mois', 'DAIRY', 1, 1980, 0, store, person, current_date),
           (ticket, 2, 'S202', 'Panier', 'GROCERY', 2, 2490, 0, store, person, current_date),
           (ticket, 3, 'S303', 'Thé vert', 'GROCERY', 1, 760, 0, store, person, current_date),
           (ticket, 4, 'S404', 'Savon', 'HYGIENE', 1, 1000, 0, store, person, current_date);
    UPDATE profiles_profilefacts SET purchases = purchases + 1, spend_cents = spend_cents + 6230,
                                     last_purchase_on = current_date WHERE profile_id = person;
    INSERT INTO loyalty_transaction (key, kind, profile_id, store_id, purchase_id, occurred_at, posted_at,
                                     qualifying_points, tier, explanation, actor, earned_before)
    VALUES ('earn:' || ticket, 'earn', person, store, ticket, now(), now(), 62, 'gold',
            '[{"why": "base", "rule": "base", "points": 62, "version": 1}]', '', 0) RETURNING id INTO fact;
    SELECT id, balance + 62 INTO account, has FROM loyalty_account WHERE profile_id = person AND kind = 'available';
    INSERT INTO loyalty_posting (transaction_id, account_id, points) VALUES (fact, issued, -62), (fact, account, 62);
    INSERT INTO loyalty_lot (transaction_id, account_id, store_id, points, remaining, available_on, expires_on)
    VALUES (fact, account, store, 62, 62, current_date, current_date + 365);
    INSERT INTO loyalty_tillrequest (till_id, key, request_hash, status, response, at)
    VALUES (till, 'purchase:' || current_date || ':' || receipt,
            '0b5c5e5a41a6e8f3d8f8f1f2ad8d6d3a0b5c5e5a41a6e8f3d8f8f1f2ad8d6d3a', 201,
            jsonb_build_object('points', 62, 'available', has, 'receipt_id', receipt), now());
    RETURN ticket;
END $$
-- next
CREATE FUNCTION bench_post(person bigint, store bigint, issued bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    fact bigint;
    account bigint;
BEGIN
    INSERT INTO loyalty_transaction (key, kind, profile_id, store_id, occurred_at, posted_at,
                                     qualifying_points, tier, explanation, actor, earned_before)
    VALUES ('bare:' || nextval('bench_receipt'), 'adjust', person, store, now(), now(), 0, '',
            '[{"why": "bench"}]', '', 0) RETURNING id INTO fact;
    SELECT id INTO account FROM loyalty_account WHERE profile_id = person AND kind = 'available';
    INSERT INTO loyalty_posting (transaction_id, account_id, points) VALUES (fact, issued, -62), (fact, account, 62);
    INSERT INTO loyalty_lot (transaction_id, account_id, store_id, points, remaining, available_on, expires_on)
    VALUES (fact, account, store, 62, 62, current_date, current_date + 365);
    RETURN fact;
END $$
