-- What the auditors read stays as it was written: estimates and policies are added, never changed; what two people
-- signed off is posted as it was signed.

CREATE OR REPLACE FUNCTION estimate_refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RAISE EXCEPTION 'estimate_never_changes: % of %', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'CDP01', CONSTRAINT = 'estimate_never_changes', TABLE = TG_TABLE_NAME;
END $$
-- next
CREATE OR REPLACE TRIGGER estimate_never_changes BEFORE UPDATE OR DELETE ON loyalty_breakageestimate
    FOR EACH ROW EXECUTE FUNCTION estimate_refuse_change()
-- next
CREATE OR REPLACE TRIGGER estimate_never_changes BEFORE UPDATE OR DELETE ON loyalty_accountingpolicy
    FOR EACH ROW EXECUTE FUNCTION estimate_refuse_change()
-- next
CREATE OR REPLACE FUNCTION opening_refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    signed boolean;
BEGIN
    SELECT signed_by_id IS NOT NULL INTO signed FROM loyalty_openingrun
     WHERE id = CASE WHEN TG_OP = 'INSERT' THEN NEW.run_id ELSE OLD.run_id END;
    -- Of a signed line only who it is posted to (people are merged meanwhile) and by which transaction, once.
    IF NOT coalesce(signed, false)
       OR (TG_OP = 'UPDATE' AND OLD.transaction_id IS NULL AND NEW.transaction_id IS NOT NULL
           AND OLD.profile_id IS NOT NULL AND NEW.profile_id IS NOT NULL
           AND to_jsonb(NEW) - 'transaction_id' - 'profile_id' = to_jsonb(OLD) - 'transaction_id' - 'profile_id')
    THEN
        RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    RAISE EXCEPTION 'signed_opening_never_changes: % of a line', TG_OP
        USING ERRCODE = 'CDP01', CONSTRAINT = 'signed_opening_never_changes', TABLE = TG_TABLE_NAME;
END $$
-- next
CREATE OR REPLACE TRIGGER signed_opening_never_changes BEFORE INSERT OR UPDATE OR DELETE ON loyalty_openingline
    FOR EACH ROW EXECUTE FUNCTION opening_refuse_change()
