-- The promises of vouchers and coupons. The names of the constraints are domain words: loyalty/vouchers.py and
-- loyalty/coupons.py turn them into exceptions, the statements' tests break each on purpose.

CREATE OR REPLACE FUNCTION voucher_refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- A merge hands a voucher over; and it ends, once.
    IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - 'profile_id' = to_jsonb(OLD) - 'profile_id' THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.state = 'issued' AND NEW.state <> 'issued'
       AND to_jsonb(NEW) - ARRAY['state', 'ended_at', 'used_in_id', 'used_cents', 'use_id']
         = to_jsonb(OLD) - ARRAY['state', 'ended_at', 'used_in_id', 'used_cents', 'use_id'] THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'voucher_ends_once: % of voucher %', TG_OP, OLD.id
        USING ERRCODE = 'CDP01', CONSTRAINT = 'voucher_ends_once', TABLE = TG_TABLE_NAME;
END $$
-- next
CREATE OR REPLACE TRIGGER voucher_ends_once BEFORE UPDATE OR DELETE ON loyalty_voucher
    FOR EACH ROW EXECUTE FUNCTION voucher_refuse_change()
-- next
CREATE OR REPLACE TRIGGER ledger_is_append_only BEFORE UPDATE OR DELETE ON loyalty_ticketpayment
    FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change()
-- next
CREATE OR REPLACE FUNCTION exit_refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF OLD.done_at IS NOT NULL THEN
        RAISE EXCEPTION 'exit_never_changes: % of exit %', TG_OP, OLD.id
            USING ERRCODE = 'CDP01', CONSTRAINT = 'exit_never_changes', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$
-- next
CREATE OR REPLACE TRIGGER exit_never_changes BEFORE UPDATE OR DELETE ON loyalty_storeexit
    FOR EACH ROW EXECUTE FUNCTION exit_refuse_change()
-- next
CREATE OR REPLACE FUNCTION coupon_count_one(coupon bigint, at_store bigint, step integer) RETURNS integer
LANGUAGE sql SET search_path FROM CURRENT AS $$
    INSERT INTO loyalty_coupontally AS tally (coupon_id, store_id, used) VALUES (coupon, at_store, step)
    ON CONFLICT (coupon_id, store_id) DO UPDATE SET used = tally.used + step
    RETURNING used
$$
-- next
-- A use is counted while it is written: of two at once, the second waits for the first and sees what it counted.
CREATE OR REPLACE FUNCTION coupon_keep_limits() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    coupon loyalty_coupon;
    broken text;
    step integer := 1;
    counted integer;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        -- A merge hands a use over; and it may be cancelled, once.
        IF to_jsonb(NEW) - 'profile_id' = to_jsonb(OLD) - 'profile_id' THEN
            RETURN NEW;
        END IF;
        IF OLD.cancelled_at IS NOT NULL OR to_jsonb(NEW) - 'cancelled_at' <> to_jsonb(OLD) - 'cancelled_at' THEN
            RAISE EXCEPTION 'coupon_use_never_changes: use %', OLD.id
                USING ERRCODE = 'CDP01', CONSTRAINT = 'coupon_use_never_changes', TABLE = TG_TABLE_NAME;
        END IF;
        step := -1;
    END IF;
    SELECT * INTO coupon FROM loyalty_coupon WHERE id = NEW.coupon_id;
    IF step = 1 AND NEW.used_at < coupon.starts_at THEN
        broken := 'coupon_not_before_its_start';
    ELSIF step = 1 AND NEW.used_at >= coupon.ends_at THEN
        broken := 'coupon_not_after_its_end';
    END IF;
    counted := coupon_count_one(coupon.id, NULL, step);
    IF step = 1 AND counted > coupon.most_in_all THEN
        broken := coalesce(broken, 'coupon_limit_in_all');
    END IF;
    counted := coupon_count_one(coupon.id, NEW.store_id, step);
    IF step = 1 AND counted > coupon.most_a_store THEN
        broken := coalesce(broken, 'coupon_limit_of_store');
    END IF;
    -- The row of all uses is locked by now: nobody else writes a use of this coupon.
    IF step = 1 AND coupon.most_a_member IS NOT NULL THEN
        IF NEW.profile_id IS NULL OR (SELECT count(*) FROM loyalty_couponuse u
             WHERE u.coupon_id = coupon.id AND u.profile_id = NEW.profile_id AND u.cancelled_at IS NULL)
           >= coupon.most_a_member THEN
            broken := coalesce(broken, 'coupon_limit_of_member');
        END IF;
    END IF;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION '%: coupon %', broken, coupon.id
            USING ERRCODE = 'CDP03', CONSTRAINT = broken, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$
-- next
CREATE OR REPLACE TRIGGER coupon_keeps_its_limits BEFORE INSERT OR UPDATE ON loyalty_couponuse
    FOR EACH ROW EXECUTE FUNCTION coupon_keep_limits()
-- next
CREATE OR REPLACE TRIGGER ledger_is_append_only BEFORE DELETE ON loyalty_couponuse
    FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change()
