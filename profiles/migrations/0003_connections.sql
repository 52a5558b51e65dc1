-- What arrived is a log. A file's delivery stands open while its rows are taken in and is concluded once.
CREATE OR REPLACE FUNCTION refuse_change_of_delivery() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.verdict = 'under_way'
       AND NEW.connection_id = OLD.connection_id AND NEW.ref = OLD.ref AND NEW.received_at = OLD.received_at
       AND NEW.import_run_id IS NOT DISTINCT FROM OLD.import_run_id THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'delivery_is_append_only: % of %', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'CDP01', CONSTRAINT = 'delivery_is_append_only', TABLE = TG_TABLE_NAME;
END $$
-- next
CREATE OR REPLACE TRIGGER delivery_is_append_only
    BEFORE UPDATE OR DELETE ON profiles_delivery
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_delivery()
-- next
CREATE OR REPLACE TRIGGER delivery_is_never_emptied BEFORE TRUNCATE ON profiles_delivery
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('delivery_is_append_only')
