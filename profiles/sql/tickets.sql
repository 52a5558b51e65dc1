-- Refuses a call that the ordinary case does not cover. The caller looks closer, in a transaction of several steps;
-- tenants/brand_sql.py turns the name into an exception.
CREATE OR REPLACE FUNCTION look_closer(at text) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RAISE EXCEPTION 'closer_look_%', at USING ERRCODE = 'CDP03', CONSTRAINT = 'closer_look_' || at;
END $$
-- next
-- Takes in tickets in one go: whose they are, each once, with their lines, what segments read of their buyers and which
-- stores know them. profiles/intake/purchases.py calls it, alone or inside the till's function.
--
-- Input: a JSON array, in the order in which they count, of
--   {till, store, receipt, day, at, kind, key, profile, identified_by, total, payment, hash,
--    lines: [[sku, label, category, quantity, amount, discount]]}
-- A ticket says whose it is by `kind` and `key` (found here) or by `profile` (settled and held by the caller); one that
-- says neither is nobody's.
--
-- Output, a place for each ticket: its purchase, its buyer, and whether it is new. Where a closer look is needed the whole
-- call is refused (`closer_look_people`): an identifier that nobody has shown before, a buyer who was merged meanwhile,
-- or one without facts.
--
-- Tickets are written before their buyers are held, so that others wait for a member as shortly as can be. Then the
-- buyers are held, in the order of their ids, before anything that sums them up. Each statement is over all tickets:
-- what arrives together costs little more than what comes alone. A scan of a function gives its rows in their order, and
-- so come arrays and new ids.
CREATE OR REPLACE FUNCTION record_tickets(received timestamptz, tickets jsonb,
                                          OUT purchases bigint[], OUT people bigint[], OUT fresh boolean[])
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    number int := jsonb_array_length(tickets);
    merged bigint;
    unknown boolean;
    others bigint[];
