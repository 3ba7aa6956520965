
-- Partitions are made later, so they belong to no extension and are dumped as they are.
SELECT pg_catalog.pg_extension_config_dump('eventgate.' || name, '')
FROM unnest('{setting,state,incarnation,channel,key,position_seq}'::text[]) AS name;
