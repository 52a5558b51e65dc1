-- What is told of members by webhooks (tenants/network/sql/outbox.sql). Triggers, and no calls of ours, so that what the
-- database posts by itself is told as well. Where nobody asked for an event, its trigger costs a look into a table of a
-- few rows.

CREATE OR REPLACE FUNCTION outbox_tell_points() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM network_webhookendpoint e WHERE e.is_on AND 'points.posted' = ANY(e.events)) THEN
        RETURN NULL;
    END IF;
    -- Everybody whose accounts it moved: a ticket that is given to its owner moves two members' points.
    PERFORM outbox_put('points.posted', moved.public_id, NEW.occurred_at, jsonb_build_object(
                'member', moved.public_id, 'key', NEW.key, 'kind', NEW.kind, 'points', moved.points,
                'change', moved.change, 'balance', moved.balance, 'occurred_at', NEW.occurred_at,
                'store', (SELECT s.code FROM network_store s WHERE s.id = NEW.store_id)))
       FROM (SELECT m.public_id, sum(c.points) AS points,
                    -- A debt is told as what is owed, above zero, as tills are told it.
                    jsonb_object_agg(a.kind, CASE a.kind WHEN 'debt' THEN -1 ELSE 1 END * coalesce(c.points, 0))
                        AS change,
                    jsonb_object_agg(a.kind, CASE a.kind WHEN 'debt' THEN -1 ELSE 1 END * a.balance) AS balance
               FROM (SELECT DISTINCT o.profile_id FROM loyalty_posting p JOIN loyalty_account o ON o.id = p.account_id
                      WHERE p.transaction_id = NEW.id AND o.profile_id IS NOT NULL) whose
               JOIN profiles_profile m ON m.id = whose.profile_id AND m.merged_into_id IS NULL
               JOIN loyalty_account a ON a.profile_id = whose.profile_id
               LEFT JOIN (SELECT p.account_id, sum(p.points) AS points FROM loyalty_posting p
                           WHERE p.transaction_id = NEW.id GROUP BY 1) c ON c.account_id = a.id
              GROUP BY m.id ORDER BY m.id) moved;
    RETURN NULL;
END $$
-- next
DROP TRIGGER IF EXISTS points_are_told ON loyalty_transaction
-- next
-- At commit, when postings and balances are what they remain, in whatever order they were written.
CREATE CONSTRAINT TRIGGER points_are_told AFTER INSERT ON loyalty_transaction
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION outbox_tell_points()
-- next
CREATE OR REPLACE FUNCTION outbox_tell_tier() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM network_webhookendpoint e WHERE e.is_on AND 'tier.changed' = ANY(e.events)) THEN
        PERFORM outbox_put('tier.changed', m.public_id, NEW.at, jsonb_build_object(
                    'member', m.public_id, 'before', NEW.before, 'after', NEW.after, 'why', NEW.why))
           FROM profiles_profile m WHERE m.id = NEW.profile_id;
    END IF;
    RETURN NULL;
END $$
-- next
DROP TRIGGER IF EXISTS tier_change_is_told ON loyalty_tierchange
-- next
-- At commit as well: behind the points that the tier was reached with.
CREATE CONSTRAINT TRIGGER tier_change_is_told AFTER INSERT ON loyalty_tierchange
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION outbox_tell_tier()
-- next
CREATE OR REPLACE FUNCTION outbox_tell_membership() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM network_webhookendpoint e WHERE e.is_on AND 'member.created' = ANY(e.events)) THEN
        PERFORM outbox_put('member.created', m.public_id, NEW.enrolled_at, jsonb_build_object(
                    'member', m.public_id, 'enrolled_at', NEW.enrolled_at))
           FROM profiles_profile m WHERE m.id = NEW.profile_id AND m.merged_into_id IS NULL;
    END IF;
    RETURN NULL;
END $$
-- next
CREATE OR REPLACE TRIGGER membership_is_told AFTER INSERT ON loyalty_membership
    FOR EACH ROW EXECUTE FUNCTION outbox_tell_membership()
-- next
CREATE OR REPLACE FUNCTION outbox_tell_voucher() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    what CONSTANT text := CASE TG_OP WHEN 'INSERT' THEN 'voucher.issued' ELSE 'voucher.used' END;
    told jsonb;
BEGIN
    IF NOT EXISTS (SELECT FROM network_webhookendpoint e WHERE e.is_on AND what = ANY(e.events)) THEN
        RETURN NULL;
    END IF;
    -- Not its code: whoever knows that can use it.
    SELECT jsonb_build_object('member', m.public_id, 'key', NEW.key, 'reward', r.code, 'kind', r.kind,
                              'points', NEW.points, 'worth_cents', NEW.worth_cents, 'last_day', NEW.last_day)
      INTO told FROM profiles_profile m, loyalty_reward r WHERE m.id = NEW.profile_id AND r.id = NEW.reward_id;
    IF TG_OP = 'INSERT' THEN
        told := told || jsonb_build_object('issued_at', NEW.issued_at, 'store',
                                           (SELECT s.code FROM network_store s WHERE s.id = NEW.issued_in_id));
    ELSE
        told := told || jsonb_build_object('used_at', NEW.ended_at, 'used_cents', NEW.used_cents, 'store',
                                           (SELECT s.code FROM network_store s WHERE s.id = NEW.used_in_id));
    END IF;
    PERFORM outbox_put(what, (told->>'member')::uuid, coalesce(NEW.ended_at, NEW.issued_at), told);
    RETURN NULL;
END $$
-- next
CREATE OR REPLACE TRIGGER voucher_is_told AFTER INSERT ON loyalty_voucher
    FOR EACH ROW EXECUTE FUNCTION outbox_tell_voucher()
-- next
CREATE OR REPLACE TRIGGER use_of_voucher_is_told AFTER UPDATE OF state ON loyalty_voucher
    FOR EACH ROW WHEN (OLD.state <> 'used' AND NEW.state = 'used') EXECUTE FUNCTION outbox_tell_voucher()
