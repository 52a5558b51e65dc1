-- The promises of what campaigns give: nothing to who was held back, and what was given is never rewritten. The names of
-- the constraints are domain words; tests/campaigns/test_handouts.py breaks each on purpose.

CREATE OR REPLACE FUNCTION given_only_to_the_addressed() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM campaigns_recipient r JOIN campaigns_handout h ON h.campaign_id = r.campaign_id
                    WHERE r.id = NEW.recipient_id AND h.id = NEW.handout_id AND r.arm = 'treated')
       OR EXISTS (SELECT FROM campaigns_recipient r JOIN campaigns_handout h ON h.campaign_id = r.campaign_id
                   WHERE h.id = NEW.handout_id AND r.profile_id = NEW.profile_id AND r.arm = 'control') THEN
        RAISE EXCEPTION 'only_the_addressed_are_given: recipient %', NEW.recipient_id
            USING ERRCODE = 'CDP02', CONSTRAINT = 'only_the_addressed_are_given', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$
-- next
CREATE OR REPLACE TRIGGER only_the_addressed_are_given BEFORE INSERT ON campaigns_given
    FOR EACH ROW EXECUTE FUNCTION given_only_to_the_addressed()
-- next
CREATE OR REPLACE FUNCTION given_refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.taken_back IS NULL AND to_jsonb(NEW) - 'taken_back' = to_jsonb(OLD) - 'taken_back' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'given_never_changes: % of %', TG_OP, OLD.id
        USING ERRCODE = 'CDP01', CONSTRAINT = 'given_never_changes', TABLE = TG_TABLE_NAME;
END $$
-- next
CREATE OR REPLACE TRIGGER given_never_changes BEFORE UPDATE OR DELETE ON campaigns_given
    FOR EACH ROW EXECUTE FUNCTION given_refuse_change()
