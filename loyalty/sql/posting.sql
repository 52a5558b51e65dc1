-- How points are posted: one writer, the deeds that think under the member's lock, and the till's verbs on top of them,
-- each one call. Python decides what a ticket earns (loyalty/rules.py); nothing here knows a rule of earning.
--
-- The first statement gives the programme a new edition whenever a rule, a tier or itself changes: a till thinks with
-- the rulebook it remembers, and is told to read it again where the edition is another one.
CREATE OR REPLACE FUNCTION programme_new_edition() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_TABLE_NAME = 'loyalty_programme' THEN
        NEW.edition := extract(epoch FROM clock_timestamp()) * 1000000;
        RETURN NEW;
    END IF;
    UPDATE loyalty_programme SET edition = 0;
    RETURN NULL;
END $$
-- next
CREATE OR REPLACE TRIGGER programme_new_edition BEFORE INSERT OR UPDATE ON loyalty_programme
    FOR EACH ROW EXECUTE FUNCTION programme_new_edition()
-- next
CREATE OR REPLACE TRIGGER programme_new_edition AFTER INSERT OR UPDATE OR DELETE ON loyalty_rule
    FOR EACH STATEMENT EXECUTE FUNCTION programme_new_edition()
-- next
CREATE OR REPLACE TRIGGER programme_new_edition AFTER INSERT OR UPDATE OR DELETE ON loyalty_ruleversion
    FOR EACH STATEMENT EXECUTE FUNCTION programme_new_edition()
-- next
CREATE OR REPLACE TRIGGER programme_new_edition AFTER INSERT OR UPDATE OR DELETE ON loyalty_tier
    FOR EACH STATEMENT EXECUTE FUNCTION programme_new_edition()
-- next
-- The one writer of the ledger. Facts and new lots come with their ids drawn; the people are held by the caller, or
-- their accounts locked in the order of their ids.
CREATE OR REPLACE FUNCTION ledger_write(facts loyalty_transaction[], postings loyalty_posting[], lots loyalty_lot[],
                                        uses loyalty_lotuse[], moves loyalty_lot[], later loyalty_lotextension[])
RETURNS int LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    fact loyalty_transaction;
    lot loyalty_lot;
BEGIN
    FOREACH fact IN ARRAY facts LOOP
        INSERT INTO loyalty_transaction (id, key, kind, profile_id, store_id, purchase_id, refund_id, reverses_id,
                                         occurred_at, posted_at, qualifying_points, tier, explanation, actor,
                                         earned_before)
        VALUES (fact.id, fact.key, fact.kind, fact.profile_id, fact.store_id, fact.purchase_id, fact.refund_id,
                fact.reverses_id, fact.occurred_at, clock_timestamp(), fact.qualifying_points, fact.tier,
                fact.explanation, fact.actor, fact.earned_before);
    END LOOP;
    INSERT INTO loyalty_posting (transaction_id, account_id, points)
    SELECT e.transaction_id, e.account_id, e.points FROM unnest(postings) e ORDER BY e.account_id, e.transaction_id;
    UPDATE loyalty_account a SET balance = a.balance + change.points
      FROM (SELECT e.account_id, sum(e.points) AS points FROM unnest(postings) e GROUP BY 1) change
     WHERE a.id = change.account_id AND a.balance IS NOT NULL AND change.points <> 0;
    IF lots IS NOT NULL THEN
        FOREACH lot IN ARRAY lots LOOP
            INSERT INTO loyalty_lot (id, transaction_id, account_id, store_id, points, remaining, available_on,
                                     expires_on, idle_months)
            VALUES (lot.id, lot.transaction_id, lot.account_id, lot.store_id, lot.points, lot.points,
                    lot.available_on, lot.expires_on, lot.idle_months);
        END LOOP;
    END IF;
    IF uses IS NOT NULL THEN
        INSERT INTO loyalty_lotuse (transaction_id, lot_id, points)
        SELECT u.transaction_id, u.lot_id, u.points FROM unnest(uses) u;
        UPDATE loyalty_lot l SET remaining = l.remaining - used.points
          FROM (SELECT u.lot_id, sum(u.points) AS points FROM unnest(uses) u GROUP BY 1) used
         WHERE l.id = used.lot_id AND used.points <> 0;
    END IF;
    IF moves IS NOT NULL THEN
        UPDATE loyalty_lot l SET account_id = m.account_id FROM unnest(moves) m WHERE l.id = m.id;
    END IF;
    IF later IS NOT NULL THEN
        INSERT INTO loyalty_lotextension (transaction_id, lot_id, was, until)
        SELECT e.transaction_id, e.lot_id, e.was, e.until FROM unnest(later) e;
        UPDATE loyalty_lot l SET expires_on = moved.until
          FROM (SELECT e.lot_id, max(e.until) AS until FROM unnest(later) e GROUP BY 1) moved
         WHERE l.id = moved.lot_id;
    END IF;
    RETURN cardinality(facts);
