-- The plain script runs as one transaction, and refuses what it would break.
BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL standard_conforming_strings = on;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL default_tablespace = '';
SET LOCAL lock_timeout = '5s';

DO $do$
DECLARE
    installed integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('eventgate schema', 0));
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_eventgate') THEN
        RAISE 'Schema "eventgate" belongs to the extension "pg_eventgate" here.'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Run: ALTER EXTENSION pg_eventgate UPDATE;';
    END IF;
    IF to_regprocedure('eventgate.version()') IS NOT NULL THEN
        EXECUTE 'SELECT eventgate.version()' INTO installed;
        IF installed > @VERSION@ THEN
            RAISE 'Schema "eventgate" has version % here, which is newer than this script''s, @VERSION@; nothing was changed.',
                installed
                USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Use the script of the newest pg_eventgate.';
        END IF;
    ELSIF to_regnamespace('eventgate') IS NOT NULL
        AND EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('eventgate')) THEN
        RAISE 'There is a schema "eventgate" here that is not pg_eventgate''s; nothing was changed.'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Rename or drop it first.';
    END IF;
END
$do$;

CREATE SCHEMA IF NOT EXISTS eventgate;

