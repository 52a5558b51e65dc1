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
-- buyers are held, in the order of their ids, before anything that sums them up. One row a statement: in a call for one
-- ticket, which most are, a statement over sets takes longer to begin than to run.
CREATE OR REPLACE FUNCTION record_tickets(received timestamptz, tickets jsonb,
                                          OUT purchases bigint[], OUT people bigint[], OUT fresh boolean[])
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    told record;
    n int := 0;
    ticket bigint;
    person bigint;
    merged boolean;
    home bigint;
    known_here timestamptz;
    known timestamptz;
BEGIN
    FOR told IN
        SELECT * FROM jsonb_to_recordset(tickets)
            AS t(till bigint, store bigint, receipt text, day date, at timestamptz, kind text, key text, profile bigint,
                 identified_by text, total bigint, payment text, hash text, lines jsonb)
    LOOP
        -- A card that two people share is the one's who had it first. Of two equal receipts at once the second waits
        -- here for the first, and is then known.
        INSERT INTO profiles_purchase AS p (store_id, till_id, business_day, receipt_id, bought_at, received_at,
                                            profile_id, identified_by, total_cents, payment, content_hash)
        VALUES (told.store, told.till, told.day, told.receipt, told.at, received,
                CASE WHEN told.kind IS NULL THEN told.profile ELSE
                    (SELECT i.profile_id FROM profiles_identifier i WHERE i.kind = told.kind AND i.key = told.key
                      ORDER BY i.first_seen, i.profile_id LIMIT 1) END,
                told.identified_by, told.total, told.payment, told.hash)
            ON CONFLICT (store_id, till_id, business_day, receipt_id) DO NOTHING
        RETURNING p.id, p.profile_id INTO ticket, person;
        people := people || person;
        fresh := fresh || (ticket IS NOT NULL);
        IF ticket IS NULL THEN
            SELECT p.id INTO ticket FROM profiles_purchase p
             WHERE p.store_id = told.store AND p.till_id = told.till AND p.business_day = told.day
               AND p.receipt_id = told.receipt;
            purchases := purchases || ticket;
            CONTINUE;
        END IF;
        purchases := purchases || ticket;
        IF person IS NULL AND told.kind IS NOT NULL THEN
            PERFORM look_closer('people');
        END IF;
        INSERT INTO profiles_purchaseline (purchase_id, number, sku, label, category, quantity, amount_cents,
                                           discount_cents, store_id, profile_id, business_day)
        SELECT ticket, number, line->>0, line->>1, line->>2, (line->>3)::numeric, (line->>4)::bigint,
               (line->>5)::bigint, told.store, person, told.day
          FROM jsonb_array_elements(told.lines) WITH ORDINALITY AS of(line, number);
    END LOOP;

    FOR merged IN
        SELECT p.merged_into_id IS NOT NULL FROM profiles_profile p WHERE p.id = ANY(people)
         ORDER BY p.id FOR NO KEY UPDATE
    LOOP
        IF merged THEN
            PERFORM look_closer('people');
        END IF;
    END LOOP;

    FOR told IN
        SELECT * FROM jsonb_to_recordset(tickets) AS t(store bigint, day date, at timestamptz, total bigint)
    LOOP
        n := n + 1;
        person := people[n];
        CONTINUE WHEN person IS NULL;
        -- What a recount from all purchases would say (profiles/facts.py), from what it said before.
        UPDATE profiles_profilefacts f
           SET purchases = f.purchases + 1, spend_cents = f.spend_cents + told.total,
               first_purchase_on = least(f.first_purchase_on, told.day),
               last_purchase_on = greatest(f.last_purchase_on, told.day)
         WHERE f.profile_id = person
        RETURNING f.home_store_id,
                  (SELECT k.since FROM profiles_profilestore k
                    WHERE k.profile_id = f.profile_id AND k.store_id = told.store),
                  (SELECT p.created_at FROM profiles_profile p WHERE p.id = f.profile_id)
             INTO home, known_here, known;
        IF NOT FOUND THEN
            PERFORM look_closer('people');
        END IF;
        -- Who bought at home once more is at home there still; the others' visits are counted.
        IF home IS DISTINCT FROM told.store THEN
            UPDATE profiles_profilefacts f SET home_store_id = visited.store_id, home_region_id = visited.region_id
              FROM (SELECT p.store_id, s.region_id FROM profiles_purchase p JOIN network_store s ON s.id = p.store_id
                     WHERE p.profile_id = person GROUP BY 1, 2
                     ORDER BY count(*) DESC, max(p.business_day) DESC, p.store_id LIMIT 1) visited
             WHERE f.profile_id = person AND f.home_store_id IS DISTINCT FROM visited.store_id;
        END IF;
        IF known_here IS NULL OR known_here > told.at THEN
            INSERT INTO profiles_profilestore (profile_id, store_id, since) VALUES (person, told.store, told.at)
                ON CONFLICT (profile_id, store_id) DO UPDATE SET since = excluded.since
             WHERE profiles_profilestore.since > excluded.since;
        END IF;
        IF known > told.at THEN
            UPDATE profiles_profile p SET created_at = told.at WHERE p.id = person;
        END IF;
    END LOOP;
END $$
