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
-- may have gone on in the same segment.
CREATE OR REPLACE FUNCTION eventgate.begin_incarnation(seen bigint) RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    next_number integer := coalesce((SELECT max(number) FROM eventgate.incarnation), 0) + 1;
    exists_to bigint := eventgate.position();
    given_to bigint := greatest(exists_to, (SELECT last_value FROM eventgate.position_seq), seen);
    jump_to bigint := 0;
BEGIN
    IF next_number > 1 OR given_to > 0 THEN
        IF given_to >> 33 >= (1 << 20) - 2 THEN
            RAISE 'Position % is too high: there is no segment left beyond it.', given_to
                USING ERRCODE = 'program_limit_exceeded';
        END IF;
        jump_to := (((given_to >> 33) + 1) << 33) + 1 + floor(random() * 4294967294)::bigint;
    END IF;
    BEGIN
        INSERT INTO eventgate.incarnation (number, jump_from, jump_to) VALUES (next_number, exists_to, jump_to);
        INSERT INTO eventgate.state (tag, started, log, place, row_xmin)
            VALUES (eventgate.random_tag(), pg_postmaster_start_time(), 'eventgate.log'::regclass,
                pg_relation_filepath('eventgate.turn'), '0')
            ON CONFLICT (one) DO UPDATE SET started = excluded.started, log = excluded.log, place = excluded.place;
        UPDATE eventgate.state AS s SET row_xmin = s.xmin; -- that of the new version, too, in the same subtransaction
    EXCEPTION
        -- Somebody noticed after the snapshot of this REPEATABLE READ transaction, and has moved the sequence. Unless
        -- the snapshot has no incarnation at all: the schema was reloaded after it, and nobody may have noticed.
        WHEN serialization_failure OR unique_violation THEN
            IF current_setting('transaction_isolation') = 'read committed' THEN
                RAISE;
            ELSIF next_number = 1 THEN
                RAISE 'The log was installed or reloaded after this transaction''s snapshot.'
                    USING ERRCODE = 'serialization_failure', HINT = 'Run the transaction again.';
            END IF;
            RETURN;
    END;
    INSERT INTO eventgate.setting DEFAULT VALUES ON CONFLICT DO NOTHING;
    PERFORM eventgate.make_partition(jump_to >> 33);
    PERFORM setval('eventgate.position_seq', jump_to);
END
$$;

CREATE OR REPLACE FUNCTION eventgate.random_tag() RETURNS text
    LANGUAGE sql
    RETURN (SELECT string_agg(substr('abcdefghijklmnopqrstuvwxyz0123456789',
            1 + (get_byte(b, i) * 256 + get_byte(b, i + 1)) % 36, 1), '')
        FROM uuid_send(gen_random_uuid()) AS b, unnest('{0,2,4,9,11,13}'::integer[]) AS i);

-- Takes the turn, and notices whether the log runs in another place than before: another start of the server, database
-- (whose oid is in the path), table, or state that was loaded from a dump.
CREATE OR REPLACE FUNCTION eventgate.take_turn() RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    LOCK TABLE eventgate.turn IN EXCLUSIVE MODE;
    PERFORM FROM eventgate.state AS s
    WHERE s.started = pg_postmaster_start_time() AND s.log = 'eventgate.log'::regclass
        AND s.place = pg_relation_filepath('eventgate.turn') AND s.row_xmin = s.xmin;
    IF NOT FOUND THEN
        PERFORM eventgate.begin_incarnation(0);
    END IF;
    -- What clients have seen, no crash may take back.
    IF current_setting('synchronous_commit') = 'off' THEN
        SET LOCAL synchronous_commit = on;
    END IF;
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

-- In a database without an encoding (SQL_ASCII) texts may be anything; events are UTF-8.
CREATE OR REPLACE FUNCTION eventgate.check_encoding(VARIADIC texts text[]) RETURNS void
    LANGUAGE plpgsql STABLE
AS $$
BEGIN
    PERFORM convert_to(array_to_string(texts, ''), 'UTF8');
END
$$;

