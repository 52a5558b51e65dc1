-- The ledger's promises. The names of the constraints are domain words: loyalty/ledger/posting.py turns them into
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
-- The last fence, at commit: the writers have already checked what they wrote.
CREATE CONSTRAINT TRIGGER transaction_sums_to_zero AFTER INSERT ON loyalty_posting
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_check_sum()
