-- Refuses a call that the ordinary case does not cover. The caller looks closer, in a transaction of several steps;
-- tenants/brand_sql.py turns the name into an exception.
CREATE OR REPLACE FUNCTION look_closer(at text) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RAISE EXCEPTION 'closer_look_%', at USING ERRCODE = 'CDP03', CONSTRAINT = 'closer_look_' || at;
END $$
-- next
-- Takes in a till's tickets in one go: whose they are, each once, with their lines, what segments read of their buyers
-- and which stores know them. profiles/intake/purchases.py calls it, alone or inside the till's function.
--
-- Input: a JSON array, in the order in which they count, of
--   {receipt, day, at, kind, key, profile, identified_by, total, payment, hash,
--    lines: [[sku, label, category, quantity, amount, discount]]}
-- A ticket says whose it is by `kind` and `key` (found here) or by `profile` (settled and held by the caller); one that
-- says neither is nobody's.
--
-- Output, a place for each ticket: its purchase, its buyer, and whether it is new; and who bought something new. Where a closer look is needed the
-- whole call is refused (`closer_look_people`): an identifier that nobody has shown before, a buyer who was merged
-- meanwhile, or one without facts.
--
-- The buyers are held, in the order of their ids, before anything that hangs on them.
CREATE OR REPLACE FUNCTION record_tickets(till bigint, store bigint, received timestamptz, tickets jsonb,
                                          OUT purchases bigint[], OUT people bigint[], OUT fresh boolean[],
                                          OUT buyers bigint[])
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    written bigint[];
    firsts timestamptz[];
    survivor bigint;
    unmet bigint;
    elsewhere bigint[];
    strangers boolean;