BEGIN
    -- A card that two people share is the one's who had it first. Of two equal receipts at once the second waits here for
    -- the first, and is then known.
    WITH written AS (
        INSERT INTO profiles_purchase AS p (store_id, till_id, business_day, receipt_id, bought_at, received_at,
                                            profile_id, identified_by, total_cents, payment, content_hash)
        SELECT t.store, t.till, t.day, t.receipt, t.at, received,
               CASE WHEN t.kind IS NULL THEN t.profile ELSE
                   (SELECT i.profile_id FROM profiles_identifier i WHERE i.kind = t.kind AND i.key = t.key
                     ORDER BY i.first_seen, i.profile_id LIMIT 1) END,
               t.identified_by, t.total, t.payment, t.hash
          FROM jsonb_to_recordset(tickets)
               AS t(till bigint, store bigint, receipt text, day date, at timestamptz, kind text, key text,
                    profile bigint, identified_by text, total bigint, payment text, hash text)
            ON CONFLICT (store_id, till_id, business_day, receipt_id) DO NOTHING
        RETURNING p.id, p.profile_id)
    SELECT coalesce(array_agg(w.id), '{}'), array_agg(w.profile_id) INTO purchases, people FROM written w;
    IF cardinality(purchases) = number THEN
        fresh := array_fill(true, ARRAY[number]);
    ELSE  -- some were known before, or stand here twice
        SELECT array_agg(t.id ORDER BY t.n), array_agg(t.is_new ORDER BY t.n),
               array_agg(CASE WHEN t.is_new THEN t.profile_id END ORDER BY t.n)
          INTO purchases, fresh, people
          FROM (SELECT p.id, p.profile_id, t.n,
                       p.id = ANY(purchases) AND 1 = row_number() OVER (PARTITION BY p.id ORDER BY t.n) AS is_new
                  FROM ROWS FROM (jsonb_to_recordset(tickets) AS (till bigint, store bigint, receipt text, day date))
                       WITH ORDINALITY AS t(till, store, receipt, day, n)
                  JOIN profiles_purchase p ON p.store_id = t.store AND p.till_id = t.till AND p.business_day = t.day
                                          AND p.receipt_id = t.receipt) t;
    END IF;
    IF array_position(people, NULL) IS NOT NULL THEN
        PERFORM look_closer('people')
           FROM ROWS FROM (jsonb_to_recordset(tickets) AS (kind text), unnest(people), unnest(fresh))
                AS t(kind, person, fresh) WHERE t.fresh AND t.person IS NULL AND t.kind IS NOT NULL;
    END IF;
    INSERT INTO profiles_purchaseline (purchase_id, number, sku, label, category, quantity, amount_cents,
                                       discount_cents, store_id, profile_id, business_day)
    SELECT t.purchase, line.number, line.said->>0, line.said->>1, line.said->>2, (line.said->>3)::numeric,
           (line.said->>4)::bigint, (line.said->>5)::bigint, t.store, t.person, t.day
      FROM ROWS FROM (jsonb_to_recordset(tickets) AS (store bigint, day date, lines jsonb),
                      unnest(purchases), unnest(people), unnest(fresh)) AS t(store, day, lines, purchase, person, fresh),
           jsonb_array_elements(t.lines) WITH ORDINALITY AS line(said, number)
     WHERE t.fresh;

    IF coalesce(array_remove(people, NULL), '{}') = '{}' THEN
        RETURN;
    END IF;
    SELECT count(p.merged_into_id) INTO merged
      FROM (SELECT p.merged_into_id FROM profiles_profile p WHERE p.id = ANY(people)
             ORDER BY p.id FOR NO KEY UPDATE) p;
    IF merged > 0 THEN
        PERFORM look_closer('people');
    END IF;
    -- What a recount from all purchases would say (profiles/facts.py), from what it said before.
    WITH bought AS (
        SELECT t.person, count(*) AS tickets, sum(t.total) AS cents, min(t.day) AS first_on, max(t.day) AS last_on,
               min(t.store) AS store, max(t.store) AS other_store
          FROM ROWS FROM (jsonb_to_recordset(tickets) AS (store bigint, day date, total bigint), unnest(people))
               AS t(store, day, total, person)
         WHERE t.person IS NOT NULL GROUP BY t.person),
    counted AS (
        UPDATE profiles_profilefacts f
           SET purchases = f.purchases + b.tickets, spend_cents = f.spend_cents + b.cents,
               first_purchase_on = least(f.first_purchase_on, b.first_on),
               last_purchase_on = greatest(f.last_purchase_on, b.last_on)
          FROM bought b JOIN profiles_profilefacts was ON was.profile_id = b.person WHERE f.profile_id = b.person
        RETURNING f.profile_id,
                  b.store = was.home_store_id AND b.other_store = was.home_store_id
                      AND b.first_on > was.last_purchase_on AS as_ever)
    SELECT count(*) < (SELECT count(*) FROM bought), array_agg(c.profile_id) FILTER (WHERE c.as_ever IS NOT TRUE)
      INTO unknown, others FROM counted c;
    IF unknown THEN  -- without facts, or deleted before they were held
        PERFORM look_closer('people');
    END IF;
    -- Who bought at home once more, later than ever before, is at home there still, and known there since before.
    IF others IS NULL THEN
        RETURN;
    END IF;
    UPDATE profiles_profilefacts f SET home_store_id = visited.store_id, home_region_id = visited.region_id
      FROM unnest(others) AS other,
           LATERAL (SELECT p.store_id, s.region_id FROM profiles_purchase p JOIN network_store s ON s.id = p.store_id
                     WHERE p.profile_id = other GROUP BY 1, 2
                     ORDER BY count(*) DESC, max(p.business_day) DESC, p.store_id LIMIT 1) visited
     WHERE f.profile_id = other AND f.home_store_id IS DISTINCT FROM visited.store_id;
    INSERT INTO profiles_profilestore (profile_id, store_id, since)
    SELECT t.person, t.store, min(t.at)
      FROM ROWS FROM (jsonb_to_recordset(tickets) AS (store bigint, at timestamptz), unnest(people))
           AS t(store, at, person)
     WHERE t.person = ANY(others)
       AND NOT EXISTS (SELECT FROM profiles_profilestore k
                        WHERE k.profile_id = t.person AND k.store_id = t.store AND k.since <= t.at)
     GROUP BY 1, 2
        ON CONFLICT (profile_id, store_id) DO UPDATE SET since = excluded.since
     WHERE profiles_profilestore.since > excluded.since;
    UPDATE profiles_profile p SET created_at = t.at
      FROM (SELECT t.person, min(t.at) AS at
              FROM ROWS FROM (jsonb_to_recordset(tickets) AS (at timestamptz), unnest(people)) AS t(at, person)
             WHERE t.person = ANY(others) GROUP BY 1) t
     WHERE p.id = t.person AND p.created_at > t.at;
END $$
