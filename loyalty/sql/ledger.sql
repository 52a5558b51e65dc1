-- The ledger's promises. The names of the constraints are domain words: loyalty/ledger.py turns them into
-- exceptions, tests/loyalty/test_ledger_invariants.py breaks each on purpose.

CREATE OR REPLACE FUNCTION ledger_refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- A merge hands a transaction to the surviving profile; nothing else about a fact may change.
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'loyalty_transaction'
       AND to_jsonb(NEW) - 'profile_id' = to_jsonb(OLD) - 'profile_id' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'ledger_is_append_only: % of %', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'CDP01', CONSTRAINT = 'ledger_is_append_only', TABLE = TG_TABLE_NAME;
END $$
-- next
CREATE OR REPLACE TRIGGER ledger_is_append_only BEFORE UPDATE OR DELETE ON loyalty_transaction
    FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change()
-- next
CREATE OR REPLACE TRIGGER ledger_is_append_only BEFORE UPDATE OR DELETE ON loyalty_posting
    FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change()
-- next
CREATE OR REPLACE TRIGGER ledger_is_append_only BEFORE UPDATE OR DELETE ON loyalty_lotuse
    FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change()
-- next
CREATE OR REPLACE TRIGGER ledger_is_never_emptied BEFORE TRUNCATE ON loyalty_transaction
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change()
-- next
CREATE OR REPLACE TRIGGER ledger_is_never_emptied BEFORE TRUNCATE ON loyalty_posting
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change()
-- next
CREATE OR REPLACE TRIGGER ledger_is_never_emptied BEFORE TRUNCATE ON loyalty_lotuse
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change()
-- next
CREATE OR REPLACE TRIGGER lot_is_never_emptied BEFORE TRUNCATE ON loyalty_lot
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change()
-- next
CREATE OR REPLACE TRIGGER rule_version_is_never_emptied BEFORE TRUNCATE ON loyalty_ruleversion
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change()
-- next
CREATE OR REPLACE FUNCTION ledger_refuse_change_of_lot() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - 'remaining' - 'account_id' = to_jsonb(OLD) - 'remaining' - 'account_id'
    THEN
        RETURN NEW;
    END IF;
    -- A last day moves later, and only where an extension says so.
    IF TG_OP = 'UPDATE'
       AND to_jsonb(NEW) - 'remaining' - 'account_id' - 'expires_on'
         = to_jsonb(OLD) - 'remaining' - 'account_id' - 'expires_on'
       AND EXISTS (SELECT 1 FROM loyalty_lotextension e
                    WHERE e.lot_id = NEW.id AND e.was = OLD.expires_on AND e.until = NEW.expires_on) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'lot_is_never_rewritten: % of lot %', TG_OP, OLD.id
        USING ERRCODE = 'CDP01', CONSTRAINT = 'lot_is_never_rewritten', TABLE = TG_TABLE_NAME;
END $$
-- next
CREATE OR REPLACE TRIGGER lot_is_never_rewritten BEFORE UPDATE OR DELETE ON loyalty_lot
    FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change_of_lot()
-- next
CREATE OR REPLACE FUNCTION ledger_refuse_change_of_rule() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- Tickets of the past are judged by the rules of the past: a version may be ended, never rewritten.
    IF TG_OP = 'UPDATE' AND OLD.effective_to IS NULL
       AND to_jsonb(NEW) - 'effective_to' = to_jsonb(OLD) - 'effective_to' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'rule_version_is_immutable: % of version %', TG_OP, OLD.id
        USING ERRCODE = 'CDP01', CONSTRAINT = 'rule_version_is_immutable', TABLE = TG_TABLE_NAME;
END $$
-- next
CREATE OR REPLACE TRIGGER rule_version_is_immutable BEFORE UPDATE OR DELETE ON loyalty_ruleversion
    FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change_of_rule()
-- next
CREATE OR REPLACE FUNCTION ledger_check_sum() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF (SELECT sum(points) FROM loyalty_posting WHERE transaction_id = NEW.transaction_id) <> 0 THEN
        RAISE EXCEPTION 'transaction_sums_to_zero: transaction %', NEW.transaction_id
            USING ERRCODE = 'CDP02', CONSTRAINT = 'transaction_sums_to_zero', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END $$
-- next
DROP TRIGGER IF EXISTS transaction_sums_to_zero ON loyalty_posting
-- next
-- The last fence, at commit: ledger_post has already checked what it wrote.
CREATE CONSTRAINT TRIGGER transaction_sums_to_zero AFTER INSERT ON loyalty_posting
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_check_sum()
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
    crooked text;
