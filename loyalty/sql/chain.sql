-- The chain of each member's account, and the promises of extensions and settlements. What the hash covers is told in
-- docs/ledger.md; loyalty/proof.py computes it again without this function.

-- A posting moves its account's balance and is linked to the one before it, in one update of the account: whoever comes
-- around the ledger's functions waits here, and is counted all the same. Accounts of stores have neither.
CREATE OR REPLACE FUNCTION ledger_link() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE loyalty_account a
       SET balance = a.balance + NEW.points, entries = a.entries + 1,
           head = encode(sha256(convert_to(concat_ws('|', a.head, a.id, a.entries + 1, NEW.points,
                                                     t.id, t.key, t.kind), 'UTF8')), 'hex')
      FROM loyalty_transaction t
     WHERE t.id = NEW.transaction_id AND a.id = NEW.account_id AND a.balance IS NOT NULL
    RETURNING a.entries, a.head INTO NEW.number, NEW.hash;
    IF NOT FOUND THEN
        NEW.number := 0;
        NEW.hash := '';
    END IF;
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