END $$
-- next
-- Posts transactions, all or none. Input: a JSON array of
--   {key, kind, profile, store, purchase, refund, reverses, occurred_at, qualifying, tier, explanation, actor,
--    earned_before, postings: [{account, points}],
--    lots: [{account, store, points, used, available_on, expires_on, idle_months}],
--    uses: [{lot, points}], moves: [{lot, account}], extensions: [{lot, was, until}]}
-- Returns key and id of each. The member accounts are locked in the order of their ids, so that two callers
-- cannot wait for each other.
CREATE OR REPLACE FUNCTION ledger_post(facts jsonb) RETURNS TABLE (key text, id bigint)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    told jsonb;
    part jsonb;
    fact loyalty_transaction;
    entry loyalty_posting;
    lot loyalty_lot;
    used loyalty_lotuse;
    moved loyalty_lot;
    longer loyalty_lotextension;
    posted loyalty_transaction[];
    postings loyalty_posting[];
    lots loyalty_lot[];
    uses loyalty_lotuse[];
    moves loyalty_lot[];
    later loyalty_lotextension[];
    total bigint;
    written int;
BEGIN
    FOR n IN 0..jsonb_array_length(facts) - 1 LOOP
        told := facts->n;
        fact.id := nextval('loyalty_transaction_id_seq');
        fact.key := told->>'key';
        fact.kind := told->>'kind';
        fact.profile_id := told->>'profile';
        fact.store_id := told->>'store';
        fact.purchase_id := told->>'purchase';
        fact.refund_id := told->>'refund';
        fact.reverses_id := told->>'reverses';
        fact.occurred_at := told->>'occurred_at';
        fact.qualifying_points := coalesce((told->>'qualifying')::bigint, 0);
        fact.tier := coalesce(told->>'tier', '');
        fact.explanation := coalesce(told->'explanation', '[]');
        fact.actor := coalesce(told->>'actor', '');
        fact.earned_before := coalesce((told->>'earned_before')::bigint, 0);
        posted := posted || fact;
        total := 0;
        FOR m IN 0..jsonb_array_length(told->'postings') - 1 LOOP
            part := told->'postings'->m;
            entry.transaction_id := fact.id;
            entry.account_id := part->>'account';
            entry.points := part->>'points';
            total := total + entry.points;
            postings := postings || entry;
        END LOOP;
        IF total <> 0 THEN
            RAISE EXCEPTION 'transaction_sums_to_zero: %', fact.key
                USING ERRCODE = 'CDP02', CONSTRAINT = 'transaction_sums_to_zero', TABLE = 'loyalty_posting';
        END IF;
        IF told->'lots' <> '[]' THEN
            FOR m IN 0..jsonb_array_length(told->'lots') - 1 LOOP
            part := told->'lots'->m;
                lot.id := nextval('loyalty_lot_id_seq');
                lot.transaction_id := fact.id;
                lot.account_id := part->>'account';
                lot.store_id := part->>'store';
                lot.points := part->>'points';
                lot.available_on := part->>'available_on';
                lot.expires_on := part->>'expires_on';
                lot.idle_months := part->>'idle_months';
                lots := lots || lot;
                IF (part->>'used')::bigint > 0 THEN
                    used.transaction_id := fact.id;
                    used.lot_id := lot.id;
                    used.points := part->>'used';
                    uses := uses || used;
                END IF;
            END LOOP;
        END IF;
        IF told->'uses' <> '[]' THEN
            FOR m IN 0..jsonb_array_length(told->'uses') - 1 LOOP
            part := told->'uses'->m;
                used.transaction_id := fact.id;
                used.lot_id := part->>'lot';
                used.points := part->>'points';
                uses := uses || used;
            END LOOP;
        END IF;
        IF told->'moves' <> '[]' THEN
            FOR m IN 0..jsonb_array_length(told->'moves') - 1 LOOP
            part := told->'moves'->m;
                moved.id := part->>'lot';
                moved.account_id := part->>'account';
                moves := moves || moved;
            END LOOP;
        END IF;
        IF told->'extensions' <> '[]' THEN
            FOR m IN 0..jsonb_array_length(told->'extensions') - 1 LOOP
            part := told->'extensions'->m;
                longer.transaction_id := fact.id;
                longer.lot_id := part->>'lot';
                longer.was := part->>'was';
                longer.until := part->>'until';
                later := later || longer;
            END LOOP;
        END IF;
    END LOOP;
    -- One member's accounts are locked by being written.
    IF cardinality(postings) > 2 OR fact.kind = 'transfer' THEN
        PERFORM 1 FROM loyalty_account a
          WHERE a.id IN (SELECT e.account_id FROM unnest(postings) e) AND a.balance IS NOT NULL
          ORDER BY a.id FOR NO KEY UPDATE;
    END IF;
    written := ledger_write(posted, postings, lots, uses, moves, later);
    FOREACH fact IN ARRAY posted LOOP
        key := fact.key;
        id := fact.id;
        RETURN NEXT;
    END LOOP;
