-- The chain of each member's account, and the promises of extensions and settlements. What the hash covers is told in
-- docs/ledger.md; loyalty/proof.py computes it again without this function.

CREATE OR REPLACE FUNCTION ledger_link() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    before record;
BEGIN
    -- The row is locked already by ledger_post; whoever comes around it waits here.
    SELECT entries, head INTO before FROM loyalty_account
     WHERE id = NEW.account_id AND balance IS NOT NULL FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        NEW.number := 0;
        NEW.hash := '';
        RETURN NEW;
    END IF;
    NEW.number := before.entries + 1;
    SELECT encode(sha256(convert_to(concat_ws('|', before.head, NEW.account_id, NEW.number, NEW.points,
                                              t.id, t.key, t.kind), 'UTF8')), 'hex')
      INTO NEW.hash FROM loyalty_transaction t WHERE t.id = NEW.transaction_id;
    UPDATE loyalty_account SET entries = NEW.number, head = NEW.hash WHERE id = NEW.account_id;
    RETURN NEW;
END $$
-- next
CREATE OR REPLACE TRIGGER ledger_is_chained BEFORE INSERT ON loyalty_posting
    FOR EACH ROW EXECUTE FUNCTION ledger_link()
-- next
CREATE OR REPLACE TRIGGER ledger_is_append_only BEFORE UPDATE OR DELETE ON loyalty_lotextension
    FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change()
-- next
CREATE OR REPLACE TRIGGER ledger_is_never_emptied BEFORE TRUNCATE ON loyalty_lotextension
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change()
-- next
CREATE OR REPLACE FUNCTION settlement_refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RAISE EXCEPTION 'settlement_never_changes: % of %', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'CDP01', CONSTRAINT = 'settlement_never_changes', TABLE = TG_TABLE_NAME;
END $$
-- next
CREATE OR REPLACE TRIGGER settlement_never_changes BEFORE UPDATE OR DELETE ON loyalty_settlementstatement
    FOR EACH ROW EXECUTE FUNCTION settlement_refuse_change()
-- next
CREATE OR REPLACE TRIGGER settlement_never_changes BEFORE UPDATE OR DELETE ON loyalty_settlementline
    FOR EACH ROW EXECUTE FUNCTION settlement_refuse_change()
-- next
CREATE OR REPLACE TRIGGER settlement_never_changes BEFORE UPDATE OR DELETE ON loyalty_fundingkey
    FOR EACH ROW EXECUTE FUNCTION settlement_refuse_change()
-- next
CREATE OR REPLACE TRIGGER settlement_is_never_emptied BEFORE TRUNCATE ON loyalty_settlementline
    FOR EACH STATEMENT EXECUTE FUNCTION settlement_refuse_change()
-- next
CREATE OR REPLACE FUNCTION settlement_check_zero() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF (SELECT coalesce(sum(cents), 0) FROM settled) <> 0 THEN
        RAISE EXCEPTION 'settlement_sums_to_zero'
            USING ERRCODE = 'CDP02', CONSTRAINT = 'settlement_sums_to_zero', TABLE = TG_TABLE_NAME;
    END IF;
    IF EXISTS (SELECT 1 FROM loyalty_settlementstatement s
                WHERE s.id IN (SELECT statement_id FROM settled)
                  AND s.line_count <> (SELECT count(*) FROM loyalty_settlementline l WHERE l.statement_id = s.id))
    THEN
        RAISE EXCEPTION 'settlement_never_changes: a statement has the lines it was closed with'
            USING ERRCODE = 'CDP01', CONSTRAINT = 'settlement_never_changes', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END $$
-- next
-- A statement's lines come in one INSERT, which sums to zero and is as long as the statement says.
CREATE OR REPLACE TRIGGER settlement_sums_to_zero AFTER INSERT ON loyalty_settlementline
    REFERENCING NEW TABLE AS settled FOR EACH STATEMENT EXECUTE FUNCTION settlement_check_zero()
