-- publish(): an event in the caller's own transaction.
--
-- The event waits in eventgate.pending until the commit, so a transaction holds the turn no longer than its commit
-- takes. Its deferred triggers run in two stages: the first only queues the second behind the other deferred
-- constraints of the transaction, which may wait for other transactions' row locks, and must not do so with the turn.
-- Each stage fires once in a transaction, for its row of eventgate.publishing; and once more for what is published
-- behind that. These tables are read by index and where there is something to read: two SERIALIZABLE transactions that
-- read more than their own rows would be in conflict.

-- Has what this transaction publishes from n on appended at its commit, unless that is so already. The setting, which
-- goes back with a savepoint as rows do, names another batch when one was appended: a key that is deleted and made anew
-- over and over would be ever slower to look up. Any value will do.
CREATE OR REPLACE FUNCTION eventgate.enter(me xid8, n bigint) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO eventgate.publishing (xact, batch, n)
        VALUES (me, coalesce(current_setting('eventgate.batch', true), ''), enter.n) ON CONFLICT DO NOTHING;
END
$$;

-- Queues events of the caller's transaction, for callers that have checked them; n-th of each array.
CREATE OR REPLACE FUNCTION eventgate.queue(channels text[], datas json[], types text[], keys text[], traces text[])
    RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    me xid8 := pg_current_xact_id();
    n bigint := nextval('eventgate.pending_seq');
BEGIN
    INSERT INTO eventgate.pending (xact, n, channel, type, key, trace, bytes, data)
        SELECT me, nextval('eventgate.pending_seq'), u.channel, u.type, u.key, u.trace, octet_length(u.data::text), u.data
        FROM unnest(channels, datas, types, keys, traces) AS u(channel, data, type, key, trace);
    PERFORM eventgate.enter(me, n);
END
$$;

