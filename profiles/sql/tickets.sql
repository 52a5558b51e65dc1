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
-- Output, a place for each ticket: its purchase, its buyer, and whether it is new; and who bought something new. Where a
-- closer look is needed the whole call is refused (`closer_look_people`): an identifier that nobody has shown before, a
-- buyer who was merged meanwhile, or one without facts.
--
-- Tickets are written before their buyers are held, so that others wait for a member as shortly as can be. Then the
-- buyers are held, in the order of their ids, before anything that sums them up. One row a statement: in a call for one
-- ticket, which most are, a statement over sets takes longer to begin than to run.
CREATE OR REPLACE FUNCTION record_tickets(till bigint, store bigint, received timestamptz, tickets jsonb,
                                          OUT purchases bigint[], OUT people bigint[], OUT fresh boolean[],
                                          OUT buyers bigint[])
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    told jsonb;
    ticket bigint;
    person bigint;
    day date;
    at timestamptz;
    total bigint;
    this int;
    counts bigint[];
    cents bigint[];
    firsts date[];
    lasts date[];
    met timestamptz[];
    held record;
    home bigint;
BEGIN
    FOR told IN SELECT t FROM jsonb_array_elements(tickets) t LOOP
        day := told->>'day';
        at := told->>'at';
        total := told->>'total';
        person := NULL;
        -- A card that two people share is the one's who had it first. Of two equal receipts at once the second waits
        -- here for the first, and is then known.
        INSERT INTO profiles_purchase AS p (store_id, till_id, business_day, receipt_id, bought_at, received_at,
                                            profile_id, identified_by, total_cents, payment, content_hash)
        VALUES (store, till, day, told->>'receipt', at, received,
                CASE WHEN told ? 'kind' THEN
                    (SELECT i.profile_id FROM profiles_identifier i
                      WHERE i.kind = told->>'kind' AND i.key = told->>'key' ORDER BY i.first_seen, i.profile_id LIMIT 1)
                     ELSE (told->>'profile')::bigint END,
                told->>'identified_by', total, told->>'payment', told->>'hash')
            ON CONFLICT (store_id, till_id, business_day, receipt_id) DO NOTHING
        RETURNING p.id, p.profile_id INTO ticket, person;
        people := people || person;
        fresh := fresh || (ticket IS NOT NULL);
        IF ticket IS NULL THEN
            SELECT p.id INTO ticket FROM profiles_purchase p
             WHERE p.store_id = store AND p.till_id = till AND p.business_day = day AND p.receipt_id = told->>'receipt';
            purchases := purchases || ticket;
            CONTINUE;
        END IF;
        purchases := purchases || ticket;
        IF person IS NULL AND told ? 'kind' THEN
            PERFORM look_closer('people');
        END IF;
        INSERT INTO profiles_purchaseline (purchase_id, number, sku, label, category, quantity, amount_cents,
                                           discount_cents, store_id, profile_id, business_day)
        SELECT ticket, number, line->>0, line->>1, line->>2, (line->>3)::numeric, (line->>4)::bigint,
               (line->>5)::bigint, store, person, day
          FROM jsonb_array_elements(told->'lines') WITH ORDINALITY AS of(line, number);
        CONTINUE WHEN person IS NULL;
        this := array_position(buyers, person);
        IF this IS NULL THEN
            buyers := buyers || person;
            counts := counts || 1::bigint;
            cents := cents || total;
            firsts := firsts || day;
            lasts := lasts || day;
            met := met || at;
        ELSE
            counts[this] := counts[this] + 1;
            cents[this] := cents[this] + total;
            firsts[this] := least(firsts[this], day);
            lasts[this] := greatest(lasts[this], day);
            met[this] := least(met[this], at);
        END IF;
    END LOOP;

    FOR held IN
        SELECT p.id, p.merged_into_id, p.created_at,
               (SELECT k.since FROM profiles_profilestore k WHERE k.profile_id = p.id AND k.store_id = store) AS since
          FROM profiles_profile p WHERE p.id = ANY(buyers) ORDER BY p.id FOR NO KEY UPDATE
    LOOP
        IF held.merged_into_id IS NOT NULL THEN
            PERFORM look_closer('people');
        END IF;
        this := array_position(buyers, held.id);
        -- What a recount from all purchases would say (profiles/facts.py), from what it said before.
        UPDATE profiles_profilefacts f
           SET purchases = f.purchases + counts[this], spend_cents = f.spend_cents + cents[this],
               first_purchase_on = least(f.first_purchase_on, firsts[this]),
               last_purchase_on = greatest(f.last_purchase_on, lasts[this])
         WHERE f.profile_id = held.id RETURNING f.home_store_id INTO home;
        IF NOT FOUND THEN
            PERFORM look_closer('people');
        END IF;
        -- Who bought at home once more is at home there still; the others' visits are counted.
        IF home IS DISTINCT FROM store THEN
            UPDATE profiles_profilefacts f SET home_store_id = visited.store_id, home_region_id = visited.region_id
              FROM (SELECT p.store_id, s.region_id FROM profiles_purchase p JOIN network_store s ON s.id = p.store_id
                     WHERE p.profile_id = held.id GROUP BY 1, 2
                     ORDER BY count(*) DESC, max(p.business_day) DESC, p.store_id LIMIT 1) visited
             WHERE f.profile_id = held.id AND f.home_store_id IS DISTINCT FROM visited.store_id;
        END IF;
        IF held.since IS NULL OR held.since > met[this] THEN
            INSERT INTO profiles_profilestore (profile_id, store_id, since) VALUES (held.id, store, met[this])
                ON CONFLICT (profile_id, store_id) DO UPDATE SET since = excluded.since
             WHERE profiles_profilestore.since > excluded.since;
        END IF;
        IF held.created_at > met[this] THEN
            UPDATE profiles_profile p SET created_at = met[this] WHERE p.id = held.id;
        END IF;
    END LOOP;
END $$
