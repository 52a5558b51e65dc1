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
