
-- Partitions are made later, so they belong to no extension and are dumped as they are.
DO $do$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY '{setting,state,incarnation,channel,key,watching,watching_seq,position_seq,revocation,
            revocation_seq}'::text[] LOOP
        PERFORM pg_extension_config_dump(to_regclass('eventgate.' || name), '');
    END LOOP;
END
$do$;
