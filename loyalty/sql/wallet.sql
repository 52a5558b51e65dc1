-- Wallet passes: what a pass shows, which of them changed, and that the number of one that ended is nobody's.

-- What passes in use show, in short: whose each is, how far their chain of postings goes, and the tier. Another one than was
-- told means that the pass is to be drawn again. `only_these`: these passes; without it, those that some wallet holds.
CREATE OR REPLACE FUNCTION wallet_states(only_these bigint[]) RETURNS TABLE (pass bigint, state text)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT w.id, concat_ws(':', r.profile_id,
                           (SELECT coalesce(sum(a.entries), 0) FROM loyalty_account a WHERE a.profile_id = r.profile_id),
                           (SELECT coalesce(max(m.tier_id), 0) FROM loyalty_membership m WHERE m.profile_id = r.profile_id))
      FROM loyalty_walletpass w JOIN profiles_sourcerecord r ON r.id = w.record_id
     WHERE w.state = 'active'
       AND CASE WHEN only_these IS NULL
                THEN w.google_since IS NOT NULL OR EXISTS (SELECT FROM loyalty_passdevice d WHERE d.wallet_pass_id = w.id)
                ELSE w.id = ANY(only_these) END
$$
-- next
-- The tag of the next change. Whoever draws one holds the others off until it is committed, so that who asks for what
-- came after a tag misses none below it.
CREATE OR REPLACE FUNCTION wallet_next_tag() RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext(current_schema || '.wallet'), 0);
    RETURN (SELECT coalesce(max(w.tag), 0) + 1 FROM loyalty_walletpass w);
END $$
-- next
-- Finds the passes that show something else by now than was told, and has wallets told: not before `calm` has passed since
-- the last time, so that many postings are one push. Returns how many.
CREATE OR REPLACE FUNCTION wallet_note_changes(at timestamptz, calm interval, only_these bigint[])
RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    changed bigint[];
    new_tag bigint;
BEGIN
    changed := ARRAY(SELECT w.id FROM wallet_states(only_these) s JOIN loyalty_walletpass w ON w.id = s.pass
                      WHERE w.state_told <> s.state);
    IF cardinality(changed) = 0 THEN
        RETURN 0;
    END IF;
    new_tag := wallet_next_tag();
    -- Looked at again with the others held off: somebody else may have noted the same.
    UPDATE loyalty_walletpass w
       SET state_told = s.state, tag = new_tag, attempt_count = 0,
           changed_at = greatest(date_trunc('second', at), w.changed_at + interval '1 second'),
           next_at = greatest(at, w.pushed_at + calm)
      FROM wallet_states(changed) s
     WHERE w.id = s.pass AND w.state_told <> s.state AND w.state = 'active';
    RETURN cardinality(changed);
END $$
-- next
-- A pass that ended stays ended, whoever writes. One that was retired can still be voided.
CREATE OR REPLACE FUNCTION wallet_refuse_return() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RAISE EXCEPTION 'ended_pass_stays_ended: %', OLD.id
        USING ERRCODE = 'CDP01', CONSTRAINT = 'ended_pass_stays_ended', TABLE = TG_TABLE_NAME;
END $$
-- next
CREATE OR REPLACE TRIGGER ended_pass_stays_ended BEFORE UPDATE ON loyalty_walletpass
    FOR EACH ROW WHEN (OLD.state = 'void' AND NEW.state <> 'void' OR OLD.state = 'lost' AND NEW.state = 'active'
                       OR OLD.record_id <> NEW.record_id)
    EXECUTE FUNCTION wallet_refuse_return()
-- next
-- Its number goes with it, in the same statement: from then on no till knows it.
CREATE OR REPLACE FUNCTION wallet_retire_number() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM profiles_identifier i WHERE i.record_id = OLD.record_id AND i.kind = 'pass';
    RETURN NULL;
END $$
-- next
CREATE OR REPLACE TRIGGER number_goes_with_the_pass AFTER UPDATE OF state ON loyalty_walletpass
    FOR EACH ROW WHEN (OLD.state = 'active' AND NEW.state <> 'active') EXECUTE FUNCTION wallet_retire_number()
-- next
-- And does not come back.
CREATE OR REPLACE FUNCTION wallet_refuse_number() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM profiles_sourcerecord r JOIN loyalty_walletpass w ON w.record_id = r.id
                WHERE r.source_id = (SELECT s.id FROM profiles_source s WHERE s.code = 'wallet')
                  AND r.external_id = NEW.key AND w.state <> 'active') THEN
        RAISE EXCEPTION 'retired_number_stays_retired: %', NEW.key
            USING ERRCODE = 'CDP01', CONSTRAINT = 'retired_number_stays_retired', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$
-- next
CREATE OR REPLACE TRIGGER retired_number_stays_retired BEFORE INSERT ON profiles_identifier
    FOR EACH ROW WHEN (NEW.kind = 'pass') EXECUTE FUNCTION wallet_refuse_number()