-- Raises where an array has not `count` elements, or one of them is not allowed.
CREATE OR REPLACE FUNCTION eventgate.check_items(count integer, types text[], datas text[], keys text[], traces text[])
    RETURNS void
    LANGUAGE plpgsql STABLE
AS $$
BEGIN
    IF cardinality(datas) <> count OR cardinality(types) <> count OR cardinality(keys) <> count
        OR cardinality(traces) <> count THEN
        RAISE 'The arrays have different lengths.' USING ERRCODE = 'array_subscript_error';
    ELSIF datas IS NULL OR array_position(datas, NULL) IS NOT NULL THEN
        RAISE 'An item has no data.' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    IF getdatabaseencoding() = 'SQL_ASCII' THEN
        PERFORM eventgate.check_encoding(VARIADIC datas || types || traces);
    END IF;
    IF pg_column_size(datas) > 8192 THEN
        PERFORM eventgate.check_size((SELECT max(octet_length(d)) FROM unnest(datas) AS d));
    END IF;
    IF array_remove(types, NULL) <> '{}' THEN
        PERFORM eventgate.check_texts('type', types, 200);
    END IF;
    IF array_remove(keys, NULL) <> '{}' THEN
        PERFORM eventgate.check_texts('key', keys, 255);
    END IF;
    IF array_remove(traces, NULL) <> '{}' THEN
        PERFORM eventgate.check_texts('trace', traces, 255);
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION eventgate.digest(VARIADIC parts text[]) RETURNS uuid
    LANGUAGE sql STABLE
    RETURN encode(substr(sha256(convert_to(array_to_string(parts, E'\n', ''), getdatabaseencoding())), 1, 16),
        'hex')::uuid;

-- What is to become of items some of which have keys: the outcome of each, and the position of appended and replayed
-- ones, that of the former counted from `first`. `repeated`: one key in several units, which this can't judge.
CREATE OR REPLACE FUNCTION eventgate.judge(first bigint, units integer[], ids uuid[], bodies uuid[],
    OUT outcomes text[], OUT positions bigint[], OUT repeated boolean)
    LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    valid_from timestamptz := clock_timestamp() - (SELECT s.key_age FROM eventgate.setting AS s);
