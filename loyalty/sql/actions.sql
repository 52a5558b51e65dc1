-- What is told of actions, claims and tiers stays as it was told. Where a row may change, the trigger names the columns.

CREATE OR REPLACE FUNCTION loyalty_refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- The arguments: the promise, then the columns that may change.
    IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - TG_ARGV[1:] = to_jsonb(OLD) - TG_ARGV[1:] THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '%: % of %', TG_ARGV[0], TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'CDP01', CONSTRAINT = TG_ARGV[0], TABLE = TG_TABLE_NAME;
END $$
-- next
CREATE OR REPLACE TRIGGER action_is_never_rewritten BEFORE UPDATE OR DELETE ON loyalty_action
    FOR EACH ROW EXECUTE FUNCTION loyalty_refuse_change('action_is_never_rewritten', 'withdrawn_by_id', 'profile_id')
-- next
CREATE OR REPLACE TRIGGER claim_is_never_rewritten BEFORE UPDATE OR DELETE ON loyalty_claim
    FOR EACH ROW EXECUTE FUNCTION loyalty_refuse_change('claim_is_never_rewritten')
-- next
CREATE OR REPLACE TRIGGER tier_change_is_append_only BEFORE UPDATE OR DELETE ON loyalty_tierchange
    FOR EACH ROW EXECUTE FUNCTION loyalty_refuse_change('tier_change_is_append_only')
-- next
CREATE OR REPLACE FUNCTION loyalty_refuse_change_of_case() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- A case is decided once.
    IF TG_OP = 'UPDATE' AND OLD.state = 'open' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'case_is_decided_once: % of case %', TG_OP, OLD.id
        USING ERRCODE = 'CDP01', CONSTRAINT = 'case_is_decided_once', TABLE = TG_TABLE_NAME;
END $$
-- next
CREATE OR REPLACE TRIGGER case_is_decided_once BEFORE UPDATE OR DELETE ON loyalty_case
    FOR EACH ROW EXECUTE FUNCTION loyalty_refuse_change_of_case()