BEGIN
    -- A card that two people share is the one's who had it first.
    SELECT array_agg(found.person ORDER BY found.n), bool_or(found.shown AND found.person IS NULL)
      INTO people, strangers
      FROM (SELECT n, t ? 'kind' AS shown, coalesce((t->>'profile')::bigint,
                      (SELECT i.profile_id FROM profiles_identifier i
                        WHERE i.kind = t->>'kind' AND i.key = t->>'key' ORDER BY i.first_seen, i.profile_id LIMIT 1)
                     ) AS person
              FROM jsonb_array_elements(tickets) WITH ORDINALITY AS each(t, n)) found;
    IF strangers THEN
        PERFORM look_closer('people');
    END IF;
    FOR survivor IN
        SELECT p.merged_into_id FROM profiles_profile p WHERE p.id = ANY(people) ORDER BY p.id FOR NO KEY UPDATE
    LOOP
        IF survivor IS NOT NULL THEN
            PERFORM look_closer('people');
        END IF;
    END LOOP;

    purchases := ARRAY(SELECT nextval('profiles_purchase_id_seq') FROM generate_series(1, cardinality(people)));
    -- Of two equal receipts at once the second waits here for the first, and is then known.
    WITH new AS (
        INSERT INTO profiles_purchase (id, store_id, till_id, business_day, receipt_id, bought_at, received_at,
                                       profile_id, identified_by, total_cents, payment, content_hash)
        SELECT purchases[n], store, till, (t->>'day')::date, t->>'receipt', (t->>'at')::timestamptz, received,
               people[n], t->>'identified_by', (t->>'total')::bigint, t->>'payment', t->>'hash'
          FROM jsonb_array_elements(tickets) WITH ORDINALITY AS each(t, n)
         ORDER BY t->>'day', t->>'receipt', n
            ON CONFLICT (store_id, till_id, business_day, receipt_id) DO NOTHING
        RETURNING id)
    SELECT array_agg(id) INTO written FROM new;
    IF cardinality(written) = cardinality(purchases) THEN
        fresh := array_fill(true, ARRAY[cardinality(purchases)]);
    ELSE
        SELECT array_agg(coalesce(id = ANY(written), false) ORDER BY n) INTO fresh
          FROM unnest(purchases) WITH ORDINALITY AS p(id, n);
        SELECT array_agg(CASE WHEN fresh[n] THEN purchases[n] ELSE
                   (SELECT p.id FROM profiles_purchase p
                     WHERE p.store_id = store AND p.till_id = till AND p.business_day = (t->>'day')::date
                       AND p.receipt_id = t->>'receipt') END ORDER BY n)
          INTO purchases FROM jsonb_array_elements(tickets) WITH ORDINALITY AS each(t, n);
        IF written IS NULL THEN
            RETURN;
        END IF;
    END IF;

    INSERT INTO profiles_purchaseline (purchase_id, number, sku, label, category, quantity, amount_cents,
                                       discount_cents, store_id, profile_id, business_day)
    SELECT purchases[n], number, line->>0, line->>1, line->>2, (line->>3)::numeric, (line->>4)::bigint,
           (line->>5)::bigint, store, people[n], (t->>'day')::date
      FROM jsonb_array_elements(tickets) WITH ORDINALITY AS each(t, n),
           jsonb_array_elements(t->'lines') WITH ORDINALITY AS of(line, number)
     WHERE fresh[n];
    -- What a recount from all purchases would say (profiles/facts.py), from what it said before.
    WITH bought AS (
        SELECT people[n] AS person, count(*) AS tickets, sum((t->>'total')::bigint) AS cents,
               min((t->>'day')::date) AS first_on, max((t->>'day')::date) AS last_on,
               min((t->>'at')::timestamptz) AS first_at
          FROM jsonb_array_elements(tickets) WITH ORDINALITY AS each(t, n)
         WHERE fresh[n] AND people[n] IS NOT NULL GROUP BY 1
    ), told AS (
        UPDATE profiles_profilefacts f
           SET purchases = f.purchases + bought.tickets, spend_cents = f.spend_cents + bought.cents,
               first_purchase_on = least(f.first_purchase_on, bought.first_on),
               last_purchase_on = greatest(f.last_purchase_on, bought.last_on)
          FROM bought WHERE f.profile_id = bought.person
        RETURNING f.profile_id, f.home_store_id, bought.first_at)
    SELECT array_agg(profile_id), array_agg(first_at),
           array_agg(profile_id) FILTER (WHERE home_store_id IS DISTINCT FROM store)
      INTO buyers, firsts, elsewhere FROM told;
    IF EXISTS (SELECT 1 FROM unnest(people, fresh) AS b(person, is_new)
                WHERE b.is_new AND b.person IS NOT NULL AND b.person <> ALL(coalesce(buyers, '{}'))) THEN
        PERFORM look_closer('people');
    END IF;
    IF buyers IS NULL THEN
        RETURN;
    END IF;
    -- Who bought at home once more is at home there still; the others' visits are counted.
    IF elsewhere IS NOT NULL THEN
        UPDATE profiles_profilefacts f SET home_store_id = home.store_id, home_region_id = s.region_id
          FROM (SELECT DISTINCT ON (profile_id) profile_id, store_id
                  FROM (SELECT p.profile_id, p.store_id, count(*) AS visits, max(p.business_day) AS last_on
                          FROM profiles_purchase p WHERE p.profile_id = ANY(elsewhere) GROUP BY 1, 2) visited
                 ORDER BY profile_id, visits DESC, last_on DESC, store_id) home
          JOIN network_store s ON s.id = home.store_id
         WHERE f.profile_id = home.profile_id AND f.home_store_id IS DISTINCT FROM home.store_id;
    END IF;

    SELECT count(*) INTO unmet
      FROM unnest(buyers, firsts) AS met(person, at) JOIN profiles_profile p ON p.id = met.person
      LEFT JOIN profiles_profilestore k ON k.profile_id = met.person AND k.store_id = store
     WHERE k.since IS NULL OR k.since > met.at OR p.created_at > met.at;
    IF unmet > 0 THEN
        INSERT INTO profiles_profilestore (profile_id, store_id, since)
        SELECT person, store, at FROM unnest(buyers, firsts) AS met(person, at) ORDER BY person
            ON CONFLICT (profile_id, store_id) DO UPDATE SET since = excluded.since
         WHERE profiles_profilestore.since > excluded.since;
        UPDATE profiles_profile p SET created_at = met.at FROM unnest(buyers, firsts) AS met(person, at)
         WHERE p.id = met.person AND p.created_at > met.at;
    END IF;
END $$