CREATE OR REPLACE FUNCTION eventgate.publish(channel text, data json, type text DEFAULT NULL, key text DEFAULT NULL,
    trace text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off
    SET jit = off
AS $$
DECLARE
    problem text := eventgate.name_problem(channel);
    me xid8 := pg_current_xact_id();
    n bigint := nextval('eventgate.pending_seq');
    bytes integer := octet_length(data::text);
BEGIN
    IF problem IS NOT NULL THEN
        RAISE 'The channel''s name % %.', coalesce(quote_literal(left(channel, 200)), ''), problem
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF data IS NULL THEN
        RAISE 'The data is NULL.' USING ERRCODE = 'null_value_not_allowed', HINT = 'JSON''s null is ''null''::json.';
    END IF;
    IF getdatabaseencoding() = 'SQL_ASCII' THEN
        PERFORM eventgate.check_encoding(data::text, type, trace);
    END IF;
    IF bytes > 8192 THEN
        PERFORM eventgate.check_size(bytes);
    END IF;
    IF type IS NOT NULL THEN
        PERFORM eventgate.check_texts('type', ARRAY[type], 200);
    END IF;
    IF key IS NOT NULL THEN
        PERFORM eventgate.check_texts('key', ARRAY[key], 255);
    END IF;
    IF trace IS NOT NULL THEN
        PERFORM eventgate.check_texts('trace', ARRAY[trace], 255);
    END IF;
    INSERT INTO eventgate.pending (xact, n, channel, type, key, trace, bytes, data)
        VALUES (me, n, channel, type, key, trace, bytes, data);
    PERFORM eventgate.enter(me, n);
END
$$;

CREATE OR REPLACE FUNCTION eventgate.before_constraints() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off
    SET jit = off
AS $$
BEGIN
    -- NOTIFY would refuse it, too, but later, and in other words.
    IF left(ltrim(current_query(), E' \t\r\n'), 7) ILIKE 'prepare' THEN
        RAISE 'A transaction that publishes events cannot be prepared.'
            USING ERRCODE = 'feature_not_supported', DETAIL = 'It would keep everybody from publishing until it ends.',
                HINT = 'Publish in a transaction of its own, or commit in one phase.';
    END IF;
    UPDATE eventgate.publishing AS p SET stage = 2 WHERE p.xact = NEW.xact AND p.batch = NEW.batch;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION eventgate.behind_constraints() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off
    SET jit = off
AS $$
DECLARE
    isolated boolean := current_setting('transaction_isolation') <> 'read committed';
    keyed boolean;
    names text[];
BEGIN
    DELETE FROM eventgate.publishing AS p WHERE p.xact = NEW.xact AND p.batch = NEW.batch;
    PERFORM set_config('eventgate.batch', NEW.n::text, true);
    PERFORM eventgate.take_turn();
    -- Channels made after the snapshot of an isolated transaction can't be seen, and looking would be a conflict.
    SELECT bool_or(p.key IS NOT NULL), array_agg(DISTINCT p.channel)
        FILTER (WHERE isolated OR (SELECT true FROM eventgate.channel AS c WHERE c.name = p.channel) IS NULL)
    INTO keyed, names
    FROM eventgate.pending AS p WHERE p.xact = NEW.xact AND p.n >= NEW.n;
    IF names IS NOT NULL THEN
        PERFORM eventgate.know_channels(names);
    END IF;
    IF keyed THEN
        PERFORM eventgate.append_pending_keyed(NEW.xact, NEW.n);
    ELSIF keyed IS NOT NULL THEN
        PERFORM eventgate.append_pending(NEW.xact, NEW.n);
    END IF;
    PERFORM pg_notify('eventgate', '');
    RETURN NULL;
END
$$;

-- Moves what is pending of this transaction from n on into the log.
CREATE OR REPLACE FUNCTION eventgate.append_pending(me xid8, from_n bigint) RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    first bigint := nextval('eventgate.position_seq');
    now_ timestamptz := clock_timestamp();
    count bigint;
BEGIN
    WITH gone AS (
        DELETE FROM eventgate.pending AS p WHERE p.xact = me AND p.n >= from_n
            RETURNING p.n, p.channel, p.type, p.trace, p.bytes, p.data
    )
    INSERT INTO eventgate.log (pos, channel, type, "time", trace, bytes, data)
        SELECT first - 1 + row_number() OVER (ORDER BY g.n), g.channel, g.type, now_, g.trace, g.bytes,
            g.data
        FROM gone AS g;
    GET DIAGNOSTICS count = ROW_COUNT;
    IF count > 1 THEN
        PERFORM setval('eventgate.position_seq', first + count - 1);
    END IF;
END
$$;

-- The same where some of it has keys: a repeat with the same body changes nothing, one with another body raises.
CREATE OR REPLACE FUNCTION eventgate.append_pending_keyed(me xid8, from_n bigint) RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    items record;
    conflict integer;
BEGIN
    WITH gone AS (
        DELETE FROM eventgate.pending AS p WHERE p.xact = me AND p.n >= from_n RETURNING p.*
    )
    SELECT array_agg(1) AS units, array_agg(g.channel ORDER BY g.n) AS channels,
        array_agg(g.type ORDER BY g.n) AS types, array_agg(g.data::text ORDER BY g.n) AS datas,
        array_agg(g.key ORDER BY g.n) AS keys, array_agg(g.trace ORDER BY g.n) AS traces
    INTO items FROM gone AS g;
    SELECT min(a.item) INTO conflict
    FROM eventgate.append_keyed('sql ' || session_user, items.units, items.channels, items.types, items.datas,
        items.keys, items.traces) AS a
    WHERE a.outcome = 'conflict';
    IF conflict IS NOT NULL THEN
        RAISE 'The key % was used before on channel % with another body.', quote_literal(items.keys[conflict]),
            quote_literal(items.channels[conflict])
            USING ERRCODE = 'EG422', HINT = 'A key names one event: use a new key for a new event.';
    END IF;
END
$$;

DO $do$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = to_regclass('eventgate.publishing')) THEN
        CREATE CONSTRAINT TRIGGER before_constraints AFTER INSERT ON eventgate.publishing
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION eventgate.before_constraints();
        CREATE CONSTRAINT TRIGGER behind_constraints AFTER UPDATE ON eventgate.publishing
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.stage = 2)
            EXECUTE FUNCTION eventgate.behind_constraints();
        -- session_replication_role = replica must not lose events.
        ALTER TABLE eventgate.publishing ENABLE ALWAYS TRIGGER before_constraints;
        ALTER TABLE eventgate.publishing ENABLE ALWAYS TRIGGER behind_constraints;
    END IF;
END
$do$;