BEGIN
    WITH item AS (
        SELECT u.item, coalesce(u.unit, -u.item) AS unit, u.id, u.body, k.pos AS known, k.body AS known_body
        FROM unnest(units, ids, bodies) WITH ORDINALITY AS u(unit, id, body, item)
            LEFT JOIN LATERAL (
                SELECT k.pos, k.body FROM eventgate.key AS k WHERE k.id = u.id AND k."time" > valid_from OFFSET 0
            ) AS k ON true
    ), met AS ( -- with the first item of the call that has the same key
        SELECT item.*,
            CASE WHEN id IS NULL THEN item ELSE first_value(item) OVER same_key END AS first_item,
            CASE WHEN id IS NULL THEN unit ELSE first_value(unit) OVER same_key END AS first_unit,
            first_value(body) OVER same_key AS first_body
        FROM item WINDOW same_key AS (PARTITION BY id ORDER BY item)
    ), verdict AS (
        SELECT met.*,
            CASE
                WHEN known_body <> body THEN 'conflict'
                WHEN known IS NOT NULL THEN 'replayed'
                WHEN first_item = item THEN 'appended'
                WHEN first_body <> body THEN 'conflict'
                ELSE 'repeated'
            END AS verdict
        FROM met
    ), outcome AS (
        SELECT verdict.*,
            CASE
                WHEN verdict IN ('appended', 'repeated') AND bool_or(verdict = 'conflict') OVER (PARTITION BY unit)
                THEN 'withheld'
                ELSE verdict
            END AS outcome
        FROM verdict
    ), placed AS (
        SELECT outcome.*, first - 1 + count(*) FILTER (WHERE outcome = 'appended') OVER (ORDER BY item) AS pos
        FROM outcome
    ), result AS (
        SELECT item, first_unit <> unit AS repeated,
            CASE outcome WHEN 'repeated' THEN 'replayed' ELSE outcome END AS outcome,
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

-- Appends items some of which have keys; the turn is taken, and their channels are known.
CREATE OR REPLACE FUNCTION eventgate.append_keyed(publisher text, units integer[], channels text[], types text[],
    datas text[], keys text[], traces text[])
    RETURNS TABLE (item integer, pos bigint, outcome text)
    LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    first bigint := nextval('eventgate.position_seq');
    now_ timestamptz := clock_timestamp();
    ids uuid[];
    bodies uuid[];
    all_new boolean;
    verdict record;
BEGIN
    SELECT array_agg(u.id ORDER BY u.i), array_agg(u.body ORDER BY u.i),
        count(u.id) = count(DISTINCT u.id) AND bool_and((SELECT true FROM eventgate.key AS k WHERE k.id = u.id) IS NULL)
    INTO ids, bodies, all_new
    FROM (
        SELECT i, CASE WHEN key IS NOT NULL THEN eventgate.digest(channel, key, publisher) END AS id,
            CASE WHEN key IS NOT NULL THEN eventgate.digest(type, data) END AS body
        FROM unnest(channels, types, datas, keys) WITH ORDINALITY AS u(channel, type, data, key, i)
        OFFSET 0 -- so that each digest is made once
    ) AS u;
    IF all_new THEN
        SELECT array_agg('appended'::text ORDER BY i) AS outcomes, array_agg(first - 1 + i ORDER BY i) AS positions,
            false AS repeated
        INTO verdict FROM generate_series(1, cardinality(channels)) AS i;
    ELSE
        verdict := eventgate.judge(first, units, ids, bodies);
    END IF;
    IF verdict.repeated THEN
        RETURN QUERY SELECT * FROM eventgate.append_units(publisher, units, channels, types, datas, keys, traces);
        RETURN;
    END IF;
    INSERT INTO eventgate.log (pos, channel, type, "time", trace, bytes, data)
        SELECT pos, channel, type, now_, trace, octet_length(data), data::json
        FROM unnest(verdict.positions, verdict.outcomes, channels, types, traces, datas)
            AS u(pos, outcome, channel, type, trace, data)
        WHERE outcome = 'appended';
    PERFORM setval('eventgate.position_seq', greatest(first, (SELECT max(p) FROM unnest(verdict.positions) AS p)));
    -- Where there is a row already, it has expired; or it was made after the snapshot of this REPEATABLE READ
    -- transaction, and then this raises serialization_failure.
    INSERT INTO eventgate.key (id, body, pos, "time")
        SELECT id, body, pos, now_
        FROM unnest(verdict.positions, verdict.outcomes, ids, bodies) AS u(pos, outcome, id, body)
        WHERE outcome = 'appended' AND id IS NOT NULL
        ON CONFLICT (id) DO UPDATE SET body = excluded.body, pos = excluded.pos, "time" = excluded."time";
    RETURN QUERY SELECT i::integer, pos, outcome
        FROM unnest(verdict.positions, verdict.outcomes) WITH ORDINALITY AS u(pos, outcome, i);
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
        SELECT array_agg(i::integer ORDER BY i) AS items, array_agg(coalesce(unit, -i::integer) ORDER BY i) AS units,
            array_agg(channel ORDER BY i) AS channels, array_agg(type ORDER BY i) AS types,
            array_agg(data ORDER BY i) AS datas, array_agg(key ORDER BY i) AS keys,
            array_agg(trace ORDER BY i) AS traces
        FROM unnest(units, channels, types, datas, keys, traces)
            WITH ORDINALITY AS u(unit, channel, type, data, key, trace, i)
        GROUP BY coalesce(unit, -i) ORDER BY min(i)
    LOOP
        RETURN QUERY SELECT part.items[a.item], a.pos, a.outcome
            FROM eventgate.append_keyed(publisher, part.units, part.channels, part.types, part.datas, part.keys,
                part.traces) AS a;
    END LOOP;
END
$$;

-- Appends items for a gateway, those of one unit all or none. outcome: 'appended'; 'replayed': the publisher's key is
-- known for this channel with the same body, and pos is the first answer's; 'conflict': known with another body, and
-- nothing of its unit is appended; 'withheld': another item of its unit is in conflict.
CREATE OR REPLACE FUNCTION eventgate.append(publisher text, units integer[], channels text[], types text[],
    datas text[], keys text[], traces text[])
    RETURNS TABLE (item integer, pos bigint, outcome text, "time" timestamptz)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off
    SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    count integer := cardinality(channels);
    first bigint;
    last bigint;
    now_ timestamptz;
    unknown text[];
BEGIN
    IF count = 0 THEN
        RETURN;
    END IF;
    -- In one statement, since each has its cost. The wake-up goes out with the commit.
    PERFORM eventgate.check_items(count, types, datas, keys, traces), eventgate.take_turn(), pg_notify('eventgate', '');
    SELECT array_agg(u.name) INTO unknown FROM (SELECT DISTINCT u.name FROM unnest(channels) AS u(name)) AS u
    WHERE (SELECT true FROM eventgate.channel AS c WHERE c.name = u.name) IS NULL; -- an index probe, never a hash join
    IF unknown IS NOT NULL THEN
        PERFORM eventgate.know_channels(unknown);
    END IF;
    IF array_remove(keys, NULL) <> '{}' THEN
        RETURN QUERY SELECT a.item, a.pos, a.outcome, NULL::timestamptz
        FROM eventgate.append_keyed('gateway ' || coalesce(publisher, ''),
            units, channels, types, datas, keys, traces) AS a ORDER BY a.item;
    ELSE
        first := nextval('eventgate.position_seq');
        now_ := clock_timestamp();
        IF count > 1 THEN
            last := setval('eventgate.position_seq', first + count - 1); -- cheaper than PERFORM
        END IF;
        RETURN QUERY INSERT INTO eventgate.log AS l (pos, channel, type, "time", trace, bytes, data)
            SELECT first - 1 + i, channel, type, now_, trace, octet_length(data), data::json
            FROM unnest(channels, types, traces, datas) WITH ORDINALITY AS u(channel, type, trace, data, i)
            RETURNING (l.pos - first)::integer + 1, l.pos, 'appended', l."time";
    END IF;
END
$$;

-- The highest position there is, or was until retention dropped it, in the caller's snapshot.
CREATE OR REPLACE FUNCTION eventgate.position() RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN greatest((SELECT max(l.pos) FROM eventgate.log AS l), (SELECT max(c.pruned) FROM eventgate.channel AS c),
        (SELECT max(i.jump_to) FROM eventgate.incarnation AS i), 0);
END
$$;

-- The same as a cursor of the gateways, where one subscribes who has just read his tables. Before the very first event, that
-- is whatever will be there.
CREATE OR REPLACE FUNCTION eventgate.cursor() RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN coalesce((SELECT s.tag || '.' || eventgate.position() FROM eventgate.state AS s), 'earliest');
END
$$;

-- Changes with every incarnation, and when its row was reloaded.
CREATE OR REPLACE FUNCTION eventgate.mark() RETURNS text
    LANGUAGE sql STABLE
    RETURN coalesce(
        (SELECT i.number || '.' || i.xmin::text FROM eventgate.incarnation AS i ORDER BY i.number DESC LIMIT 1), '0');

-- For a gateway that begins to read: sees to it that the log runs beyond `seen`, the highest position that it has seen.
-- `version`: a gateway that doesn't know it refuses to work.
CREATE OR REPLACE FUNCTION eventgate.attach(seen bigint)
    RETURNS TABLE (version integer, tag text, mark text, head bigint, jump_froms bigint[], jump_tos bigint[])
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM eventgate.take_turn();
    IF seen > eventgate.position() THEN
        PERFORM eventgate.begin_incarnation(seen);
    END IF;
    RETURN QUERY SELECT eventgate.gateway_version(), s.tag, eventgate.mark(), eventgate.position(), i.jump_froms,
        i.jump_tos
    FROM eventgate.state AS s, (
        SELECT array_agg(i.jump_from ORDER BY i.number) AS jump_froms,
            array_agg(i.jump_to ORDER BY i.number) AS jump_tos
        FROM eventgate.incarnation AS i
    ) AS i;
END
$$;
