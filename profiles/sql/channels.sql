-- How a till's tickets are sold stands with its first ticket: rules judge a ticket by it, and judge it again when goods
-- come back and when the ledger is proved.
CREATE OR REPLACE FUNCTION refuse_change_of_channel() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM profiles_purchase p WHERE p.till_id = OLD.id) THEN
        RAISE EXCEPTION 'channel_of_tickets_stands: till % has sold tickets', OLD.id
            USING ERRCODE = 'CDP01', CONSTRAINT = 'channel_of_tickets_stands', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$
-- next
CREATE OR REPLACE TRIGGER channel_of_tickets_stands BEFORE UPDATE OF channel ON network_till
    FOR EACH ROW WHEN (OLD.channel <> NEW.channel) EXECUTE FUNCTION refuse_change_of_channel()
-- next
-- A till that a web shop's connector writes to sells on the web.
CREATE OR REPLACE FUNCTION web_shop_sells_on_the_web() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE network_till t SET channel = 'web' WHERE t.id = NEW.till_id AND t.channel <> 'web';
    RETURN NULL;
END $$
-- next
CREATE OR REPLACE TRIGGER web_shop_sells_on_the_web AFTER INSERT OR UPDATE OF till_id, kind ON profiles_connection
    FOR EACH ROW WHEN (NEW.kind IN ('shopify', 'woocommerce')) EXECUTE FUNCTION web_shop_sells_on_the_web()
