-- How points are posted: any facts, the deeds that think under the member's lock, and the till's verbs on top of them,
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
-- Posts transactions, all or none. Input: a JSON array of
--   {key, kind, profile, store, purchase, refund, reverses, occurred_at, qualifying, tier, explanation, actor,
--    earned_before, postings: [{account, points}],
--    lots: [{account, store, points, used, available_on, expires_on, idle_months}],
--    uses: [{lot, points}], moves: [{lot, account}], extensions: [{lot, was, until}]}
-- Returns key and id of each. The member accounts are locked in the order of their ids, so that two callers
-- cannot wait for each other. Balances follow from the postings by a trigger (chain.sql), lots from their uses here.
CREATE OR REPLACE FUNCTION ledger_post(facts jsonb) RETURNS TABLE (key text, id bigint)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    fact jsonb;
    total bigint;
BEGIN
    -- One member's accounts are locked by being written.
    IF jsonb_array_length(facts) > 1 OR jsonb_array_length(facts->0->'postings') > 2 THEN
        PERFORM 1 FROM loyalty_account a
          WHERE a.id IN (SELECT (e->>'account')::bigint FROM jsonb_array_elements(facts) f,
                                jsonb_array_elements(f->'postings') e) AND a.balance IS NOT NULL
          ORDER BY a.id FOR NO KEY UPDATE;
    END IF;
    -- Counted, not queried: most calls post one transaction.
    FOR n IN 0..jsonb_array_length(facts) - 1 LOOP
        fact := facts->n;
        INSERT INTO loyalty_transaction (key, kind, profile_id, store_id, purchase_id, refund_id, reverses_id,
                                         occurred_at, posted_at, qualifying_points, tier, explanation, actor,
                                         earned_before)
        VALUES (fact->>'key', fact->>'kind', (fact->>'profile')::bigint, (fact->>'store')::bigint,
                (fact->>'purchase')::bigint, (fact->>'refund')::bigint, (fact->>'reverses')::bigint,
                (fact->>'occurred_at')::timestamptz, clock_timestamp(), coalesce((fact->>'qualifying')::bigint, 0),
                coalesce(fact->>'tier', ''), coalesce(fact->'explanation', '[]'), coalesce(fact->>'actor', ''),
                coalesce((fact->>'earned_before')::bigint, 0))
        RETURNING loyalty_transaction.key, loyalty_transaction.id INTO key, id;
        WITH written AS (
            INSERT INTO loyalty_posting (transaction_id, account_id, points)
            SELECT id, (e->>'account')::bigint, (e->>'points')::bigint
              FROM jsonb_array_elements(fact->'postings') e ORDER BY 2
            RETURNING points)
        SELECT sum(points) INTO total FROM written;
        IF total <> 0 THEN
            RAISE EXCEPTION 'transaction_sums_to_zero: %', key
                USING ERRCODE = 'CDP02', CONSTRAINT = 'transaction_sums_to_zero', TABLE = 'loyalty_posting';
        END IF;
        IF fact->'lots' <> '[]' THEN
            WITH made AS (
                INSERT INTO loyalty_lot (transaction_id, account_id, store_id, points, remaining, available_on,
                                         expires_on, idle_months)
                SELECT id, l.account, l.store, l.points, l.points - l.used, l.available_on, l.expires_on, l.idle_months
                  FROM jsonb_to_recordset(fact->'lots')
                       AS l(account bigint, store bigint, points bigint, used bigint, available_on date,
                            expires_on date, idle_months int)
                RETURNING loyalty_lot.id AS lot, points - remaining AS used)
            INSERT INTO loyalty_lotuse (transaction_id, lot_id, points)
            SELECT id, made.lot, made.used FROM made WHERE made.used > 0;
        END IF;
        IF fact->'uses' <> '[]' THEN
            INSERT INTO loyalty_lotuse (transaction_id, lot_id, points)
            SELECT id, u.lot, u.points FROM jsonb_to_recordset(fact->'uses') AS u(lot bigint, points bigint);
            UPDATE loyalty_lot l SET remaining = l.remaining - u.points
              FROM jsonb_to_recordset(fact->'uses') AS u(lot bigint, points bigint) WHERE l.id = u.lot;
        END IF;
        IF fact->'moves' <> '[]' THEN
            UPDATE loyalty_lot l SET account_id = m.account
              FROM jsonb_to_recordset(fact->'moves') AS m(lot bigint, account bigint) WHERE l.id = m.lot;
        END IF;
        IF fact->'extensions' <> '[]' THEN
            INSERT INTO loyalty_lotextension (transaction_id, lot_id, was, until)
            SELECT id, e.lot, e.was, e.until
              FROM jsonb_to_recordset(fact->'extensions') AS e(lot bigint, was date, until date);
            UPDATE loyalty_lot l SET expires_on = e.until
              FROM jsonb_to_recordset(fact->'extensions') AS e(lot bigint, until date) WHERE l.id = e.lot;
        END IF;
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
-- Gives the account's lots of the expiry «inactivity» new months, by a purchase or redemption of a day on which they live.
CREATE OR REPLACE FUNCTION ledger_stir(account bigint, fact bigint, day date) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO loyalty_lotextension (transaction_id, lot_id, was, until)
    SELECT fact, l.id, l.expires_on, (day + make_interval(months => l.idle_months::int))::date FROM loyalty_lot l
     WHERE l.account_id = account AND l.remaining > 0 AND l.idle_months IS NOT NULL AND day <= l.expires_on
       AND l.expires_on < (day + make_interval(months => l.idle_months::int))::date;
    IF FOUND THEN
        UPDATE loyalty_lot l SET expires_on = e.until
          FROM loyalty_lotextension e WHERE e.transaction_id = fact AND l.id = e.lot_id;
    END IF;
