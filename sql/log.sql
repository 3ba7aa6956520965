-- The log: its incarnations, its partitions, and appending to it.
--
-- Positions are given out under the lock of eventgate.turn, which is held to the end of the transaction: so they become
-- visible in their order, and a reader at position N has missed nothing below N. All here is done under that lock.

CREATE OR REPLACE FUNCTION eventgate.make_partition(segment bigint) RETURNS boolean
    LANGUAGE plpgsql
    SET default_tablespace = ''
    SET default_table_access_method = heap
    SET client_min_messages = warning
AS $$
DECLARE
    partition text := 'log_' || segment;
BEGIN
    IF to_regclass('eventgate.' || partition) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- ATTACH takes this lock anyway; it lets readers and publishers through, but nobody else who makes a partition.
    LOCK TABLE ONLY eventgate.log IN SHARE UPDATE EXCLUSIVE MODE;
    IF to_regclass('eventgate.' || partition) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE eventgate.%I (LIKE eventgate.log INCLUDING DEFAULTS INCLUDING STORAGE)', partition);
    EXECUTE format('CREATE UNIQUE INDEX ON eventgate.%I (pos)', partition);
    EXECUTE format('CREATE INDEX ON eventgate.%I (channel, pos)', partition);
    EXECUTE format('ALTER TABLE eventgate.log ATTACH PARTITION eventgate.%I FOR VALUES FROM (%s) TO (%s)',
        partition, segment << 33, (segment + 1) << 33);
    RETURN true;
END
$$;

-- Begins a new incarnation, beyond all that was or may have been given out: the sequence, the log, what retention has
-- dropped, and `seen`, the highest position that a gateway has seen. Its first position is random, since a lost tail
-- may have jumped to the same segment.
CREATE OR REPLACE FUNCTION eventgate.begin_incarnation(seen bigint) RETURNS bigint
    LANGUAGE plpgsql
AS $$
DECLARE
    last bigint := (SELECT last_value FROM eventgate.position_seq);
    exists_to bigint := eventgate.position_now();
    next_number integer := coalesce((SELECT max(number) FROM eventgate.incarnation), 0) + 1;
    jump_to bigint := 0;
    xmin_made text;
BEGIN
    exists_to := greatest(exists_to, (SELECT max(pruned) FROM eventgate.channel), 0);
    last := greatest(last, exists_to, seen);
    IF next_number > 1 OR last > 0 THEN
        IF (last >> 33) + 2 >= 1 << 20 THEN
            RAISE 'Position % is too high: there is no segment left behind it.', last
                USING ERRCODE = 'program_limit_exceeded';
        END IF;
        jump_to := (((last >> 33) + 1) << 33) + 1 + floor(random() * 4294967294)::bigint;
    END IF;
    BEGIN
        INSERT INTO eventgate.incarnation AS i (number, jump_from, jump_to) VALUES (next_number, exists_to, jump_to)
            RETURNING i.xmin::text INTO xmin_made;
        INSERT INTO eventgate.state AS s (tag, number, row_xmin, started, database, log)
            SELECT eventgate.random_tag(), next_number, xmin_made, pg_postmaster_start_time(), d.oid,
                'eventgate.log'::regclass
            FROM pg_database AS d WHERE d.datname = current_database()
            ON CONFLICT (one) DO UPDATE SET number = excluded.number, row_xmin = excluded.row_xmin,
                started = excluded.started, database = excluded.database, log = excluded.log;
    EXCEPTION
        -- Somebody noticed after the snapshot of this REPEATABLE READ transaction, and has moved the sequence.
        WHEN serialization_failure OR unique_violation THEN
            IF current_setting('transaction_isolation') = 'read committed' THEN
                RAISE;
            END IF;
            RETURN (SELECT last_value FROM eventgate.position_seq);
    END;
    INSERT INTO eventgate.setting DEFAULT VALUES ON CONFLICT DO NOTHING;
    PERFORM eventgate.make_partition(jump_to >> 33);
    PERFORM setval('eventgate.position_seq', jump_to);
    RETURN jump_to;
END
$$;

CREATE OR REPLACE FUNCTION eventgate.random_tag() RETURNS text
    LANGUAGE sql
    RETURN (SELECT string_agg(substr('abcdefghijklmnopqrstuvwxyz0123456789', 1 + (get_byte(b, i) * 256 + get_byte(b, i + 1)) % 36, 1), '')
        FROM uuid_send(gen_random_uuid()) AS b, unnest('{0,2,4,9,11,13}'::integer[]) AS i);

-- Takes the turn, and notices whether the log runs in another place than before; returns the last position given out.
CREATE OR REPLACE FUNCTION eventgate.take_turn(seen bigint DEFAULT 0) RETURNS bigint
    LANGUAGE plpgsql
