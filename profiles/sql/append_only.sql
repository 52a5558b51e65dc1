-- What a source said and what a person consented to is never edited. A merge moves a row to another profile
-- (`profile_id`); nothing else may change. Only the undoing of the import that told a consent takes it away.
CREATE OR REPLACE FUNCTION refuse_change_of_consent() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - 'profile_id' = to_jsonb(OLD) - 'profile_id' THEN
        RETURN NEW;
    END IF;
    -- What an import told goes with the import that is undone, and with nothing else.
    IF TG_OP = 'DELETE' AND EXISTS (
        SELECT FROM profiles_importrun i WHERE i.id = OLD.import_run_id AND i.state = 'undoing'
    ) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'consent_is_append_only: % of %', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'CDP01', CONSTRAINT = 'consent_is_append_only', TABLE = TG_TABLE_NAME;
END $$
-- next
CREATE OR REPLACE TRIGGER consent_is_append_only
    BEFORE UPDATE OR DELETE ON profiles_consentchange
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_consent()
-- next
CREATE OR REPLACE FUNCTION refuse_change_of_record() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NEW.raw IS DISTINCT FROM OLD.raw OR NEW.source_id <> OLD.source_id
       OR NEW.external_id <> OLD.external_id OR NEW.received_at <> OLD.received_at THEN
        RAISE EXCEPTION 'record_is_never_edited: %', OLD.id
            USING ERRCODE = 'CDP01', CONSTRAINT = 'record_is_never_edited', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$
-- next
CREATE OR REPLACE TRIGGER record_is_never_edited
    BEFORE UPDATE ON profiles_sourcerecord
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_record()
-- next
CREATE OR REPLACE TRIGGER consent_is_never_emptied BEFORE TRUNCATE ON profiles_consentchange
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('consent_is_append_only')
-- next
CREATE OR REPLACE TRIGGER record_is_never_emptied BEFORE TRUNCATE ON profiles_sourcerecord
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('record_is_never_edited')
-- next
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
-- next
-- What an event told is never edited. Whose it is may be computed again, and a property may move from what is kept apart
-- to what is known: the two together stay what they were.
CREATE OR REPLACE FUNCTION refuse_change_of_event() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NEW.event_id <> OLD.event_id OR NEW.source_id <> OLD.source_id OR NEW.type_id <> OLD.type_id
       OR NEW.at <> OLD.at OR NEW.received_at <> OLD.received_at OR NEW.identified_by <> OLD.identified_by
       OR NEW.channel <> OLD.channel OR NEW.content_hash <> OLD.content_hash
       OR NEW.site_id IS DISTINCT FROM OLD.site_id OR NEW.store_id IS DISTINCT FROM OLD.store_id
       OR NEW.device_id IS DISTINCT FROM OLD.device_id
       OR NEW.properties || NEW.unknown <> OLD.properties || OLD.unknown THEN
        RAISE EXCEPTION 'event_is_never_edited: %', OLD.id
            USING ERRCODE = 'CDP01', CONSTRAINT = 'event_is_never_edited', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$
-- next
CREATE OR REPLACE TRIGGER event_is_never_edited
    BEFORE UPDATE ON profiles_event
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_event()
