-- A segment that a rule of the programme asks about is not deleted: late tickets are judged by that rule for ever.
CREATE OR REPLACE FUNCTION refuse_to_delete_segment() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM loyalty_ruleversion v WHERE v.conditions->'segments' @> to_jsonb(OLD.id))
       OR EXISTS (SELECT FROM loyalty_ruledraft d WHERE d.conditions->'segments' @> to_jsonb(OLD.id)) THEN
        RAISE EXCEPTION 'segment_of_a_rule_stays: segment %', OLD.id
            USING ERRCODE = 'CDP01', CONSTRAINT = 'segment_of_a_rule_stays', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN OLD;
END $$
-- next
CREATE OR REPLACE TRIGGER segment_of_a_rule_stays BEFORE DELETE ON campaigns_segment
    FOR EACH ROW EXECUTE FUNCTION refuse_to_delete_segment()