AS $$
DECLARE
    last bigint;
BEGIN
    LOCK TABLE eventgate.turn IN EXCLUSIVE MODE;
    SELECT q.last_value INTO last
    FROM eventgate.position_seq AS q, eventgate.state AS s, eventgate.incarnation AS i
    WHERE i.number = s.number AND i.xmin::text = s.row_xmin AND s.started = pg_postmaster_start_time()
        AND s.log = 'eventgate.log'::regclass
        AND s.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database());
    IF NOT FOUND OR seen > last THEN
        last := eventgate.begin_incarnation(seen);
    END IF;
    -- What clients have seen, no crash may take back.
    IF current_setting('synchronous_commit') = 'off' THEN
        SET LOCAL synchronous_commit = on;
    END IF;
    RETURN last;
END
$$;

CREATE OR REPLACE FUNCTION eventgate.name_problem(channel text) RETURNS text
    LANGUAGE sql STABLE
    RETURN CASE
        WHEN channel IS NULL THEN 'is NULL'
        WHEN channel = '' THEN 'is empty'
        WHEN octet_length(convert_to(channel, 'UTF8')) > 200 THEN 'is longer than 200 bytes'
        WHEN channel COLLATE "C" ~ '[\x01-\x1f\x7f]' THEN 'has a control character'
        WHEN channel COLLATE "C" ~ '[*,]' THEN 'has a "*" or a comma'
        WHEN '/' || channel || '/' LIKE '%//%' THEN 'has an empty level'
        WHEN channel COLLATE "C" ~ '(^|/)[.]{1,2}(/|$)' THEN 'has a level "." or ".."'
    END;

-- Sees to it that the channels are known. Raises where a name is none.
CREATE OR REPLACE FUNCTION eventgate.know_channels(names text[]) RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    name_ text;
    problem text;
BEGIN
    FOREACH name_ IN ARRAY names LOOP
        problem := eventgate.name_problem(name_);
        IF problem IS NOT NULL THEN
            RAISE 'The channel''s name % %.', coalesce(quote_literal(left(name_, 200)), ''), problem
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF current_setting('transaction_isolation') = 'read committed' THEN
            INSERT INTO eventgate.channel (name) VALUES (name_) ON CONFLICT DO NOTHING;
        ELSE
            BEGIN
                INSERT INTO eventgate.channel (name) VALUES (name_) ON CONFLICT DO NOTHING;
            EXCEPTION
                WHEN serialization_failure THEN NULL; -- made after this transaction's snapshot
            END;
        END IF;
    END LOOP;
END
$$;

-- Raises where one of the texts has a control character, is empty, or is longer than `most` bytes.
CREATE OR REPLACE FUNCTION eventgate.check_texts(what text, texts text[], most integer) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    joined text COLLATE "C" := array_to_string(texts, '');
    one text;
BEGIN
    IF texts IS NULL THEN
        RETURN;
    ELSIF joined ~ '[\x01-\x1f\x7f]' THEN
        RAISE 'The % has a control character.', what USING ERRCODE = 'invalid_parameter_value';
    ELSIF octet_length(joined) <= most AND array_position(texts, '') IS NULL THEN
        RETURN;
    END IF;
    FOREACH one IN ARRAY texts LOOP
        IF octet_length(one) > most THEN
            RAISE 'The % is longer than % bytes.', what, most USING ERRCODE = 'invalid_parameter_value';
        ELSIF one = '' THEN
            RAISE 'The % is empty.', what
                USING ERRCODE = 'invalid_parameter_value', HINT = 'NULL stands for none.';
        END IF;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION eventgate.check_size(bytes integer) RETURNS void
    LANGUAGE plpgsql STABLE
AS $$
DECLARE
    most integer := coalesce((SELECT max_bytes FROM eventgate.setting), 1048576);
BEGIN
    IF bytes > most THEN
        RAISE 'The data has % bytes; at most % are allowed.', bytes, most
            USING ERRCODE = 'program_limit_exceeded',
                HINT = 'Publish a reference to it; or SELECT eventgate.configure(''max_bytes'', ...).';
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION eventgate.body_hash(type text, data text) RETURNS bytea
    LANGUAGE sql STABLE
    RETURN sha256(convert_to(coalesce(type, '') || E'\n' || data, getdatabaseencoding()));

-- What is to become of items some of which have keys: the outcome of each, and for appended and replayed ones the
-- position; that of an appended one counts from `last`. `repeated`: one key in several units, which this can't judge.
CREATE OR REPLACE FUNCTION eventgate.judge(last bigint, publisher text, units integer[], channels text[], types text[],
    datas text[], keys text[], OUT outcomes text[], OUT positions bigint[], OUT repeated boolean)
    LANGUAGE plpgsql
