-- Roles and tables. No row is made here: a dump of the extension's tables must be loadable behind CREATE EXTENSION.

DO $do$
DECLARE
    role text;
    missing text[] := '{}';
BEGIN
    FOREACH role IN ARRAY '{eventgate_publish,eventgate_read,eventgate_gateway,eventgate_admin}'::text[] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL; -- another database's installation was faster
            WHEN insufficient_privilege THEN missing := missing || role;
        END;
    END LOOP;
    IF missing <> '{}' THEN
        RAISE 'These roles are missing, and % may not make them: %.', current_user, array_to_string(missing, ', ')
            USING ERRCODE = 'insufficient_privilege',
                HINT = 'Have an administrator run this once, and install again: CREATE ROLE '
                    || array_to_string(missing, ' NOLOGIN; CREATE ROLE ') || ' NOLOGIN;';
    END IF;
    BEGIN
        IF NOT pg_has_role('eventgate_gateway', 'eventgate_read', 'MEMBER') THEN
            GRANT eventgate_read TO eventgate_gateway;
        END IF;
    EXCEPTION
        WHEN insufficient_privilege THEN NULL; -- it is granted all that it needs by itself, too
    END;
END
$do$;

-- Whoever gives out positions holds this table's EXCLUSIVE lock until its commit; whoever maintains, the other one's.
CREATE TABLE IF NOT EXISTS eventgate.turn ();
CREATE TABLE IF NOT EXISTS eventgate.maintenance ();

-- The last position given out. Only moved under the turn's lock, and only forward; so an abort never gives one back.
CREATE SEQUENCE IF NOT EXISTS eventgate.position_seq MINVALUE 0 START 0 MAXVALUE 9007199254740991;

-- Partition log_N holds segment N: positions N * 2^33 to (N + 1) * 2^33 - 1. A rotation goes on in the next segment.
-- Indexes are each partition's own: with indexes of the whole, a dump could not be loaded behind CREATE EXTENSION.
-- Data isn't compressed: that took most of the time of appending large events, for which others wait.
DO $do$
BEGIN
    IF to_regclass('eventgate.log') IS NULL THEN
        CREATE TABLE eventgate.log (
            pos bigint NOT NULL,
            channel text COLLATE "C" NOT NULL,
            type text,
            "time" timestamptz NOT NULL,
            trace text,
            bytes integer NOT NULL,
            data json NOT NULL
        ) PARTITION BY RANGE (pos);
        ALTER TABLE eventgate.log ALTER data SET STORAGE EXTERNAL;
    END IF;
END
$do$;

-- Every channel that ever had an event; `pruned`: its last position that retention has dropped.
CREATE TABLE IF NOT EXISTS eventgate.channel (
    name text COLLATE "C" PRIMARY KEY,
    pruned bigint NOT NULL DEFAULT 0
);

-- One row for each time that the log began to run anew: what lies strictly between the two positions never was, or is
-- lost. Rows are never updated, so a row's xmin tells that it was reloaded.
CREATE TABLE IF NOT EXISTS eventgate.incarnation (
    number integer PRIMARY KEY,
    jump_from bigint NOT NULL,
    jump_to bigint NOT NULL,
    began timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Where the log runs, noticed when its incarnation began. `row_xmin`: this row's own xmin; a reloaded row has another.
CREATE TABLE IF NOT EXISTS eventgate.state (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    tag text NOT NULL,
    started timestamptz NOT NULL,
    log oid NOT NULL,
    place text NOT NULL,
    row_xmin xid NOT NULL
);

CREATE TABLE IF NOT EXISTS eventgate.setting (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    retention_age interval DEFAULT '7 days' CHECK (retention_age >= '1 second'), -- NULL: no bound
    retention_bytes bigint CHECK (retention_bytes > 0), -- NULL: no bound
    segment_age interval CHECK (segment_age >= '1 second'), -- NULL: an eighth of retention_age
    segment_bytes bigint CHECK (segment_bytes > 0), -- NULL: an eighth of retention_bytes
    key_age interval NOT NULL DEFAULT '24 hours' CHECK (key_age >= '1 second'),
    max_bytes integer NOT NULL DEFAULT 1048576 CHECK (max_bytes BETWEEN 1 AND 268435456),
    bulk_limit integer NOT NULL DEFAULT 1000 CHECK (bulk_limit > 0)
);

-- Idempotency keys; read and written under the turn's lock. `id`: digest of channel, key and publisher; `body`: of type
-- and data.
CREATE TABLE IF NOT EXISTS eventgate.key (
    id uuid PRIMARY KEY,
    body uuid NOT NULL,
    pos bigint NOT NULL,
    "time" timestamptz NOT NULL
);

-- What publish() has taken and the commit appends. Nothing of it outlives its transaction, so it needs no WAL.
DO $do$
BEGIN
    IF to_regclass('eventgate.pending') IS NULL THEN
        CREATE UNLOGGED TABLE eventgate.pending (
            xact xid8 NOT NULL,
            n bigint NOT NULL,
            channel text NOT NULL,
            type text,
            key text,
            trace text,
            bytes integer NOT NULL,
            data json NOT NULL,
            PRIMARY KEY (xact, n)
        );
        ALTER TABLE eventgate.pending ALTER data SET STORAGE EXTERNAL;
    END IF;
END
$do$;
CREATE SEQUENCE IF NOT EXISTS eventgate.pending_seq CACHE 1000;

-- What is to be appended at a commit: that of transaction `xact` from `n` on. Stage 2: the transaction's other deferred
-- constraints were checked.
CREATE UNLOGGED TABLE IF NOT EXISTS eventgate.publishing (
    xact xid8,
    batch text COLLATE "C",
    n bigint NOT NULL,
    stage smallint NOT NULL DEFAULT 1,
    PRIMARY KEY (xact, batch)
);

-- CREATE INDEX IF NOT EXISTS would lock the tables of publishers that are at work, though there is nothing to make.
DO $do$
BEGIN
    IF to_regclass('eventgate.channel_pruned') IS NULL THEN
        CREATE INDEX channel_pruned ON eventgate.channel (pruned);
    END IF;
    IF to_regclass('eventgate.key_time') IS NULL THEN
        CREATE INDEX key_time ON eventgate.key ("time");
    END IF;
END
$do$;

CREATE OR REPLACE FUNCTION eventgate.version() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN @VERSION@;

-- The least version that a gateway has to know to work with this schema. It is raised by what gateways of before can't
-- work with, and by nothing else: they would be shut out.
CREATE OR REPLACE FUNCTION eventgate.gateway_version() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 2;
