-- What is told of customers by webhooks (tenants/network/sql/outbox.sql). Where nobody asked for an event, its trigger
-- costs a look into a table of a few rows. No name, address or number of a person is told: public ids alone.

CREATE OR REPLACE FUNCTION outbox_tell_merge() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    what CONSTANT text := CASE TG_OP WHEN 'INSERT' THEN 'member.merged' ELSE 'member.separated' END;
    living uuid;
    other uuid;
BEGIN
    IF EXISTS (SELECT FROM network_webhookendpoint e WHERE e.is_on AND what = ANY(e.events)) THEN
        SELECT public_id INTO living FROM profiles_profile WHERE id = NEW.winner_id;
        SELECT public_id INTO other FROM profiles_profile WHERE id = NEW.loser_id;
        PERFORM outbox_put(what, living, coalesce(NEW.undone_at, NEW.at),
                           jsonb_build_object('member', living, 'old_member', other));
    END IF;
    RETURN NULL;
END $$
-- next
CREATE OR REPLACE TRIGGER merge_is_told AFTER INSERT ON profiles_merge
    FOR EACH ROW EXECUTE FUNCTION outbox_tell_merge()
-- next
CREATE OR REPLACE TRIGGER separation_is_told AFTER UPDATE OF undone_at ON profiles_merge
    FOR EACH ROW WHEN (OLD.undone_at IS NULL AND NEW.undone_at IS NOT NULL) EXECUTE FUNCTION outbox_tell_merge()
-- next
-- What is told is what holds now, all sources considered, and not what somebody said last: a receiver that believed the
-- last word would write to people who refused elsewhere.
CREATE OR REPLACE FUNCTION outbox_tell_consent() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    before profiles_profilefacts;
    whom uuid;
    change record;
BEGIN
    IF NOT EXISTS (SELECT FROM network_webhookendpoint e WHERE e.is_on AND 'consent.changed' = ANY(e.events)) THEN
        RETURN NULL;
    END IF;
    -- Of who was merged everything is told under the other id.
    SELECT public_id INTO whom FROM profiles_profile WHERE id = NEW.profile_id AND merged_into_id IS NULL;
    IF TG_OP = 'UPDATE' THEN
        before := OLD;
    END IF;
    FOR change IN
        SELECT c.channel, c.holds FROM (VALUES
            ('email', coalesce(before.email_allowed, false), NEW.email_allowed),
            ('sms', coalesce(before.sms_allowed, false), NEW.sms_allowed),
            ('post', coalesce(before.post_allowed, false), NEW.post_allowed)) AS c(channel, held, holds)
         WHERE c.held <> c.holds AND whom IS NOT NULL
    LOOP
        PERFORM outbox_put('consent.changed', whom, now(), jsonb_build_object(
            'member', whom, 'channel', change.channel, 'allowed', change.holds));
    END LOOP;
    RETURN NULL;
END $$
-- next
-- A row is looked at where a channel changes: tickets, which change the rest of it, pass by.
CREATE OR REPLACE TRIGGER consent_is_told AFTER UPDATE ON profiles_profilefacts
    FOR EACH ROW WHEN (OLD.email_allowed <> NEW.email_allowed OR OLD.sms_allowed <> NEW.sms_allowed
                       OR OLD.post_allowed <> NEW.post_allowed) EXECUTE FUNCTION outbox_tell_consent()
-- next
CREATE OR REPLACE TRIGGER first_consent_is_told AFTER INSERT ON profiles_profilefacts
    FOR EACH ROW WHEN (NEW.email_allowed OR NEW.sms_allowed OR NEW.post_allowed)
    EXECUTE FUNCTION outbox_tell_consent()