AS $$
#variable_conflict use_column
BEGIN
    WITH item AS (
        SELECT u.item, coalesce(u.unit, -u.item) AS unit, u.channel, u.key, k.pos AS known,
            CASE WHEN u.key IS NOT NULL THEN eventgate.body_hash(u.type, u.data) END AS hash, k.hash AS known_hash
        FROM unnest(units, channels, types, datas, keys) WITH ORDINALITY AS u(unit, channel, type, data, key, item)
            LEFT JOIN eventgate.key AS k ON k.publisher = judge.publisher AND k.channel = u.channel AND k.key = u.key
                AND k."time" > clock_timestamp() - (SELECT s.key_age FROM eventgate.setting AS s)
    ), first AS (
        SELECT item.*,
            CASE WHEN key IS NULL THEN item ELSE first_value(item) OVER same_key END AS first_item,
            CASE WHEN key IS NULL THEN unit ELSE first_value(unit) OVER same_key END AS first_unit,
            first_value(hash) OVER same_key AS first_hash
        FROM item WINDOW same_key AS (PARTITION BY channel, key ORDER BY item)
    ), verdict AS (
        SELECT first.*,
            CASE
                WHEN known_hash <> hash THEN 'conflict'
                WHEN known IS NOT NULL THEN 'replayed'
                WHEN first_item = item THEN 'appended'
                WHEN first_hash <> hash THEN 'conflict'
                ELSE 'repeated'
            END AS verdict
        FROM first
    ), outcome AS (
        SELECT verdict.*, CASE
            WHEN verdict IN ('appended', 'repeated') AND bool_or(verdict = 'conflict') OVER (PARTITION BY unit) THEN 'withheld'
            ELSE verdict
        END AS outcome
        FROM verdict
    ), placed AS (
        SELECT outcome.*, last + count(*) FILTER (WHERE outcome = 'appended') OVER (ORDER BY item) AS pos FROM outcome
    ), result AS (
        SELECT item, first_unit <> unit AS repeated, CASE outcome WHEN 'repeated' THEN 'replayed' ELSE outcome END AS outcome,
            CASE outcome
                WHEN 'appended' THEN pos
                WHEN 'replayed' THEN known
                WHEN 'repeated' THEN min(pos) OVER (PARTITION BY first_item)
            END AS pos
        FROM placed
    )
    SELECT array_agg(r.outcome ORDER BY r.item), array_agg(r.pos ORDER BY r.item), bool_or(r.repeated)
    INTO outcomes, positions, repeated FROM result AS r;
END
$$;

-- Appends items as append() does, for callers that have taken care of the rights. Takes the turn.
CREATE OR REPLACE FUNCTION eventgate.append_items(publisher text, units integer[], channels text[], types text[],
    datas text[], keys text[], traces text[])
    RETURNS TABLE (item integer, pos bigint, outcome text)
    LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    count integer := cardinality(channels);
    last bigint := eventgate.take_turn();
    now_ timestamptz := clock_timestamp();
    unknown text[];
    verdict record;
BEGIN
    IF count = 0 THEN
        RETURN;
    END IF;
    SELECT array_agg(DISTINCT c) INTO unknown FROM unnest(channels) AS c
        WHERE NOT EXISTS (SELECT FROM eventgate.channel AS k WHERE k.name = c);
    IF unknown IS NOT NULL THEN
        PERFORM eventgate.know_channels(unknown);
    END IF;
    IF keys IS NULL OR array_remove(keys, NULL) = '{}' THEN
        PERFORM setval('eventgate.position_seq', last + count);
        INSERT INTO eventgate.log (pos, channel, type, "time", trace, bytes, data)
            SELECT last + i, channel, type, now_, trace, octet_length(data), data::json
            FROM unnest(channels, types, traces, datas) WITH ORDINALITY AS u(channel, type, trace, data, i);
        RETURN QUERY SELECT i, last + i, 'appended' FROM generate_series(1, count) AS i;
    ELSE
        verdict := eventgate.judge(last, publisher, units, channels, types, datas, keys);
        IF verdict.repeated THEN
            RETURN QUERY SELECT * FROM eventgate.append_units(publisher, units, channels, types, datas, keys, traces);
            RETURN;
        END IF;
        PERFORM setval('eventgate.position_seq',
            greatest(last, (SELECT max(p) FROM unnest(verdict.positions) AS p)));
        INSERT INTO eventgate.log (pos, channel, type, "time", trace, bytes, data)
            SELECT pos, channel, type, now_, trace, octet_length(data), data::json
            FROM unnest(verdict.positions, verdict.outcomes, channels, types, traces, datas)
                AS u(pos, outcome, channel, type, trace, data)
            WHERE outcome = 'appended';
        INSERT INTO eventgate.key AS k (publisher, channel, key, hash, pos, "time")
            SELECT append_items.publisher, channel, key, eventgate.body_hash(type, data), pos, now_
            FROM unnest(verdict.positions, verdict.outcomes, channels, types, datas, keys)
                AS u(pos, outcome, channel, type, data, key)
            WHERE outcome = 'appended' AND key IS NOT NULL
            ON CONFLICT (publisher, channel, key) DO UPDATE
                SET hash = excluded.hash, pos = excluded.pos, "time" = excluded."time"; -- it had expired
        RETURN QUERY SELECT i::integer, pos, outcome
            FROM unnest(verdict.positions, verdict.outcomes) WITH ORDINALITY AS u(pos, outcome, i);
    END IF;
    PERFORM pg_notify('eventgate', '');
