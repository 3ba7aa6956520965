\echo Use "CREATE EXTENSION pg_eventgate" to load this file. \quit

DO $do$
BEGIN
    IF to_regclass('eventgate.log') IS NOT NULL
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = to_regclass('eventgate.log') AND deptype = 'e') THEN
        RAISE 'Schema "eventgate" was installed here by the plain script.'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                HINT = 'Go on with the script (`pg_eventgate schema upgrade`), or drop the schema first.';
    END IF;
END
$do$;