BEGIN
    PERFORM 1 FROM loyalty_account a
      WHERE a.id IN (SELECT (p->>'account')::bigint
                       FROM jsonb_array_elements(facts) f, jsonb_array_elements(f->'postings') p)
        AND a.balance IS NOT NULL
      ORDER BY a.id FOR NO KEY UPDATE;

    SELECT f->>'key' INTO crooked
      FROM jsonb_array_elements(facts) f
     WHERE (SELECT coalesce(sum((p->>'points')::bigint), 0) FROM jsonb_array_elements(f->'postings') p) <> 0
     LIMIT 1;
    IF crooked IS NOT NULL THEN
        RAISE EXCEPTION 'transaction_sums_to_zero: %', crooked
            USING ERRCODE = 'CDP02', CONSTRAINT = 'transaction_sums_to_zero', TABLE = 'loyalty_posting';
    END IF;

    INSERT INTO loyalty_transaction (key, kind, profile_id, store_id, purchase_id, refund_id, reverses_id,
                                     occurred_at, posted_at, qualifying_points, tier, explanation, actor,
                                     earned_before)
    SELECT f->>'key', f->>'kind', (f->>'profile')::bigint, (f->>'store')::bigint, (f->>'purchase')::bigint,
           (f->>'refund')::bigint, (f->>'reverses')::bigint, (f->>'occurred_at')::timestamptz,
           clock_timestamp(), coalesce((f->>'qualifying')::bigint, 0), coalesce(f->>'tier', ''),
           coalesce(f->'explanation', '[]'),
           coalesce(f->>'actor', ''), coalesce((f->>'earned_before')::bigint, 0)
      FROM jsonb_array_elements(facts) WITH ORDINALITY AS t(f, n) ORDER BY n;

    INSERT INTO loyalty_posting (transaction_id, account_id, points)
    SELECT d.id, (p->>'account')::bigint, (p->>'points')::bigint
      FROM jsonb_array_elements(facts) f
      JOIN loyalty_transaction d ON d.key = f->>'key', jsonb_array_elements(f->'postings') p
     ORDER BY (p->>'account')::bigint, d.id;

    UPDATE loyalty_account a SET balance = a.balance + change.points
      FROM (SELECT (p->>'account')::bigint AS account, sum((p->>'points')::bigint) AS points
              FROM jsonb_array_elements(facts) f, jsonb_array_elements(f->'postings') p GROUP BY 1) change
     WHERE a.id = change.account AND a.balance IS NOT NULL AND change.points <> 0;

    WITH new AS (
        INSERT INTO loyalty_lot (transaction_id, account_id, store_id, points, remaining, available_on, expires_on,
                                 idle_months)
        SELECT d.id, (l->>'account')::bigint, (l->>'store')::bigint, (l->>'points')::bigint,
               (l->>'points')::bigint - coalesce((l->>'used')::bigint, 0),
               (l->>'available_on')::date, (l->>'expires_on')::date, (l->>'idle_months')::smallint
          FROM jsonb_array_elements(facts) f
          JOIN loyalty_transaction d ON d.key = f->>'key', jsonb_array_elements(f->'lots') l
        RETURNING loyalty_lot.id, loyalty_lot.transaction_id, loyalty_lot.points, loyalty_lot.remaining)
    INSERT INTO loyalty_lotuse (transaction_id, lot_id, points)
    SELECT new.transaction_id, new.id, new.points - new.remaining FROM new WHERE new.points > new.remaining;

    INSERT INTO loyalty_lotuse (transaction_id, lot_id, points)
    SELECT d.id, (u->>'lot')::bigint, (u->>'points')::bigint
      FROM jsonb_array_elements(facts) f
      JOIN loyalty_transaction d ON d.key = f->>'key', jsonb_array_elements(f->'uses') u;

    UPDATE loyalty_lot l SET remaining = l.remaining - used.points
      FROM (SELECT (u->>'lot')::bigint AS lot, sum((u->>'points')::bigint) AS points
              FROM jsonb_array_elements(facts) f, jsonb_array_elements(f->'uses') u GROUP BY 1) used
     WHERE l.id = used.lot AND used.points <> 0;

    UPDATE loyalty_lot l SET account_id = (m->>'account')::bigint
      FROM jsonb_array_elements(facts) f, jsonb_array_elements(f->'moves') m
     WHERE l.id = (m->>'lot')::bigint;

    INSERT INTO loyalty_lotextension (transaction_id, lot_id, was, until)
    SELECT d.id, (e->>'lot')::bigint, (e->>'was')::date, (e->>'until')::date
      FROM jsonb_array_elements(facts) f
      JOIN loyalty_transaction d ON d.key = f->>'key', jsonb_array_elements(f->'extensions') e;

    UPDATE loyalty_lot l SET expires_on = later.until
      FROM (SELECT (e->>'lot')::bigint AS lot, max((e->>'until')::date) AS until
              FROM jsonb_array_elements(facts) f, jsonb_array_elements(f->'extensions') e GROUP BY 1) later
     WHERE l.id = later.lot;

    RETURN QUERY SELECT d.key::text, d.id FROM jsonb_array_elements(facts) f JOIN loyalty_transaction d ON d.key = f->>'key';
END $$
