-- publish(): an event in the caller's own transaction.
--
-- The event waits in eventgate.pending until the commit, so a transaction holds the turn no longer than its commit
-- takes. Its deferred triggers run in two stages: the first only queues the second behind the other deferred
-- constraints of the transaction, which may wait for other transactions' row locks, and must not do so with the turn.
-- Each stage fires once in a transaction: a row of eventgate.publishing is made where there is none yet. Looking for
-- it by a query instead would give two SERIALIZABLE transactions a conflict; as would reading these tables without index.

-- Queues events of the caller's transaction, for callers that have checked them; n-th of each array.
CREATE OR REPLACE FUNCTION eventgate.queue(channels text[], datas json[], types text[], keys text[], traces text[])
    RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    me xid8 := pg_current_xact_id();
BEGIN
    INSERT INTO eventgate.pending (xact, n, channel, type, key, trace, data)
        SELECT me, nextval('eventgate.pending_seq'), u.channel, u.type, u.key, u.trace, u.data
        FROM unnest(channels, datas, types, keys, traces) AS u(channel, data, type, key, trace);
    INSERT INTO eventgate.publishing (xact) VALUES (me) ON CONFLICT DO NOTHING;
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
BEGIN
    IF problem IS NOT NULL THEN
        RAISE 'The channel''s name % %.', coalesce(quote_literal(left(channel, 200)), ''), problem
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF data IS NULL THEN
        RAISE 'The data is NULL.' USING ERRCODE = 'null_value_not_allowed', HINT = 'JSON''s null is ''null''::json.';
    END IF;
    IF octet_length(data::text) > 8192 THEN
        PERFORM eventgate.check_size(octet_length(data::text));
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
    INSERT INTO eventgate.pending (xact, n, channel, type, key, trace, data)
        VALUES (me, nextval('eventgate.pending_seq'), channel, type, key, trace, data);
    INSERT INTO eventgate.publishing (xact) VALUES (me) ON CONFLICT DO NOTHING;
END
$$;

CREATE OR REPLACE FUNCTION eventgate.before_constraints() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- NOTIFY would refuse it, too, but later, and in other words.
    IF left(ltrim(current_query(), E' \t\r\n'), 7) ILIKE 'prepare' THEN
        RAISE 'A transaction that publishes events cannot be prepared.'
            USING ERRCODE = 'feature_not_supported', DETAIL = 'It would keep everybody from publishing until it ends.',
                HINT = 'Publish in a transaction of its own, or commit in one phase.';
    END IF;
    INSERT INTO eventgate.committing (xact) VALUES (NEW.xact);
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
BEGIN
    PERFORM eventgate.append_pending(NEW.xact);
    DELETE FROM eventgate.publishing AS p WHERE p.xact = NEW.xact;
    DELETE FROM eventgate.committing AS c WHERE c.xact = NEW.xact;
    RETURN NULL;
END
$$;

-- Appends what is pending of this transaction. Takes the turn.
CREATE OR REPLACE FUNCTION eventgate.append_pending(me xid8) RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    last bigint := eventgate.take_turn();
    now_ timestamptz := clock_timestamp();
    count bigint;
    keyed boolean;
    names text[];
BEGIN
    SELECT count(*), bool_or(p.key IS NOT NULL), array_agg(DISTINCT p.channel) INTO count, keyed, names
        FROM eventgate.pending AS p WHERE p.xact = me;
    IF count = 0 THEN
        RETURN;
    END IF;
    IF keyed THEN
        PERFORM eventgate.append_keyed(me);
    ELSE
        PERFORM eventgate.know_channels(names);
        PERFORM setval('eventgate.position_seq', last + count);
        INSERT INTO eventgate.log (pos, channel, type, "time", trace, bytes, data)
            SELECT last + row_number() OVER (ORDER BY p.n), p.channel, p.type, now_, p.trace, octet_length(p.data::text),
                p.data
            FROM eventgate.pending AS p WHERE p.xact = me;
        PERFORM pg_notify('eventgate', '');
    END IF;
    DELETE FROM eventgate.pending AS p WHERE p.xact = me;
END
$$;

-- The same where some of it has keys: a repeat with the same body changes nothing, one with another body raises.
CREATE OR REPLACE FUNCTION eventgate.append_keyed(me xid8) RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    all_ record;
    conflict integer;
BEGIN
    SELECT array_agg(p.channel ORDER BY p.n) AS channels, array_agg(p.type ORDER BY p.n) AS types,
        array_agg(p.data::text ORDER BY p.n) AS datas, array_agg(p.key ORDER BY p.n) AS keys,
        array_agg(p.trace ORDER BY p.n) AS traces, array_agg(1) AS units
    INTO all_ FROM eventgate.pending AS p WHERE p.xact = me;
    SELECT min(a.item) INTO conflict
    FROM eventgate.append_items('sql ' || session_user, all_.units, all_.channels, all_.types, all_.datas, all_.keys,
        all_.traces) AS a
    WHERE a.outcome = 'conflict';
    IF conflict IS NOT NULL THEN
        RAISE 'The key % was used before on channel % with another body.', quote_literal(all_.keys[conflict]),
            quote_literal(all_.channels[conflict])
            USING ERRCODE = 'EG422', HINT = 'A key names one event: use a new key for a new event.';
    END IF;
END
$$;

DO $do$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT * FROM (VALUES ('publishing', 'before_constraints'), ('committing', 'behind_constraints')) AS t("table", stage)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger
                WHERE tgrelid = to_regclass('eventgate.' || one."table") AND tgname = one.stage) THEN
            EXECUTE format('CREATE CONSTRAINT TRIGGER %I AFTER INSERT ON eventgate.%I DEFERRABLE INITIALLY DEFERRED '
                'FOR EACH ROW EXECUTE FUNCTION eventgate.%I()', one.stage, one."table", one.stage);
        END IF;
        -- session_replication_role = replica must not lose events.
        EXECUTE format('ALTER TABLE eventgate.%I ENABLE ALWAYS TRIGGER %I', one."table", one.stage);
    END LOOP;
END
$do$;
