-- History is added, never edited. One trigger function serves every append-only table of the brand; the name
-- given to it is the promise that the error quotes.
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RAISE EXCEPTION '%: % of %', TG_ARGV[0], TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'CDP01', CONSTRAINT = TG_ARGV[0], TABLE = TG_TABLE_NAME;
END $$
-- next
CREATE OR REPLACE TRIGGER audit_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON network_auditevent
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('audit_is_append_only')
