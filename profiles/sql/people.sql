-- Locks people until the transaction ends, in the order of their ids, and tells who each of them lives on in. Where
-- somebody proves to be merged, the locks are given back (with the block's subtransaction) before the survivor, whose id
-- is smaller, is locked with the others. Who is gone is left out. profiles/models/profile.py calls it (`Profile.hold`).
CREATE OR REPLACE FUNCTION hold_people(asked bigint[]) RETURNS TABLE (asked_id bigint, person profiles_profile)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    living bigint[] := asked;
    survivor bigint;
    next_one bigint;
BEGIN
    LOOP
        BEGIN
            PERFORM 1 FROM profiles_profile p WHERE p.id = ANY(living) ORDER BY p.id FOR NO KEY UPDATE;
            IF NOT EXISTS (SELECT FROM profiles_profile p WHERE p.id = ANY(living) AND p.merged_into_id IS NOT NULL) THEN
                RETURN QUERY SELECT a.id, p FROM unnest(asked, living) AS a(id, lives)
                                               JOIN profiles_profile p ON p.id = a.lives;
                RETURN;
            END IF;
            RAISE EXCEPTION USING ERRCODE = 'CDP04';
        EXCEPTION WHEN SQLSTATE 'CDP04' THEN
            NULL;
        END;
        FOR n IN 1..cardinality(asked) LOOP
            survivor := asked[n];
            LOOP
                SELECT p.merged_into_id INTO next_one FROM profiles_profile p WHERE p.id = survivor;
                EXIT WHEN next_one IS NULL;
                survivor := next_one;
            END LOOP;
            living[n] := survivor;
        END LOOP;
    END LOOP;
END $$