END $$
-- next
-- Writes what tickets earned, each as a lot with its own expiry, out of which a debt is paid first. Input: a JSON array, in
-- the order in which the tickets count, of what each earned (loyalty/ledger/earning.py),
--   {points, waits, from, until, idle, steps, segments}
-- with the id its transaction will have, and what is known of its member, who is held by the caller:
--   {fact, purchase, profile, store, at, day, tier, before, available, pending, debt, issued, paid, stirs}
CREATE OR REPLACE FUNCTION ledger_credit(earnings jsonb) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO loyalty_transaction (id, key, kind, profile_id, store_id, purchase_id, occurred_at, posted_at,
                                     qualifying_points, tier, explanation, actor, earned_before, segments)
    SELECT t.fact, 'earn:' || t.purchase, 'earn', t.profile, t.store, t.purchase, t.at, clock_timestamp(), t.points,
           t.tier, t.steps, '', t.before, translate(t.segments, '[]', '{}')::bigint[]
      FROM jsonb_to_recordset(earnings)
           AS t(fact bigint, purchase bigint, profile bigint, store bigint, at timestamptz, points bigint, tier text,
                steps jsonb, before bigint, segments text);
    -- A ticket that a cap, or its member's tier or segments, left with nothing is noted too: what it was judged by is
    -- known from there.
    INSERT INTO loyalty_posting (transaction_id, account_id, points)
    SELECT t.fact, e.account, e.points
      FROM jsonb_to_recordset(earnings)
           AS t(fact bigint, points bigint, waits boolean, available bigint, pending bigint, debt bigint, issued bigint,
                paid bigint),
           LATERAL (VALUES (t.issued, -t.points),
                           (CASE WHEN t.waits THEN t.pending ELSE t.available END, t.points - t.paid),
                           (t.debt, t.paid)) AS e(account, points)
     WHERE e.points <> 0;
    INSERT INTO loyalty_lot (transaction_id, account_id, store_id, points, remaining, available_on, expires_on,
                             idle_months)
    SELECT t.fact, CASE WHEN t.waits THEN t.pending ELSE t.available END, t.store, t.points, t.points - t.paid, t."from",
           t.until, t.idle
      FROM jsonb_to_recordset(earnings)
           AS t(fact bigint, store bigint, points bigint, waits boolean, available bigint, pending bigint, paid bigint,
                "from" date, until date, idle int)
     WHERE t.points > 0;
    IF earnings @? '$[*].paid ? (@ > 0)' THEN
        INSERT INTO loyalty_lotuse (transaction_id, lot_id, points)
        SELECT l.transaction_id, l.id, t.paid
          FROM jsonb_to_recordset(earnings) AS t(fact bigint, paid bigint)
          JOIN loyalty_lot l ON l.transaction_id = t.fact WHERE t.paid > 0;
    END IF;
    IF earnings @? '$[*].stirs ? (@ == true)' THEN
        PERFORM ledger_stir(t.available, t.fact, t.day)
           FROM jsonb_to_recordset(earnings) AS t(fact bigint, available bigint, day date, stirs boolean) WHERE t.stirs;
    END IF;