END $$
-- next
-- A store's account of a kind, opened where missing.
CREATE OR REPLACE FUNCTION ledger_store_account(of_kind text, of_store bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    found bigint;
BEGIN
    SELECT a.id INTO found FROM loyalty_account a WHERE a.kind = of_kind AND a.store_id = of_store;
    IF found IS NULL THEN
        INSERT INTO loyalty_account (kind, store_id) VALUES (of_kind, of_store) ON CONFLICT DO NOTHING;
        SELECT a.id INTO found FROM loyalty_account a WHERE a.kind = of_kind AND a.store_id = of_store;
    END IF;
    RETURN found;
END $$
-- next
-- Lots of an account to take points from, the earliest expiry first, and how many of each; fewer where they do not
-- suffice. The member is held by the caller.
CREATE OR REPLACE FUNCTION ledger_first_to_expire(account bigint, points bigint, besides bigint[])
RETURNS TABLE (lot bigint, part bigint) LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    wanted bigint := points;
BEGIN
    FOR lot, part IN
        SELECT l.id, l.remaining FROM loyalty_lot l
         WHERE l.account_id = account AND l.remaining > 0 AND l.id <> ALL(besides) ORDER BY l.expires_on, l.id
    LOOP
        EXIT WHEN wanted <= 0;
        part := least(part, wanted);
        wanted := wanted - part;
        RETURN NEXT;
    END LOOP;
END $$
-- next
-- Lots that a purchase or redemption of a day gives new months, alive on that day: an extension for each.
CREATE OR REPLACE FUNCTION ledger_stirred(living loyalty_lot[], account bigint, fact bigint, day date)
RETURNS loyalty_lotextension[] LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    lot loyalty_lot;
    longer loyalty_lotextension;
    later loyalty_lotextension[];
BEGIN
    FOREACH lot IN ARRAY living LOOP
        longer.until := day + make_interval(months => lot.idle_months::int);
        IF lot.account_id = account AND day <= lot.expires_on AND lot.expires_on < longer.until THEN
            longer.transaction_id := fact;
            longer.lot_id := lot.id;
            longer.was := lot.expires_on;
            later := later || longer;
        END IF;
    END LOOP;
    RETURN later;
END $$
-- next
-- Credits tickets, each as a lot with its own expiry; a debt is paid first, out of the new lot. Input, for each:
--   {purchase, profile, store, at, day, tier, before, points, waits, from, until, idle, steps}
-- Returns the transactions' ids. The people are held by the caller.
CREATE OR REPLACE FUNCTION ledger_earn(earnings jsonb[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    told jsonb;
    wanted bigint[];
    members bigint[];
    available bigint[];
    pending bigint[];
    debt bigint[];
    owed bigint[];
    alive boolean;
    living loyalty_lot[];
    written int;
    this int;
    that int;
    of_store bigint;
    issued bigint;
    earned bigint;
    paid bigint;
    fact loyalty_transaction;
    entry loyalty_posting;
    lot loyalty_lot;
    used loyalty_lotuse;
    ids bigint[];
    facts loyalty_transaction[];
    postings loyalty_posting[];
    lots loyalty_lot[];
    uses loyalty_lotuse[];
    stirred loyalty_lotextension[];
    later loyalty_lotextension[];
BEGIN
    IF earnings IS NULL OR cardinality(earnings) = 0 THEN
        RETURN '{}';
    END IF;
    FOREACH told IN ARRAY earnings LOOP
        earned := told->>'profile';
        IF wanted IS NULL OR array_position(wanted, earned) IS NULL THEN
            wanted := wanted || earned;
        END IF;
    END LOOP;
    of_store := earnings[1]->>'store';
    FOR this IN 1..2 LOOP
        SELECT array_agg(profile_id), array_agg(a), array_agg(p), array_agg(d), array_agg(o), bool_or(lives),
               (SELECT s.id FROM loyalty_account s WHERE s.kind = 'issued' AND s.store_id = of_store)
          INTO members, available, pending, debt, owed, alive, issued
          FROM (SELECT v.profile_id, v.id AS a, p.id AS p, d.id AS d, -d.balance AS o,
                       EXISTS (SELECT 1 FROM loyalty_lot l WHERE l.account_id = v.id AND l.remaining > 0
                                                             AND l.idle_months IS NOT NULL) AS lives
                  FROM loyalty_account v
                  JOIN loyalty_account p ON p.profile_id = v.profile_id AND p.kind = 'pending'
                  JOIN loyalty_account d ON d.profile_id = v.profile_id AND d.kind = 'debt'
                 WHERE v.profile_id = ANY(wanted) AND v.kind = 'available') mine;
        EXIT WHEN coalesce(cardinality(members), 0) = cardinality(wanted);
        INSERT INTO loyalty_account (kind, profile_id, balance)
        SELECT kind, person, 0 FROM unnest(wanted) person, unnest(ARRAY['available', 'pending', 'debt']) kind
         ORDER BY person ON CONFLICT DO NOTHING;
    END LOOP;
    IF issued IS NULL THEN
        issued := ledger_store_account('issued', of_store);
    END IF;
    IF alive THEN
        SELECT array_agg(l) INTO living FROM loyalty_lot l
         WHERE l.account_id = ANY(available) AND l.remaining > 0 AND l.idle_months IS NOT NULL;
    END IF;

    FOREACH told IN ARRAY earnings LOOP
        this := array_position(members, (told->>'profile')::bigint);
        IF of_store IS DISTINCT FROM (told->>'store')::bigint THEN
            of_store := told->>'store';
            issued := ledger_store_account('issued', of_store);
        END IF;
        earned := told->>'points';
        fact.id := nextval('loyalty_transaction_id_seq');
        fact.key := 'earn:' || (told->>'purchase');
        fact.kind := 'earn';
        fact.profile_id := members[this];
        fact.store_id := of_store;
        fact.purchase_id := told->>'purchase';
        fact.occurred_at := told->>'at';
        fact.qualifying_points := earned;
        fact.tier := told->>'tier';
        fact.explanation := told->'steps';
        fact.actor := '';
        fact.earned_before := told->>'before';
        facts := facts || fact;
        ids := ids || fact.id;
        -- A ticket that a cap left with nothing is noted too: its rules are known from what was earned before it.
        IF earned > 0 THEN
            lot.id := nextval('loyalty_lot_id_seq');
            lot.transaction_id := fact.id;
            lot.store_id := of_store;
            lot.points := earned;
            lot.available_on := told->>'from';
            lot.expires_on := told->>'until';
            lot.idle_months := told->>'idle';
            IF (told->>'waits')::boolean THEN
                lot.account_id := pending[this];
                paid := 0;
            ELSE
                lot.account_id := available[this];
                paid := least(earned, owed[this]);
                owed[this] := owed[this] - paid;
            END IF;
            lots := lots || lot;
            entry.transaction_id := fact.id;
            entry.account_id := issued;
            entry.points := -earned;
            postings := postings || entry;
            IF earned > paid THEN
                entry.account_id := lot.account_id;
                entry.points := earned - paid;
                postings := postings || entry;
            END IF;
            IF paid > 0 THEN
                entry.account_id := debt[this];
                entry.points := paid;
                postings := postings || entry;
                used.transaction_id := fact.id;
                used.lot_id := lot.id;
                used.points := paid;
                uses := uses || used;
            END IF;
        END IF;
        IF living IS NOT NULL THEN
            stirred := ledger_stirred(living, available[this], fact.id, (told->>'day')::date);
            IF stirred IS NOT NULL THEN
                later := later || stirred;
                FOR that IN 1..cardinality(living) LOOP
                    living[that].expires_on := coalesce(
                        (SELECT s.until FROM unnest(stirred) s WHERE s.lot_id = living[that].id),
                        living[that].expires_on);
                END LOOP;
            END IF;
        END IF;
        IF earned > paid AND lot.idle_months IS NOT NULL AND lot.account_id = available[this] THEN
            -- The next ticket of the same batch gives it new months, as it would one by one.
            living := living || lot;
        END IF;
    END LOOP;
    written := ledger_write(facts, postings, lots, uses, NULL, later);
    RETURN ids;
END $$
-- next
-- Takes available points to a store's account (`redeemed`, or `reserved` for a while), the earliest expiry first, and
-- holds the member for it. Returns the transaction's id; or, with nothing written, how many points are missing, or that
-- lots of the past have to expire before (`stale`).
CREATE OR REPLACE FUNCTION ledger_spend(member bigint, points bigint, taker text, of_kind text, of_store bigint,
                                        of_key text, at timestamptz, today date, by text, why jsonb,
                                        OUT posted bigint, OUT missing bigint, OUT stale boolean)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    mine bigint;
    left_over bigint;
    written int;
    fact loyalty_transaction;
    entry loyalty_posting;
    postings loyalty_posting[];
    used loyalty_lotuse;
    uses loyalty_lotuse[];
    later loyalty_lotextension[];
    living loyalty_lot[];
BEGIN
    PERFORM 1 FROM profiles_profile p WHERE p.id = member FOR NO KEY UPDATE;
    SELECT a.id, a.balance INTO mine, left_over FROM loyalty_account a
     WHERE a.profile_id = member AND a.kind = 'available' FOR NO KEY UPDATE;
    stale := EXISTS (SELECT 1 FROM loyalty_lot l
                      WHERE l.account_id = mine AND l.remaining > 0 AND l.expires_on < today);
    IF stale THEN
        RETURN;
    END IF;
    missing := greatest(0, points - coalesce(left_over, 0));
    IF missing > 0 THEN
        RETURN;
    END IF;
    posted := nextval('loyalty_transaction_id_seq');
    fact.id := posted;
    fact.key := of_key;
    fact.kind := of_kind;
    fact.profile_id := member;
    fact.store_id := of_store;
    fact.occurred_at := at;
    fact.qualifying_points := 0;
    fact.tier := '';
    fact.explanation := why;
    fact.actor := by;
    fact.earned_before := 0;
    entry.transaction_id := posted;
    entry.account_id := mine;
    entry.points := -points;
    postings := postings || entry;
    entry.account_id := ledger_store_account(taker, of_store);
    entry.points := points;
    postings := postings || entry;
    missing := points;
    FOR used.lot_id, used.points IN SELECT e.lot, e.part FROM ledger_first_to_expire(mine, points, '{}') e LOOP
        used.transaction_id := posted;
        uses := uses || used;
        missing := missing - used.points;
    END LOOP;
    IF missing > 0 THEN
        posted := NULL;
        RETURN;
    END IF;
    IF of_kind IN ('redeem', 'issue') THEN
        SELECT array_agg(l) INTO living FROM loyalty_lot l
         WHERE l.account_id = mine AND l.remaining > 0 AND l.idle_months IS NOT NULL;
        IF living IS NOT NULL THEN
            later := ledger_stirred(living, mine, posted, today);
        END IF;
    END IF;
    written := ledger_write(ARRAY[fact], postings, NULL, uses, NULL, later);
END $$
-- next
-- What a member has: points that can be spent today (those of lots whose last day has passed wait for the nightly job and
-- cannot), pending points, debt, the tier's name, and, where asked, what expires next.
CREATE OR REPLACE FUNCTION member_balance(member bigint, today date, and_next boolean,
                                          OUT public_id uuid, OUT available bigint, OUT pending bigint,
                                          OUT debt bigint, OUT tier text, OUT next_on date, OUT next_points bigint)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    account bigint;
    past bigint;
BEGIN
    SELECT p.public_id, v.id, coalesce(v.balance, 0),
           coalesce((SELECT w.balance FROM loyalty_account w WHERE w.profile_id = member AND w.kind = 'pending'), 0),
           coalesce((SELECT -d.balance FROM loyalty_account d WHERE d.profile_id = member AND d.kind = 'debt'), 0),
           coalesce((SELECT t.name FROM loyalty_membership m JOIN loyalty_tier t ON t.id = m.tier_id
                      WHERE m.profile_id = member), ''),
           (SELECT sum(l.remaining) FROM loyalty_lot l
             WHERE l.account_id = v.id AND l.remaining > 0 AND l.expires_on < today)
      INTO public_id, account, available, pending, debt, tier, past
      FROM profiles_profile p LEFT JOIN loyalty_account v ON v.profile_id = p.id AND v.kind = 'available'
     WHERE p.id = member;
    available := available - coalesce(past, 0);
    next_points := 0;
    IF and_next THEN
        SELECT l.expires_on, sum(l.remaining) INTO next_on, next_points FROM loyalty_lot l
         WHERE l.account_id = account AND l.remaining > 0 AND l.expires_on >= today GROUP BY 1 ORDER BY 1 LIMIT 1;
        next_points := coalesce(next_points, 0);
    END IF;
END $$
-- next
-- The member who shows this identifier, in one call: what the cashier is told of them, before it is masked.
CREATE OR REPLACE FUNCTION till_identify(shown_kind text, shown_key text, today date,
                                         OUT profile bigint, OUT survivor bigint, OUT public_id uuid,
                                         OUT first_name text, OUT last_name text, OUT email text, OUT phone text,
                                         OUT available bigint, OUT pending bigint, OUT debt bigint, OUT next_on date,
                                         OUT next_points bigint, OUT tier text)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
    SELECT p.id, p.merged_into_id, p.public_id, p.first_name, p.last_name, p.email, p.phone
      INTO profile, survivor, public_id, first_name, last_name, email, phone
      FROM profiles_profile p
     WHERE p.id = (SELECT i.profile_id FROM profiles_identifier i WHERE i.kind = shown_kind AND i.key = shown_key
                    ORDER BY i.first_seen, i.profile_id LIMIT 1);
    IF profile IS NOT NULL THEN
        SELECT b.available, b.pending, b.debt, b.next_on, b.next_points, b.tier
          INTO available, pending, debt, next_on, next_points, tier FROM member_balance(profile, today, true) b;
    END IF;
END $$
-- next
-- Keeps the answers to a till's requests and returns them, with what the member has now. Input, for each:
--   {key, hash, profile, body}; `tier` is told where the body has a place for it.
CREATE OR REPLACE FUNCTION till_answer(till bigint, at timestamptz, today date, requests jsonb[]) RETURNS jsonb[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    request jsonb;
    body jsonb;
    bodies jsonb[];
    keys text[];
    hashes text[];
    member bigint;
    asked bigint;
    has jsonb;
    balance record;
BEGIN
    FOREACH request IN ARRAY requests LOOP
        body := request->'body';
        asked := request->>'profile';
        IF asked IS NOT NULL THEN
            IF asked IS DISTINCT FROM member THEN
                member := asked;
                balance := member_balance(member, today, false);
                has := jsonb_build_object('member', balance.public_id, 'tier', balance.tier,
                                          'available', balance.available, 'pending', balance.pending,
                                          'debt', balance.debt);
            END IF;
            body := body || CASE WHEN body ? 'tier' THEN has ELSE has - 'tier' END;
        END IF;
        bodies := bodies || body;
        keys := keys || (request->>'key');
        hashes := hashes || (request->>'hash');
    END LOOP;
    INSERT INTO loyalty_tillrequest (till_id, key, request_hash, status, response, at)
    SELECT till, kept.key, kept.hash, 201, kept.body, at FROM unnest(keys, hashes, bodies) AS kept(key, hash, body);
    RETURN bodies;
END $$
-- next
-- The tier that so many points reach; "" for none. The levels come with the highest first.
CREATE OR REPLACE FUNCTION till_level(points bigint, levels text[], thresholds bigint[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    FOR l IN 1..coalesce(cardinality(levels), 0) LOOP
        IF thresholds[l] <= points THEN
            RETURN levels[l];
        END IF;
    END LOOP;
    RETURN '';
END $$
-- next
-- Whether a ticket that was just recorded needs more than to be credited: a limit of the programme may be passed, which
-- loyalty/cases.py judges exactly. Looks at the member's tickets from the day before to the day after.
CREATE OR REPLACE FUNCTION till_ticket_stands_out(programme loyalty_programme, person bigint, store bigint,
                                                  at timestamptz, day date, by text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    near interval := make_interval(mins => programme.distance_minutes::int);
    within_the_hour bigint;
    cents bigint;
    elsewhere boolean;
BEGIN
    IF programme.velocity_tickets > 0 OR programme.velocity_cents > 0 OR programme.distance_km > 0 THEN
        SELECT count(*) FILTER (WHERE p.store_id = store AND p.total_cents > 0
                                  AND p.bought_at BETWEEN at - interval '1 hour' AND at + interval '1 hour'),
               sum(p.total_cents) FILTER (WHERE p.business_day = day),
               bool_or(p.store_id <> store AND p.bought_at BETWEEN at - near AND at + near)
          INTO within_the_hour, cents, elsewhere
          FROM profiles_purchase p WHERE p.profile_id = person AND p.business_day BETWEEN day - 1 AND day + 1;
        IF programme.velocity_tickets > 0 AND within_the_hour > programme.velocity_tickets
           OR programme.velocity_cents > 0 AND cents > programme.velocity_cents
           OR programme.distance_km > 0 AND elsewhere
              AND EXISTS (SELECT FROM loyalty_storeplace l WHERE l.store_id = store) THEN
            RETURN true;
        END IF;
    END IF;
    -- A cashier who is known to have a card, and whose card may be this one; or one who uses this card often.
    RETURN by <> '' AND (
        programme.hold_self_scan AND EXISTS (
            SELECT FROM loyalty_cashier c JOIN profiles_identifier i ON i.profile_id = person AND i.kind = 'card'
             WHERE c.store_id = store AND c.code = by AND c.is_active AND c.card <> ''
               AND i.key = upper(regexp_replace(c.card, '[^[:alnum:]]', '', 'g')))
        OR programme.cashier_card_uses > 0 AND programme.cashier_card_uses < (
            SELECT count(*) FROM profiles_purchase p JOIN loyalty_ticketcashier s ON s.purchase_id = p.id
             WHERE p.profile_id = person AND p.business_day = day AND p.store_id = store AND s.cashier = by));
END $$
-- next
-- Records a till's tickets and credits what they earn, in one call. Input: the tickets of `record_tickets`, in the order
-- in which they were bought and within a year, each with
--   {request, body, cashier, earns: {tier code, or "*" for every tier: {points, capped, waits, from, until, idle,
--    steps}}}
-- `earns` is what Python's rules say of the ticket at each tier, thought with the rulebook of `edition` (null where the
-- brand has no programme); which tier the member had is settled here, under their lock.
--
-- Output, a place for each ticket: its purchase, whether it is new, and the answer that was kept, null for a receipt that
-- was known before. Where a closer look is needed the whole call is refused: `closer_look_rulebook` where the edition is
-- another one, `closer_look_people` as by `record_tickets`, `closer_look_tier` where somebody enrols, changes tier or
-- has one at risk, `closer_look_return` where goods came back before they were sold, `closer_look_limit`.
CREATE OR REPLACE FUNCTION till_tickets(till bigint, store bigint, store_code text, now timestamptz, today date,
                                        of_edition bigint, levels text[], thresholds bigint[], tickets jsonb,
                                        OUT purchases bigint[], OUT fresh boolean[], OUT bodies jsonb[])
LANGUAGE plpgsql SET search_path FROM CURRENT
-- Each statement is planned once and reads indexes, whatever the tables hold on the day a connection is opened.
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_variable
DECLARE
    year interval := '8760 hours';
    told jsonb;
    earns jsonb;
    body jsonb;
    n int := 0;
    this int;
    person bigint;
    points bigint;
    then_has bigint;
    now_has bigint;
    at timestamptz;
    level text;
    held_level text;
    people bigint[];
    members bigint[];
    gained bigint[];
    by_now bigint[];
    recorded record;
    programme loyalty_programme;
    posted bigint[];
    earnings jsonb[];
    requests jsonb[];
    answers jsonb[];
BEGIN
    recorded := record_tickets(till, store, now, tickets);
    purchases := recorded.purchases;
    people := recorded.people;
    fresh := recorded.fresh;
    members := recorded.buyers;
    IF EXISTS (SELECT FROM loyalty_parkedreturn r
                WHERE r.state = 'waiting' AND r.sale_store = store_code
                  AND r.receipt_id = ANY(ARRAY(SELECT t->>'receipt' FROM jsonb_array_elements(tickets) t))) THEN
        PERFORM look_closer('return');
    END IF;
    IF members IS NOT NULL THEN
        SELECT p.* INTO programme FROM loyalty_programme p ORDER BY p.id LIMIT 1;
        IF programme.edition IS DISTINCT FROM of_edition THEN
            PERFORM look_closer('rulebook');
        ELSIF of_edition IS NULL THEN
            members := NULL;
        END IF;
    END IF;

    FOR told IN SELECT t FROM jsonb_array_elements(tickets) t LOOP
        n := n + 1;
        CONTINUE WHEN NOT fresh[n];
        person := NULL;
        body := told->'body';
        IF told->>'cashier' <> '' THEN
            INSERT INTO loyalty_ticketcashier (purchase_id, store_id, cashier)
            VALUES (purchases[n], store, told->>'cashier');
        END IF;
        IF members IS NOT NULL AND people[n] IS NOT NULL THEN
            person := people[n];
            this := array_position(members, person);
            at := told->>'at';
            IF till_ticket_stands_out(programme, person, store, at, (told->>'day')::date, told->>'cashier') THEN
                PERFORM look_closer('limit');
            END IF;
            -- What counted for the tier when it was bought, and what counts now; the tier that the member has.
            SELECT coalesce(sum(x.qualifying_points) FILTER (WHERE x.occurred_at > at - year AND x.occurred_at <= at), 0),
                   coalesce(sum(x.qualifying_points) FILTER (WHERE x.occurred_at > now - year AND x.occurred_at <= now), 0),
                   (SELECT CASE WHEN m.grace_until IS NULL THEN coalesce(t.code, '') END
                      FROM loyalty_membership m LEFT JOIN loyalty_tier t ON t.id = m.tier_id
                     WHERE m.profile_id = person)
              INTO then_has, now_has, held_level
              FROM loyalty_transaction x
             WHERE x.profile_id = person AND x.occurred_at > least(at, now) - year AND x.occurred_at <= greatest(at, now);
            level := till_level(then_has + coalesce(gained[this], 0), levels, thresholds);
            earns := coalesce(told->'earns'->level, told->'earns'->'*');
            points := earns->>'points';
            IF points > 0 OR (earns->>'capped')::boolean THEN
                earnings := earnings || (earns || jsonb_build_object(
                    'purchase', purchases[n], 'profile', person, 'store', store, 'at', told->'at', 'day', told->'day',
                    'tier', level, 'before', 0));
                gained[this] := coalesce(gained[this], 0) + points;
                IF at <= now THEN
                    by_now[this] := coalesce(by_now[this], 0) + points;
                END IF;
            END IF;
            IF till_level(now_has + coalesce(by_now[this], 0), levels, thresholds) IS DISTINCT FROM held_level THEN
                PERFORM look_closer('tier');
            END IF;
            body := body || jsonb_build_object('points', points, 'explanation', earns->'steps', 'tier', '');
        END IF;
        requests := requests || jsonb_build_object('key', told->'request', 'hash', told->'hash', 'profile', person,
                                                   'body', body);
    END LOOP;

    IF earnings IS NOT NULL THEN
        posted := ledger_earn(earnings);
    END IF;
    IF requests IS NULL THEN
        RETURN;
    END IF;
    answers := till_answer(till, now, today, requests);
    this := 0;
    FOR n IN 1..cardinality(fresh) LOOP
        IF fresh[n] THEN
            this := this + 1;
            bodies[n] := answers[this];
        ELSE
            bodies[n] := NULL;
        END IF;
    END LOOP;
END $$
-- next
-- Spends points for money off, in one call: the answer, or what the request was told before (`told`), or how many points
-- are missing. A closer look (`closer_look_people`, `_rulebook`, `_stale`) is taken by the caller, as above.
CREATE OR REPLACE FUNCTION till_redeem(till bigint, store bigint, shown_kind text, shown_key text, points bigint,
                                       request jsonb, of_key text, at timestamptz, now timestamptz, today date,
                                       of_edition bigint, by text, why jsonb,
                                       OUT told_hash text, OUT told jsonb, OUT answer jsonb, OUT missing bigint)
LANGUAGE plpgsql SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_variable
DECLARE
    person bigint;
    survivor bigint;
    spent record;
BEGIN
    SELECT i.profile_id INTO person FROM profiles_identifier i
     WHERE i.kind = shown_kind AND i.key = shown_key ORDER BY i.first_seen, i.profile_id LIMIT 1;
    SELECT p.merged_into_id INTO survivor FROM profiles_profile p WHERE p.id = person FOR NO KEY UPDATE;
    IF NOT FOUND OR survivor IS NOT NULL THEN
        PERFORM look_closer('people');
    END IF;
    SELECT r.request_hash, r.response INTO told_hash, told FROM loyalty_tillrequest r
     WHERE r.till_id = till AND r.key = request->>'key';
    IF FOUND THEN
        RETURN;
    END IF;
    IF of_edition IS DISTINCT FROM (SELECT p.edition FROM loyalty_programme p ORDER BY p.id LIMIT 1) THEN
        PERFORM look_closer('rulebook');
    END IF;
    SELECT s.posted, s.missing, s.stale INTO spent
      FROM ledger_spend(person, points, 'redeemed', 'redeem', store, of_key, at, today, by, why) s;
    IF spent.stale THEN
        PERFORM look_closer('stale');
    END IF;
    missing := spent.missing;
    IF spent.posted IS NOT NULL THEN
        answer := (till_answer(till, now, today, ARRAY[request || jsonb_build_object('profile', person)]))[1];
    END IF;
END $$
-- next
UPDATE loyalty_programme SET edition = 0
