-- Revocations: whose tokens are refused that were issued before which time. Gateways read them.

-- Whoever writes to the second one holds this table's EXCLUSIVE lock until the commit, so that versions become visible
-- in their order. `before` NULL: taken back; the row stays, so that gateways see that.
CREATE TABLE IF NOT EXISTS eventgate.revoking ();
CREATE TABLE IF NOT EXISTS eventgate.revocation (
    subject text COLLATE "C" PRIMARY KEY,
    before timestamptz,
    changed timestamptz NOT NULL DEFAULT clock_timestamp(),
    version bigint NOT NULL
);
CREATE SEQUENCE IF NOT EXISTS eventgate.revocation_seq;

DO $do$
BEGIN
    IF to_regclass('eventgate.revocation_version') IS NULL THEN
        CREATE INDEX revocation_version ON eventgate.revocation (version);
    END IF;
END
$do$;

-- From the caller's commit on, no gateway takes a token of this subject (`sub`) that was issued before that time, and
-- those streams end that it opened. An earlier time than the one that is there changes nothing; 'infinity' is for good.
-- Returns what holds now.
CREATE OR REPLACE FUNCTION eventgate.revoke(subject text, before timestamptz DEFAULT clock_timestamp())
    RETURNS timestamptz
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    holds timestamptz;
BEGIN
    IF subject IS NULL OR before IS NULL THEN
        RAISE 'A subject is revoked by its name, and up to a time; neither can be NULL.'
            USING ERRCODE = 'null_value_not_allowed';
    END IF;
    IF subject = '' OR octet_length(convert_to(subject, 'UTF8')) > 1024 THEN
        RAISE 'A subject has 1 to 1,024 bytes, and this one %.', octet_length(convert_to(subject, 'UTF8'))
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It is the claim "sub" of the tokens.';
    END IF;
    LOCK TABLE eventgate.revoking IN EXCLUSIVE MODE;
    INSERT INTO eventgate.revocation AS r (subject, before, version)
    VALUES ($1, $2, nextval('eventgate.revocation_seq'))
    ON CONFLICT ON CONSTRAINT revocation_pkey DO UPDATE
    SET before = greatest(r.before, EXCLUDED.before), changed = EXCLUDED.changed, version = EXCLUDED.version
    RETURNING r.before INTO holds;
    PERFORM pg_notify('eventgate_revocation', '');
    RETURN holds;
END
$$;

-- Takes that back: tokens of the subject count again. False: it wasn't revoked.
CREATE OR REPLACE FUNCTION eventgate.unrevoke(subject text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    LOCK TABLE eventgate.revoking IN EXCLUSIVE MODE;
    UPDATE eventgate.revocation AS r SET before = NULL, changed = clock_timestamp(), version = nextval('eventgate.revocation_seq')
    WHERE r.subject = $1 AND r.before IS NOT NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM pg_notify('eventgate_revocation', '');
    RETURN true;
END
$$;

-- Deletes what no token needs any more: revocations up to a time before which all tokens were issued that have expired
-- by now, and those that were taken back an hour ago. Returns how many. Gateways forget them when they connect anew.
CREATE OR REPLACE FUNCTION eventgate.forget_revocations(before timestamptz) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    deleted bigint;
BEGIN
    LOCK TABLE eventgate.revoking IN EXCLUSIVE MODE;
    DELETE FROM eventgate.revocation AS r
    WHERE r.before < $1 OR (r.before IS NULL AND r.changed < clock_timestamp() - interval '1 hour');
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END
$$;