END
$$;

-- Appends one unit after the other: what one of them has stored decides what a key means in the next.
CREATE OR REPLACE FUNCTION eventgate.append_units(publisher text, units integer[], channels text[], types text[],
    datas text[], keys text[], traces text[])
    RETURNS TABLE (item integer, pos bigint, outcome text)
    LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    part record;
BEGIN
    FOR part IN
        SELECT array_agg(i::integer ORDER BY i) AS items, array_agg(unit ORDER BY i) AS units,
            array_agg(channel ORDER BY i) AS channels, array_agg(type ORDER BY i) AS types,
            array_agg(data ORDER BY i) AS datas, array_agg(key ORDER BY i) AS keys, array_agg(trace ORDER BY i) AS traces
        FROM unnest(units, channels, types, datas, keys, traces)
            WITH ORDINALITY AS u(unit, channel, type, data, key, trace, i)
        GROUP BY coalesce(unit, -i) ORDER BY min(i)
    LOOP
        RETURN QUERY SELECT part.items[a.item], a.pos, a.outcome
            FROM eventgate.append_items(publisher, part.units, part.channels, part.types, part.datas, part.keys,
                part.traces) AS a;
    END LOOP;
END
$$;

-- Appends items for a gateway, those of one unit all or none. outcome: 'appended'; 'replayed': the publisher's key is
-- known for this channel with the same body, and pos is the first answer's; 'conflict': known with another body, and
-- nothing of its unit is appended; 'withheld': another item of its unit is in conflict.
CREATE OR REPLACE FUNCTION eventgate.append(publisher text, units integer[], channels text[], types text[],
    datas text[], keys text[], traces text[])
    RETURNS TABLE (item integer, pos bigint, outcome text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off
    SET jit = off
AS $$
BEGIN
    IF array_position(datas, NULL) IS NOT NULL OR cardinality(datas) <> cardinality(channels) THEN
        RAISE 'An item without data.' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    IF octet_length(array_to_string(datas, '')) > 8192 THEN
        PERFORM eventgate.check_size((SELECT max(octet_length(d)) FROM unnest(datas) AS d));
    END IF;
    PERFORM eventgate.check_texts('type', types, 200);
    PERFORM eventgate.check_texts('key', keys, 255);
    PERFORM eventgate.check_texts('trace', traces, 255);
    RETURN QUERY SELECT a.item, a.pos, a.outcome FROM eventgate.append_items('gateway ' || coalesce(publisher, ''),
        units, channels, types, datas, keys, traces) AS a ORDER BY a.item;
END
$$;

-- The highest position there is, in the caller's snapshot.
CREATE OR REPLACE FUNCTION eventgate.position_now() RETURNS bigint
    LANGUAGE sql STABLE
    RETURN (SELECT greatest((SELECT max(l.pos) FROM eventgate.log AS l), (SELECT max(i.jump_to) FROM eventgate.incarnation AS i), 0));

CREATE OR REPLACE FUNCTION eventgate.position() RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN eventgate.position_now();
END
$$;

-- Changes with every incarnation, and when its row was reloaded.
CREATE OR REPLACE FUNCTION eventgate.mark() RETURNS text
    LANGUAGE sql STABLE
    RETURN coalesce((SELECT i.number || '.' || i.xmin::text FROM eventgate.incarnation AS i ORDER BY i.number DESC LIMIT 1), '0');

-- For a gateway that begins to read: sees to it that the log runs beyond `seen`, the highest position that it has seen.
CREATE OR REPLACE FUNCTION eventgate.attach(seen bigint)
    RETURNS TABLE (version integer, tag text, mark text, head bigint, jump_froms bigint[], jump_tos bigint[])
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM eventgate.take_turn(coalesce(seen, 0));
    RETURN QUERY SELECT eventgate.version(), s.tag, eventgate.mark(), eventgate.position_now(),
        (SELECT array_agg(i.jump_from ORDER BY i.number) FROM eventgate.incarnation AS i),
        (SELECT array_agg(i.jump_to ORDER BY i.number) FROM eventgate.incarnation AS i)
    FROM eventgate.state AS s;
END
$$;