END $$
-- next
-- The same for tickets of whose members nothing is known but who they are, with all that `ledger_credit` is told up to
-- `before`, and without `fact`: accounts are opened where missing, and debts are paid in the order of the tickets.
-- Returns the transactions' ids.
CREATE OR REPLACE FUNCTION ledger_earn(earnings jsonb) RETURNS bigint[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    known jsonb;
    facts bigint[];
BEGIN
    INSERT INTO loyalty_account (kind, profile_id, balance)
    SELECT k.kind, t.profile, 0
      FROM (SELECT DISTINCT e.profile FROM jsonb_to_recordset(earnings) AS e(profile bigint)) t,
           unnest(ARRAY['available', 'pending', 'debt']) AS k(kind)
     WHERE NOT EXISTS (SELECT FROM loyalty_account a WHERE a.profile_id = t.profile AND a.kind = k.kind);
    SELECT jsonb_agg(t.told || jsonb_build_object(
               'fact', t.fact, 'available', t.available, 'pending', t.pending, 'debt', t.debt,
               'issued', ledger_store_account('issued', t.store), 'stirs', t.stirs,
               'paid', CASE WHEN t.waits THEN 0 ELSE least(t.points, greatest(0, t.owed - t.came_before)) END)),
           array_agg(t.fact)
      INTO known, facts
      FROM (SELECT e.told, t.*, mine.*, nextval('loyalty_transaction_id_seq') AS fact,
                   coalesce(sum(t.points) FILTER (WHERE NOT t.waits) OVER (
                       PARTITION BY t.profile ORDER BY e.n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)
                       AS came_before,
                   -- A lot of this call may be stirred by a later ticket of it, whatever that one's own points do.
                   bool_or(t.idle IS NOT NULL) OVER (PARTITION BY t.profile ORDER BY e.n) OR coalesce(
                       (SELECT true FROM loyalty_lot l WHERE l.account_id = mine.available AND l.remaining > 0
                                                         AND l.idle_months IS NOT NULL LIMIT 1), false) AS stirs
              FROM jsonb_array_elements(earnings) WITH ORDINALITY AS e(told, n),
                   jsonb_to_record(e.told) AS t(profile bigint, store bigint, points bigint, waits boolean, idle int),
                   LATERAL (SELECT max(a.id) FILTER (WHERE a.kind = 'available') AS available,
                                   max(a.id) FILTER (WHERE a.kind = 'pending') AS pending,
                                   max(a.id) FILTER (WHERE a.kind = 'debt') AS debt,
                                   -max(a.balance) FILTER (WHERE a.kind = 'debt') AS owed
                              FROM loyalty_account a WHERE a.profile_id = t.profile) mine
             ORDER BY e.n) t;
    PERFORM ledger_credit(known);
    RETURN facts;
END $$
-- next
-- Takes available points to a store's account (`redeemed`, `vouchers`, or `reserved` for a while), the earliest expiry
-- first, and holds the member for it. Returns the transaction's id; or, with nothing written, how many points are
-- missing, or that lots of the past have to expire before (`stale`).
CREATE OR REPLACE FUNCTION ledger_spend(member bigint, points bigint, taker text, of_kind text, of_store bigint,
                                        of_key text, at timestamptz, today date, by text, why jsonb,
                                        OUT posted bigint, OUT missing bigint, OUT stale boolean)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    mine bigint;
    has bigint;
BEGIN
    PERFORM 1 FROM profiles_profile p WHERE p.id = member FOR NO KEY UPDATE;
    SELECT a.id, a.balance INTO mine, has FROM loyalty_account a
     WHERE a.profile_id = member AND a.kind = 'available' FOR NO KEY UPDATE;
    stale := EXISTS (SELECT 1 FROM loyalty_lot l
                      WHERE l.account_id = mine AND l.remaining > 0 AND l.expires_on < today);
    IF stale THEN
        RETURN;
    END IF;
    missing := greatest(0, points - coalesce(has, 0));
    IF missing > 0 THEN
        RETURN;
    END IF;
    INSERT INTO loyalty_transaction (key, kind, profile_id, store_id, occurred_at, posted_at, qualifying_points, tier,
                                     explanation, actor, earned_before)
    VALUES (of_key, of_kind, member, of_store, at, clock_timestamp(), 0, '', why, by, 0)
    RETURNING id INTO posted;
    INSERT INTO loyalty_posting (transaction_id, account_id, points)
    VALUES (posted, mine, -points), (posted, ledger_store_account(taker, of_store), points);
    INSERT INTO loyalty_lotuse (transaction_id, lot_id, points)
    SELECT posted, e.lot, e.part FROM ledger_first_to_expire(mine, points, '{}') e;
    -- The balance is what the lots hold. Where somebody broke that, nothing is spent that no lot gives.
    IF points IS DISTINCT FROM (SELECT sum(u.points) FROM loyalty_lotuse u WHERE u.transaction_id = posted) THEN
        RAISE EXCEPTION 'the lots of account % hold less than its balance', mine
            USING ERRCODE = 'CDP02', CONSTRAINT = 'member_balance_not_negative', TABLE = 'loyalty_lot';
    END IF;
    IF of_kind IN ('redeem', 'issue') THEN
        PERFORM ledger_stir(mine, posted, today);
    END IF;
    UPDATE loyalty_lot l SET remaining = l.remaining - u.points
      FROM loyalty_lotuse u WHERE u.transaction_id = posted AND l.id = u.lot_id;
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
-- Keeps the answer to a till's request, {key, hash, body}, and returns it, with what the member has now.
CREATE OR REPLACE FUNCTION till_answer(till bigint, member bigint, request jsonb, at timestamptz, today date)
RETURNS jsonb LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    body jsonb;
BEGIN
    SELECT request->'body' || jsonb_build_object('member', b.public_id, 'available', b.available,
                                                 'pending', b.pending, 'debt', b.debt)
      INTO body FROM member_balance(member, today, false) b;
    INSERT INTO loyalty_tillrequest (till_id, key, request_hash, status, response, at)
    VALUES (till, request->>'key', request->>'hash', 201, body, at);
    RETURN body;
END $$
-- next
-- Whether a ticket that was just recorded needs more than to be credited: a limit of the programme may be passed, which
-- loyalty/cases.py judges exactly. Looks at the member's tickets from the day before to the day after.
CREATE OR REPLACE FUNCTION till_ticket_stands_out(person bigint, store bigint, at timestamptz, day date, by text)
RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    programme loyalty_programme;
    near interval;
    within_the_hour bigint;
    cents bigint;
    elsewhere boolean;
BEGIN
    SELECT p.* INTO programme FROM loyalty_programme p ORDER BY p.id LIMIT 1;
    near := make_interval(mins => programme.distance_minutes::int);
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
-- Records tickets and credits what they earn, in one call; they may be of several tills. Input: the tickets of
-- `record_tickets`, in the order in which they were bought, each with
--   {store_code, cashier, request, body,
--    earns: {tier code, or "*" for every tier: {points, noted, waits, from, until, idle, steps,
--    segments}}}
-- `earns` is what Python's rules say of the ticket at each tier, thought with the rulebook of `of_edition` (null where the
-- brand has no programme); which tier the member had is settled here, under their lock.
--
-- `patience`: so long it waits for a lock, where that is less than the connection's `lock_timeout`.
--
-- Output, a place for each ticket: its purchase, and whether it is new; and of the new ones the answers that were kept.
-- Where a closer look is needed the whole call is refused: `closer_look_rulebook` where the edition is another one,
-- `closer_look_people` as by `record_tickets` or where a member has no accounts yet, `closer_look_tier` where somebody
-- enrols, changes tier or has one at risk, `closer_look_return` where goods came back before they were sold,
-- `closer_look_limit`.
CREATE OR REPLACE FUNCTION till_tickets(now timestamptz, today date, of_edition bigint, tickets jsonb,
                                        patience interval,
                                        OUT purchases bigint[], OUT fresh boolean[], OUT bodies jsonb[])
LANGUAGE plpgsql SET search_path FROM CURRENT
-- Each statement is planned once and reads indexes, whatever the tables hold on the day a connection is opened.
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_variable
DECLARE
    year interval := '8760 hours';
    people bigint[];
    edition bigint;
    plenty bigint;
    came_back boolean;
    -- Of each ticket: how many of its buyer's it is, and where the last of them stands.
    turns int[] := '{1}';
    lasts int[] := '{1}';
    rounds int := 1;
    limits boolean;
    tiers boolean;
    unopened boolean;
    earnings jsonb;
    -- Of the tickets of a turn: where they stand, what is said of them, what their buyers have.
    places int[];
    said jsonb[];
    has jsonb[];
    stirred int[];
    -- The same, of all tickets.
    told jsonb[];
    standing jsonb[];
BEGIN
    IF patience IS NOT NULL THEN
        PERFORM set_config('lock_timeout', (extract(epoch FROM patience) * 1000)::int::text, true);
    END IF;
    SELECT r.purchases, r.people, r.fresh, p.edition, p.velocity_cents,
           EXISTS (SELECT FROM jsonb_to_recordset(tickets) AS t(store_code text, receipt text)
                     JOIN loyalty_parkedreturn b ON b.sale_store = t.store_code AND b.receipt_id = t.receipt
                    WHERE b.state = 'waiting')
      INTO purchases, people, fresh, edition, plenty, came_back
      FROM record_tickets(now, tickets) r LEFT JOIN (SELECT * FROM loyalty_programme ORDER BY id LIMIT 1) p ON true;
    IF came_back THEN
        PERFORM look_closer('return');
    ELSIF edition IS DISTINCT FROM of_edition AND array_remove(people, NULL) <> '{}' THEN
        PERFORM look_closer('rulebook');
    END IF;
    IF tickets @? '$[*].cashier ? (@ != "")' THEN
        INSERT INTO loyalty_ticketcashier (purchase_id, store_id, cashier)
        SELECT t.purchase, t.store, t.cashier
          FROM ROWS FROM (jsonb_to_recordset(tickets) AS (store bigint, cashier text), unnest(purchases), unnest(fresh))
               AS t(store, cashier, purchase, fresh) WHERE t.fresh AND t.cashier <> '';
    END IF;

    -- Everybody's first ticket, then everybody's second: what the first earned counts for the tier of the second.
    IF cardinality(people) > 1 THEN
        SELECT array_agg(t.turn ORDER BY t.n), array_agg(t.last ORDER BY t.n),
               coalesce(max(t.turn) FILTER (WHERE t.person IS NOT NULL), 0)
          INTO turns, lasts, rounds
          FROM (SELECT t.n, t.person, row_number() OVER (PARTITION BY t.person ORDER BY t.n) AS turn,
                       max(t.n) OVER (PARTITION BY t.person) AS last
                  FROM unnest(people) WITH ORDINALITY AS t(person, n)) t;
    END IF;
    IF edition IS NULL THEN
        rounds := 0;
    END IF;
    told := array_fill(NULL::jsonb, ARRAY[cardinality(fresh)]);
    standing := told;
    FOR turn IN 1..rounds LOOP
        -- All that is asked of the buyers, under their lock: what they bought these days; what counted for the tier when
        -- this was bought, and what counts now; the tier they have; accounts and lots. Who bought nothing else these days,
        -- and not for much, passes no limit.
        SELECT bool_or(CASE WHEN bought.near > 1 OR bought.cents > plenty OR t.cashier <> ''
                            THEN till_ticket_stands_out(t.person, t.store, t.at, t.day, t.cashier) END),
               bool_or(m.profile_id IS NULL OR m.grace_until IS NOT NULL OR coalesce(held.threshold, -1) <> tier.reached
                       OR t.at <= now AND counted.has + earned.points >= tier.next),
               bool_or(earned.counts AND mine.opened < 3),
               jsonb_agg(t.earns->earned.tier || jsonb_build_object(
                   'fact', nextval('loyalty_transaction_id_seq'), 'purchase', t.purchase, 'profile', t.person,
                   'store', t.store, 'at', t.at, 'day', t.day, 'tier', tier.level, 'before', 0, 'stirs', lots.stirs,
                   'available', mine.available, 'pending', mine.pending, 'debt', mine.debt, 'paid', earned.paid,
                   'issued', coalesce(lots.issued, ledger_store_account('issued', t.store))))
                   FILTER (WHERE earned.counts),
               array_agg(t.n),
               array_agg(jsonb_build_object('points', earned.points, 'explanation', earned.steps)),
               array_agg(jsonb_build_object(
                   'member', who.public_id, 'tier', coalesce(held.name, ''),
                   'available', mine.spendable - lots.past + CASE WHEN earned.waits OR earned.until < today THEN 0
                                                                  ELSE earned.points - earned.paid END,
                   'pending', mine.waiting + CASE WHEN earned.waits THEN earned.points ELSE 0 END,
                   'debt', mine.owed - earned.paid)),
               array_agg(t.n) FILTER (WHERE earned.counts AND lots.stirs)
          INTO limits, tiers, unopened, earnings, places, said, has, stirred
          FROM ROWS FROM (jsonb_to_recordset(tickets) AS (store bigint, day date, at timestamptz, cashier text, earns jsonb),
                          unnest(purchases), unnest(people), unnest(turns)) WITH ORDINALITY
               AS t(store, day, at, cashier, earns, purchase, person, turn, n)
               JOIN profiles_profile who ON who.id = t.person
               LEFT JOIN loyalty_membership m ON m.profile_id = t.person
               LEFT JOIN loyalty_tier held ON held.id = m.tier_id,
               LATERAL (SELECT count(*) AS near, sum(p.total_cents) AS cents FROM profiles_purchase p
                         WHERE p.profile_id = t.person AND p.business_day BETWEEN t.day - 1 AND t.day + 1) bought,
               LATERAL (SELECT coalesce(sum(x.qualifying_points) FILTER (
                                   WHERE x.occurred_at > t.at - year AND x.occurred_at <= t.at), 0) AS had,
                               coalesce(sum(x.qualifying_points) FILTER (
                                   WHERE x.occurred_at > now - year AND x.occurred_at <= now), 0) AS has
                          FROM loyalty_transaction x
                         WHERE x.profile_id = t.person AND x.occurred_at > least(t.at, now) - year
                           AND x.occurred_at <= greatest(t.at, now)) counted,
               LATERAL (SELECT coalesce((array_agg(l.code ORDER BY l.threshold DESC)
                                         FILTER (WHERE l.threshold <= counted.had))[1], '') AS level,
                               coalesce(max(l.threshold) FILTER (WHERE l.threshold <= counted.has), -1) AS reached,
                               min(l.threshold) FILTER (WHERE l.threshold > counted.has) AS next
                          FROM loyalty_tier l) tier,
               LATERAL (SELECT count(*) AS opened,
                               max(a.id) FILTER (WHERE a.kind = 'available') AS available,
                               max(a.id) FILTER (WHERE a.kind = 'pending') AS pending,
                               max(a.id) FILTER (WHERE a.kind = 'debt') AS debt,
                               coalesce(max(a.balance) FILTER (WHERE a.kind = 'available'), 0) AS spendable,
                               coalesce(max(a.balance) FILTER (WHERE a.kind = 'pending'), 0) AS waiting,
                               coalesce(-max(a.balance) FILTER (WHERE a.kind = 'debt'), 0) AS owed
                          FROM loyalty_account a WHERE a.profile_id = t.person) mine,
               LATERAL (SELECT coalesce((SELECT sum(l.remaining) FROM loyalty_lot l
                                          WHERE l.account_id = mine.available AND l.remaining > 0
                                            AND l.expires_on < today), 0) AS past,
                               coalesce((SELECT true FROM loyalty_lot l
                                          WHERE l.account_id = mine.available AND l.remaining > 0
                                            AND l.idle_months IS NOT NULL LIMIT 1), false) AS stirs,
                               (SELECT a.id FROM loyalty_account a
                                 WHERE a.kind = 'issued' AND a.store_id = t.store) AS issued) lots,
               LATERAL (SELECT CASE WHEN t.earns ? tier.level THEN tier.level ELSE '*' END AS tier, e.*,
                               e.points > 0 OR e.noted AS counts,
                               CASE WHEN e.waits THEN 0 ELSE least(e.points, mine.owed) END AS paid
                          FROM jsonb_to_record(coalesce(t.earns->tier.level, t.earns->'*'))
                               AS e(points bigint, noted boolean, waits boolean, until date, steps jsonb)) earned
         WHERE t.turn = turn;
        IF limits THEN
            PERFORM look_closer('limit');
        ELSIF tiers THEN
            PERFORM look_closer('tier');
        ELSIF unopened THEN
            PERFORM look_closer('people');
        END IF;
        IF earnings IS NOT NULL THEN
            PERFORM ledger_credit(earnings);
        END IF;
        FOR i IN 1..coalesce(cardinality(places), 0) LOOP
            told[places[i]] := said[i];
            standing[places[i]] := has[i];
            IF places[i] = ANY(stirred) THEN  -- lots whose last day had passed may live again
                standing[places[i]] := has[i] || jsonb_build_object(
                    'available', (SELECT b.available FROM member_balance(people[places[i]], today, false) b));
            END IF;
        END LOOP;
    END LOOP;

    -- Everybody hears what they have after the last of their tickets.
    WITH kept AS (
        INSERT INTO loyalty_tillrequest (till_id, key, request_hash, status, response, at)
        SELECT t.till, t.request, t.hash, 201, t.body || coalesce(t.told || standing[t.last], '{}'), now
          FROM ROWS FROM (jsonb_to_recordset(tickets) AS (till bigint, request text, hash text, body jsonb),
                          unnest(told), unnest(lasts), unnest(fresh))
               AS t(till, request, hash, body, told, last, fresh) WHERE t.fresh
        RETURNING response)
    SELECT coalesce(array_agg(k.response), '{}') INTO bodies FROM kept k;
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
        answer := till_answer(till, person, request, now, today);
    END IF;
END $$
-- next
UPDATE loyalty_programme SET edition = 0
