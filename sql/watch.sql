-- watch(): triggers that publish what changes in a table's rows.
--
-- Who runs what:
--   * watch() runs as its caller, who makes the triggers, and must own the table (or be of its owner's role).
--   * eventgate_watch.change_N(), the trigger function of watch N, belongs to the table's owner and runs as that role:
--     conditions, casts, operators and output functions get nobody's rights but the owner's, neither the writer's nor
--     ours. It is made here, but its owner may replace it; nothing relies on what it does.
--   * eventgate_watch.record_N() runs as the schema's owner, and only the table's owner may call it. It makes the channels'
--     names itself, from the watch's template; so the most that a table's owner can do is to publish there.
-- Calls only go up, from the table's owner's function to ours, never down: one may change one's own function to run as
-- its caller. eventgate_watch has nothing but these functions. A table's owner may make some there only within watch().

CREATE SCHEMA IF NOT EXISTS eventgate_watch;
REVOKE ALL ON SCHEMA eventgate_watch FROM PUBLIC;

DO $do$
BEGIN
    -- Its owner could put other functions in the place of ours.
    IF (SELECT count(DISTINCT nspowner) FROM pg_catalog.pg_namespace WHERE nspname IN ('eventgate', 'eventgate_watch')) <> 1 THEN
        RAISE 'Somebody else owns a schema "eventgate_watch" here.'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Rename or drop it first.';
    END IF;
END
$do$;

CREATE TABLE IF NOT EXISTS eventgate.watching (
    number integer PRIMARY KEY,
    "table" regclass NOT NULL,
    channel text COLLATE "C" NOT NULL,
    operations text[] NOT NULL,
    columns text[],
    condition text,
    UNIQUE ("table", channel)
);

-- Numbers are not given out twice: a transaction with an old snapshot sees what they stood for then.
CREATE SEQUENCE IF NOT EXISTS eventgate.watching_seq;

-- Splits `orders/{customer}` into {orders/,''} and {customer}. A doubled brace is a brace.
CREATE OR REPLACE FUNCTION eventgate.watch_template(channel text, OUT literals text[], OUT columns text[])
    LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    token text;
    inside text; -- the column's name as far as it is known; NULL: outside of braces
    literal text := '';
BEGIN
    literals := '{}';
    columns := '{}';
    FOR token IN SELECT t[1] FROM regexp_matches(channel, '\{\{|\}\}|\{|\}|[^{}]+', 'g') AS t LOOP
        IF token = '{' AND inside IS NULL THEN
            literals := literals || literal;
            literal := '';
            inside := '';
        ELSIF token = '}' AND inside <> '' THEN
            columns := columns || inside;
            inside := NULL;
        ELSIF token IN ('{', '}') THEN
            RAISE 'The channel % has a brace that does not belong to a column''s name.', quote_literal(channel)
                USING ERRCODE = 'invalid_parameter_value',
                    HINT = 'orders/{customer_id} is a channel for each customer_id; {{ and }} stand for the braces themselves.';
        ELSIF inside IS NULL THEN
            literal := literal || CASE WHEN token IN ('{{', '}}') THEN left(token, 1) ELSE token END;
        ELSE
            inside := inside || CASE WHEN token IN ('{{', '}}') THEN left(token, 1) ELSE token END;
        END IF;
    END LOOP;
    IF inside IS NOT NULL THEN
        RAISE 'The channel % has a brace that is not closed.', quote_literal(channel)
            USING ERRCODE = 'invalid_parameter_value', HINT = '{{ and }} stand for the braces themselves.';
    END IF;
    literals := literals || literal;
END
$$;

-- Can it be told in UTF-8? In most databases every text can.
CREATE OR REPLACE FUNCTION eventgate.watch_is_utf8(value text) RETURNS boolean
    LANGUAGE plpgsql STABLE
AS $$
BEGIN
    PERFORM convert_to(value, 'UTF8');
    RETURN true;
EXCEPTION
    WHEN character_not_in_repertoire OR untranslatable_character THEN RETURN false;
END
$$;

-- A column's value as a part of a channel's name. Real values have a % only before two hexadecimal digits.
CREATE OR REPLACE FUNCTION eventgate.watch_encode(value text) RETURNS text
    LANGUAGE plpgsql STABLE
AS $$
BEGIN
    IF value IS NULL THEN
        RETURN '%null';
    ELSIF value = '' THEN
        RETURN '%empty';
    ELSIF getdatabaseencoding() <> 'UTF8' AND NOT eventgate.watch_is_utf8(value) THEN
        RETURN '%md5' || md5(value);
    ELSIF value COLLATE "C" !~ '[%/*,\x01-\x1f\x7f]' AND value NOT IN ('.', '..') THEN
        RETURN value;
    END IF;
    RETURN (SELECT string_agg(CASE
            WHEN c COLLATE "C" ~ '[%/*,\x01-\x1f\x7f]' OR value IN ('.', '..') THEN '%' || upper(lpad(to_hex(ascii(c)), 2, '0'))
            ELSE c
        END, '' ORDER BY i)
        FROM regexp_split_to_table(value, '') WITH ORDINALITY AS s(c, i));
END
$$;

-- The channel of a place: a JSON array with the values of the template's columns, or NULL for all places together.
-- Where the name would be longer than 200 bytes, values longer than a hash give way to one.
CREATE OR REPLACE FUNCTION eventgate.watch_channel(literals text[], place text) RETURNS text
    LANGUAGE plpgsql STABLE
AS $$
DECLARE
    full_ text := literals[1];
    short text := literals[1];
    value text;
    part text;
    i integer := 1;
BEGIN
    IF place IS NULL THEN
        RETURN array_to_string(literals, '%all');
    END IF;
    FOR value IN SELECT json_array_elements_text(place::json) LOOP
        i := i + 1;
        part := eventgate.watch_encode(value);
        full_ := full_ || part || literals[i];
        short := short || CASE WHEN octet_length(convert_to(part, 'UTF8')) > 36 THEN '%md5' || md5(value) ELSE part END
            || literals[i];
    END LOOP;
    IF i <> cardinality(literals) THEN
        RAISE 'A place with % columns instead of %.', i - 1, cardinality(literals) - 1
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN CASE WHEN octet_length(convert_to(full_, 'UTF8')) > 200 THEN short ELSE full_ END;
END
$$;

CREATE OR REPLACE FUNCTION eventgate.watch_is_part(part oid, whole oid) RETURNS boolean
    LANGUAGE sql STABLE
BEGIN ATOMIC
    WITH RECURSIVE up AS (
        SELECT part AS oid
        UNION
        SELECT i.inhparent FROM pg_inherits AS i JOIN up ON i.inhrelid = up.oid
    )
    SELECT whole IN (SELECT up.oid FROM up);
END;

-- What change_N() needs to know of the watched table, as it is now: its name and its key's columns, as JSON strings, and
-- the limit. No name: `relation` isn't the table or a part of it any more. `part`: the name of a part of it.
CREATE OR REPLACE FUNCTION eventgate.watch_context(watch integer, relation oid, OUT name text, OUT part text, OUT key text[],
    OUT labels text[], OUT bulk_limit integer)
    LANGUAGE plpgsql STABLE
AS $$
DECLARE
    table_ regclass := (SELECT w."table" FROM eventgate.watching AS w WHERE w.number = watch);
    about record;
BEGIN
    -- A transaction whose snapshot is older than the watch doesn't see its row.
    table_ := coalesce(table_, pg_partition_root(relation), relation);
    -- A regclass is told with its schema's name, as search_path has none.
    name := to_json(table_::text)::text;
    IF table_ <> relation THEN
        part := to_json(relation::regclass::text)::text;
        name := CASE WHEN eventgate.watch_is_part(relation, table_) THEN name END;
    END IF;
    bulk_limit := coalesce((SELECT s.bulk_limit FROM eventgate.setting AS s), 1000);
    -- The primary key, or else the index that REPLICA IDENTITY names.
    SELECT i.indexrelid, i.indnkeyatts INTO about FROM pg_index AS i
    WHERE i.indrelid = table_ AND i.indisvalid AND (i.indisprimary OR i.indisreplident)
    ORDER BY i.indisprimary DESC LIMIT 1;
    FOR i IN 1 .. coalesce(about.indnkeyatts, 0) LOOP
        key := key || (parse_ident(pg_get_indexdef(about.indexrelid, i, false)))[1];
        labels := labels || to_json(key[i])::text;
    END LOOP;
END
$$;

-- Queues the events of a watch, for record_N().
CREATE OR REPLACE FUNCTION eventgate.watch_record(literals text[], types text[], places text[], datas text[])
    RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    most integer := coalesce((SELECT max_bytes FROM eventgate.setting), 1048576);
    channels text[];
BEGIN
    IF types IS NULL OR cardinality(types) IS DISTINCT FROM cardinality(datas) OR cardinality(types) IS DISTINCT FROM cardinality(places)
        OR NOT types <@ '{insert,update,delete,truncate,bulk}' OR array_position(datas, NULL) IS NOT NULL THEN
        RAISE 'These are not the events of a watched table.' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF cardinality(literals) = 1 THEN
        channels := array_fill(literals[1], ARRAY[cardinality(types)]);
    ELSE
        SELECT array_agg(c.channel ORDER BY p.i) INTO channels
        FROM unnest(places) WITH ORDINALITY AS p(place, i)
            JOIN (SELECT d.place, eventgate.watch_channel(literals, nullif(d.place, '')) AS channel
                FROM (SELECT DISTINCT coalesce(u.place, '') AS place FROM unnest(places) AS u(place)) AS d) AS c
            ON c.place = coalesce(p.place, '');
    END IF;
    IF (SELECT max(octet_length(d)) FROM unnest(datas) AS d) > most THEN
        datas := ARRAY(SELECT CASE WHEN octet_length(d) > most THEN eventgate.watch_truncate(d::json, most) ELSE d END
            FROM unnest(datas) WITH ORDINALITY AS u(d, i) ORDER BY i);
    END IF;
    IF getdatabaseencoding() <> 'UTF8' THEN
        datas := ARRAY(SELECT CASE WHEN eventgate.watch_is_utf8(d) THEN d ELSE eventgate.watch_truncate(d::json, 0) END
            FROM unnest(datas) WITH ORDINALITY AS u(d, i) ORDER BY i);
    END IF;
    PERFORM eventgate.queue(channels, datas::json[], types, NULL, NULL);
END
$$;

-- The event of a row that is too large: which row it is, as far as that has room.
CREATE OR REPLACE FUNCTION eventgate.watch_truncate(data json, most integer) RETURNS text
    LANGUAGE sql STABLE
    RETURN (SELECT v.text FROM (
            SELECT n, '{' || (SELECT string_agg(to_json(e.key)::text || ':' || e.value::text, ',' ORDER BY e.i)
                FROM json_each(data) WITH ORDINALITY AS e(key, value, i)
                WHERE e.key IN ('op', 'table', 'moved') OR e.key = 'key' AND n = 1) || ',"truncated":true}' AS text
            FROM generate_series(1, 2) AS n
        ) AS v
        WHERE v.n = 2 OR octet_length(v.text) <= most ORDER BY v.n LIMIT 1);

-- One side of a change: its rows with a number, the place that they belong to, whether they fulfil the condition, and
-- what matters in an update. `row_`: what the row is called; no column may be called so.
CREATE OR REPLACE FUNCTION eventgate.watch_side(rows_ text, row_ text, places text[], condition text, looked text) RETURNS text
    LANGUAGE sql STABLE
    RETURN format('SELECT row_number() OVER () AS i, %1$I AS whole, %2$s AS place, %3$s AS passes, %4$s AS looked FROM %5$I AS %1$I',
        row_,
        coalesce('json_build_array(' || (SELECT string_agg(format('%I.%I::text', row_, p), ', ' ORDER BY i)
            FROM unnest(places) WITH ORDINALITY AS u(p, i)) || ')::text', 'NULL::text'),
        coalesce('((' || condition || ') IS TRUE)', 'true'), looked, rows_);

-- SQL text: the key of the row whose JSON the expression `row_` is, with its name before it, or nothing.
CREATE OR REPLACE FUNCTION eventgate.watch_key_text(row_ text) RETURNS text
    LANGUAGE sql IMMUTABLE
    RETURN format($$coalesce(',"key":{' || (SELECT string_agg(eventgate_about.labels[k.i] || ':' || (%s -> k.name)::text, ',' ORDER BY k.i) FROM unnest(eventgate_about.key) WITH ORDINALITY AS k(name, i)) || '}', '')$$, row_);

-- The body of change_N(). Its variables are called eventgate_something, so that no column of a condition is taken for one.
--
-- The n-th row of an UPDATE's old rows and the n-th of its new ones are the same row: the executor stores both at once.
-- Where a trigger has suppressed one half, the counts differ, and nothing is paired (the sign keeps them apart). A FULL
-- JOIN is never a nested loop, so that plans made for one row serve a million.
CREATE OR REPLACE FUNCTION eventgate.watch_body(watch integer, relation oid, places text[], condition text, columns text[])
    RETURNS text
    LANGUAGE plpgsql STABLE
AS $body$
DECLARE
    row_ text := 'eventgate row' || (SELECT coalesce(string_agg(a.attname, ''), '') FROM pg_attribute AS a
        WHERE a.attrelid = relation AND a.attname LIKE 'eventgate row%');
    looked text := format('ROW(%s)', coalesce((SELECT string_agg(format('%I.%I', row_, c), ', ' ORDER BY i)
        FROM unnest(columns) WITH ORDINALITY AS u(c, i)), format('%I.*', row_)));
    old_side text := eventgate.watch_side('old_rows', row_, places, condition, 'NULL');
    new_side text := eventgate.watch_side('new_rows', row_, places, condition, 'NULL');
    one_sided text := $$
                SELECT array_agg('@op@'::text ORDER BY c.i), array_agg(c.place ORDER BY c.i),
                    array_agg('{"op":"@op@","table":' || eventgate_about.name || @key@ || ',"@side@":' || c.row::text || '}' ORDER BY c.i)
                INTO eventgate_types, eventgate_places, eventgate_datas
                FROM (SELECT s.i, s.place, to_json(s.whole) AS row FROM (@rows@) AS s WHERE s.passes) AS c;$$;
    one_sided_bulk text := $$SELECT s.place, 1 AS first FROM (@rows@) AS s WHERE s.passes$$;
    pairs text := format($$
                        SELECT coalesce(n.i, o.i) AS i, o.whole AS old, n.whole AS new, o.place AS old_place, n.place AS new_place,
                            coalesce(o.passes, false) AS old_in, coalesce(n.passes, false) AS new_in,
                            o.passes AND n.passes AND o.place IS NOT DISTINCT FROM n.place AS stays
                        FROM (%s) AS o FULL JOIN (%s) AS n ON n.i = o.i * eventgate_sign
                        WHERE (o.passes OR n.passes) AND (o.passes IS DISTINCT FROM n.passes
                            OR o.place IS DISTINCT FROM n.place OR o.looked OPERATOR(pg_catalog.*<>) n.looked)$$,
        eventgate.watch_side('old_rows', row_, places, condition, looked), eventgate.watch_side('new_rows', row_, places, condition, looked));
    bulk text := $$
                    SELECT max(g.total), max(g.channels), array_agg(g.place), array_agg(g.count)
                    INTO eventgate_total, eventgate_channels, eventgate_places, eventgate_counts
                    FROM (SELECT c.place, count(*) AS count, sum(sum(c.first)) OVER () AS total, count(*) OVER () AS channels
                        FROM (@changes@) AS c GROUP BY c.place LIMIT eventgate_about.bulk_limit) AS g;$$;
BEGIN
    RETURN format($$
#variable_conflict use_column
-- Made by eventgate.watch(), which makes it anew when it is called again.
DECLARE
    eventgate_about record;
    eventgate_known boolean := false;
    eventgate_rows bigint;
    eventgate_sign integer := 1;
    eventgate_total bigint;
    eventgate_channels bigint;
    eventgate_types text[];
    eventgate_places text[];
    eventgate_counts bigint[];
    eventgate_datas text[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT count(*) INTO eventgate_rows FROM new_rows;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT count(*) INTO eventgate_rows FROM old_rows;
    ELSIF TG_OP = 'UPDATE' THEN
        SELECT count(*) INTO eventgate_rows FROM old_rows;
        IF eventgate_rows <> (SELECT count(*) FROM new_rows) THEN
            eventgate_sign := -1;
        END IF;
    END IF;
    IF eventgate_rows = 0 THEN
        RETURN NULL;
    END IF;
    BEGIN
        SELECT * INTO eventgate_about FROM eventgate_watch.context_%1$s(TG_RELID);
        eventgate_known := true;
        IF eventgate_about.name IS NULL THEN
            RETURN NULL;
        ELSIF TG_OP = 'TRUNCATE' THEN
            eventgate_types := '{truncate}';
            eventgate_places := '{NULL}';
            eventgate_datas := ARRAY['{"op":"truncate","table":' || eventgate_about.name
                || coalesce(',"partition":' || eventgate_about.part, '') || '}'];
        ELSIF eventgate_rows > eventgate_about.bulk_limit THEN
            IF TG_OP = 'INSERT' THEN%2$s
            ELSIF TG_OP = 'DELETE' THEN%3$s
            ELSE%4$s
            END IF;
            IF eventgate_total > eventgate_about.bulk_limit THEN
                IF eventgate_channels > eventgate_about.bulk_limit THEN
                    eventgate_places := '{NULL}';
                    eventgate_counts := ARRAY[eventgate_total];
                END IF;
                SELECT array_agg('bulk'::text ORDER BY u.i), array_agg('{"op":"' || lower(TG_OP) || '","table":' || eventgate_about.name
                    || ',"count":' || u.count || '}' ORDER BY u.i)
                INTO eventgate_types, eventgate_datas
                FROM unnest(eventgate_counts) WITH ORDINALITY AS u(count, i);
            END IF;
        END IF;
        IF eventgate_types IS NULL THEN
            IF TG_OP = 'INSERT' THEN%5$s
            ELSIF TG_OP = 'DELETE' THEN%6$s
            ELSE
                SELECT array_agg(e.type ORDER BY e.stage, c.i), array_agg(e.place ORDER BY e.stage, c.i),
                    array_agg('{"op":"' || e.type || '","table":' || eventgate_about.name || e.key || e.rest || '}' ORDER BY e.stage, c.i)
                INTO eventgate_types, eventgate_places, eventgate_datas
                FROM (SELECT k.*, k.stays AND k.old_key = k.new_key AS same
                    FROM (SELECT j.*, %7$s AS old_key, %8$s AS new_key
                        FROM (SELECT p.i, p.old_place, p.new_place, p.old_in, p.new_in, p.stays,
                                CASE WHEN p.old_in THEN to_json(p.old) END AS old,
                                CASE WHEN p.new_in THEN to_json(p.new) END AS new
                            FROM (%9$s) AS p) AS j) AS k) AS c
                    CROSS JOIN LATERAL (
                        SELECT 'update' AS type, 2 AS stage, c.new_place AS place, c.new_key AS key,
                            ',"new":' || c.new::text || ',"old":' || c.old::text AS rest WHERE c.same
                        UNION ALL
                        SELECT 'delete', 1, c.old_place, c.old_key, ',"old":' || c.old::text || ',"moved":true'
                            WHERE c.old_in AND c.same IS NOT TRUE
                        UNION ALL
                        SELECT 'insert', 2, c.new_place, c.new_key, ',"new":' || c.new::text || ',"moved":true'
                            WHERE c.new_in AND c.same IS NOT TRUE
                    ) AS e;
            END IF;
        END IF;
    EXCEPTION
        WHEN OTHERS THEN
            IF NOT eventgate_known AND SQLSTATE = '42501' THEN
                RAISE 'The role %% may not tell the changes of table %% any more.', quote_ident(current_user), TG_RELID::regclass
                    USING ERRCODE = 'insufficient_privilege',
                        HINT = 'After a change of owner, call eventgate.watch() again, or wait for eventgate.maintain().';
            ELSIF NOT eventgate_known OR left(SQLSTATE, 2) IN ('40', '53', '57', '58', 'XX') OR SQLSTATE = '55P03' THEN
                RAISE;
            END IF;
            RAISE WARNING 'The changed rows of table %% could only be counted: %%', TG_RELID::regclass, SQLERRM
                USING ERRCODE = SQLSTATE, HINT = 'Mend what fails, or call eventgate.watch() again if columns were renamed or dropped.';
            eventgate_types := '{bulk}';
            eventgate_places := '{NULL}';
            eventgate_datas := ARRAY['{"op":"' || lower(TG_OP) || '","table":' || eventgate_about.name || ',"count":' || eventgate_rows
                || ',"failed":true}'];
    END;
    IF eventgate_types IS NOT NULL THEN
        PERFORM eventgate_watch.record_%1$s(eventgate_types, eventgate_places, eventgate_datas);
    END IF;
    RETURN NULL;
END
$$,
        watch,
        replace(bulk, '@changes@', replace(one_sided_bulk, '@rows@', new_side)),
        replace(bulk, '@changes@', replace(one_sided_bulk, '@rows@', old_side)),
        replace(bulk, '@changes@', format('SELECT m.place, m.first FROM (%s) AS p CROSS JOIN LATERAL ('
            'SELECT p.new_place AS place, 1 AS first WHERE p.new_in UNION ALL '
            'SELECT p.old_place, CASE WHEN p.new_in THEN 0 ELSE 1 END '
            'WHERE p.old_in AND (NOT p.new_in OR p.old_place <> p.new_place)) AS m', pairs)),
        replace(replace(replace(replace(one_sided, '@rows@', new_side), '@op@', 'insert'), '@side@', 'new'), '@key@',
            eventgate.watch_key_text('c.row')),
        replace(replace(replace(replace(one_sided, '@rows@', old_side), '@op@', 'delete'), '@side@', 'old'), '@key@',
            eventgate.watch_key_text('c.row')),
        eventgate.watch_key_text('j.old'), eventgate.watch_key_text('j.new'), pairs);
END
$body$;

-- The table and everything that is a part of it.
CREATE OR REPLACE FUNCTION eventgate.watch_relations(relation regclass) RETURNS SETOF regclass
    LANGUAGE sql STABLE
BEGIN ATOMIC
    WITH RECURSIVE down AS (
        SELECT relation::oid AS oid, 0 AS depth
        UNION
        SELECT i.inhrelid, down.depth + 1 FROM pg_inherits AS i JOIN down ON i.inhparent = down.oid
    )
    SELECT down.oid::regclass FROM down GROUP BY down.oid ORDER BY max(down.depth), down.oid;
END;

-- Raises unless it is a table that can be watched.
CREATE OR REPLACE FUNCTION eventgate.watch_check_table(relation regclass) RETURNS void
    LANGUAGE plpgsql STABLE
AS $$
DECLARE
    class record;
    other regclass;
BEGIN
    SELECT c.relkind, c.relpersistence, c.relnamespace::regnamespace::text AS schema INTO class
    FROM pg_class AS c WHERE c.oid = relation;
    IF NOT FOUND THEN
        RAISE 'There is no table %.', coalesce(relation::text, 'NULL') USING ERRCODE = 'undefined_table';
    ELSIF class.relkind NOT IN ('r', 'p') THEN
        RAISE 'Only tables can be watched; % is %.', relation, CASE class.relkind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view'
                WHEN 'f' THEN 'a foreign table' WHEN 'S' THEN 'a sequence' WHEN 'c' THEN 'a composite type' ELSE 'an index' END
            USING ERRCODE = 'wrong_object_type',
                HINT = CASE WHEN class.relkind IN ('v', 'm') THEN 'Watch the tables that it is made of.'
                    ELSE 'Its changes do not pass through this database''s triggers.' END;
    ELSIF class.relpersistence = 't' THEN
        RAISE 'The table % is temporary, and so seen by one session only; it can''t be watched.', relation
            USING ERRCODE = 'wrong_object_type';
    ELSIF class.schema IN ('eventgate', 'eventgate_watch', 'information_schema') OR class.schema LIKE 'pg\_%' THEN
        RAISE 'The tables of schema % can''t be watched.', class.schema USING ERRCODE = 'wrong_object_type';
    END IF;
    SELECT i.inhparent::regclass INTO other FROM pg_inherits AS i WHERE i.inhrelid = relation LIMIT 1;
    IF FOUND THEN
        RAISE 'The table % is a part of %, through which it can be written unnoticed.', relation, other
            USING ERRCODE = 'wrong_object_type', HINT = format('Watch %s; what is written to %s directly is told, too.', other, relation);
    END IF;
    SELECT c.oid::regclass INTO other FROM pg_class AS c
    WHERE c.oid IN (SELECT eventgate.watch_relations(relation)) AND c.relkind = 'f';
    IF FOUND THEN
        RAISE 'The table % can''t be watched: its part % is a foreign table.', relation, other USING ERRCODE = 'wrong_object_type';
    END IF;
END
$$;

-- Raises unless these are columns of the table.
CREATE OR REPLACE FUNCTION eventgate.watch_check_columns(relation regclass, names text[]) RETURNS void
    LANGUAGE plpgsql STABLE
AS $$
DECLARE
    name_ text;
BEGIN
    FOREACH name_ IN ARRAY names LOOP
        IF NOT EXISTS (SELECT FROM pg_attribute AS a
                WHERE a.attrelid = relation AND a.attname = name_ AND a.attnum > 0 AND NOT a.attisdropped) THEN
            RAISE 'The table % has no column %.', relation, quote_nullable(name_) USING ERRCODE = 'undefined_column';
        END IF;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION eventgate.watch_drop_functions(watch integer) RETURNS void
    LANGUAGE plpgsql
    SET client_min_messages = warning
AS $$
BEGIN
    -- With it go the triggers. A schema's owner may drop whatever is in it.
    EXECUTE format('DROP FUNCTION IF EXISTS eventgate_watch.change_%s() CASCADE', watch);
    EXECUTE format('DROP FUNCTION IF EXISTS eventgate_watch.context_%s(oid)', watch);
    EXECUTE format('DROP FUNCTION IF EXISTS eventgate_watch.record_%s(text[], text[], text[])', watch);
END
$$;

-- Makes the two functions that change_N() calls, for the table's owner alone.
CREATE OR REPLACE FUNCTION eventgate.watch_make_functions(watch integer, literals text[], owner name) RETURNS void
    LANGUAGE plpgsql
    SET client_min_messages = warning
AS $body$
BEGIN
    EXECUTE format($make$
        CREATE OR REPLACE FUNCTION eventgate_watch.context_%1$s(relation oid, OUT name text, OUT part text, OUT key text[],
            OUT labels text[], OUT bulk_limit integer)
            LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
        AS $$
        BEGIN
            SELECT c.name, c.part, c.key, c.labels, c.bulk_limit INTO name, part, key, labels, bulk_limit
            FROM eventgate.watch_context(%1$s, relation) AS c;
        END
        $$;
        CREATE OR REPLACE FUNCTION eventgate_watch.record_%1$s(types text[], places text[], datas text[]) RETURNS void
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
            SET enable_seqscan = off SET jit = off
        AS $$
        BEGIN
            PERFORM eventgate.watch_record(%2$L, types, places, datas);
        END
        $$;
        REVOKE ALL ON FUNCTION eventgate_watch.context_%1$s(oid), eventgate_watch.record_%1$s(text[], text[], text[]) FROM PUBLIC;
        $make$, watch, literals);
    PERFORM eventgate.watch_grant(watch, owner);
END
$body$;

CREATE OR REPLACE FUNCTION eventgate.watch_grant(watch integer, owner name) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA eventgate_watch TO %I', owner);
    EXECUTE format('GRANT EXECUTE ON FUNCTION eventgate_watch.context_%1$s(oid), '
        'eventgate_watch.record_%1$s(text[], text[], text[]) TO %2$I', watch, owner);
END
$$;

-- Forgets watches whose table is gone, and follows a table's owner to whom REASSIGN OWNED has given the function.
CREATE OR REPLACE FUNCTION eventgate.watch_tidy() RETURNS integer
    LANGUAGE plpgsql
AS $$
DECLARE
    one record;
    done integer := 0;
BEGIN
    FOR one IN
        SELECT w.number, p.proowner, p.oid IS NULL OR c.oid IS NULL AS gone,
            to_regprocedure(format('eventgate_watch.record_%s(text[],text[],text[])', w.number)) AS record_
        FROM eventgate.watching AS w
            LEFT JOIN pg_class AS c ON c.oid = w."table"
            LEFT JOIN pg_proc AS p ON p.oid = to_regprocedure(format('eventgate_watch.change_%s()', w.number))
    LOOP
        IF one.gone THEN
            PERFORM eventgate.watch_drop_functions(one.number);
            DELETE FROM eventgate.watching AS w WHERE w.number = one.number;
            done := done + 1;
        ELSIF one.record_ IS NOT NULL AND NOT has_function_privilege(one.proowner, one.record_, 'EXECUTE') THEN
            PERFORM eventgate.watch_grant(one.number, pg_get_userbyid(one.proowner)::name);
            done := done + 1;
        END IF;
    END LOOP;
    RETURN done;
END
$$;

-- First half of watch(): checks everything, and gives the table's owner what making the function takes, until
-- watch_end(). Returns the watch's number, and the body of its function, in which @condition@ stands for the condition.
CREATE OR REPLACE FUNCTION eventgate.watch_begin("table" regclass, channel text, operations text[], columns text[], condition text,
    OUT number integer, OUT body text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    template record;
    owner oid := (SELECT c.relowner FROM pg_class AS c WHERE c.oid = "table");
    places text[];
    problem text;
BEGIN
    PERFORM eventgate.watch_check_table("table");
    template := eventgate.watch_template(channel);
    places := template.columns;
    PERFORM eventgate.watch_check_columns("table", places);
    problem := eventgate.name_problem(array_to_string(template.literals, 'x'));
    IF problem IS NOT NULL THEN
        RAISE 'The channel''s name % %.', quote_nullable(left(channel, 200)), problem USING ERRCODE = 'invalid_parameter_value';
    ELSIF octet_length(convert_to(array_to_string(template.literals, ''), 'UTF8')) + 36 * cardinality(places) > 200 THEN
        RAISE 'The channel''s name % would not have room for its columns'' values.', quote_literal(channel)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A name has at most 200 bytes; at least 36 are for each column.';
    ELSIF operations IS NULL OR operations = '{}' OR NOT operations <@ '{insert,update,delete,truncate}' THEN
        RAISE 'The operations are some of insert, update, delete and truncate, not %.', coalesce(operations::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF columns = '{}' OR columns IS NOT NULL AND NOT 'update' = ANY (operations) THEN
        RAISE 'The columns are those that matter in an update.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'NULL stands for all columns.';
    END IF;
    IF columns IS NOT NULL THEN
        PERFORM eventgate.watch_check_columns("table", columns);
    END IF;
    LOCK TABLE eventgate.watching IN SHARE ROW EXCLUSIVE MODE;
    PERFORM eventgate.watch_tidy();
    SELECT w.number INTO number FROM eventgate.watching AS w WHERE w."table" = watch_begin."table" AND w.channel = watch_begin.channel;
    number := coalesce(number, nextval('eventgate.watching_seq'));
    INSERT INTO eventgate.watching AS w (number, "table", channel, operations, columns, condition)
        VALUES (watch_begin.number, "table", channel, operations, columns, condition)
        ON CONFLICT ON CONSTRAINT watching_pkey DO UPDATE
            SET operations = excluded.operations, columns = excluded.columns, condition = excluded.condition;
    -- The function of a former owner can't be replaced by the present one.
    IF NOT EXISTS (SELECT FROM pg_proc AS p
            WHERE p.oid = to_regprocedure(format('eventgate_watch.change_%s()', watch_begin.number)) AND p.proowner = owner) THEN
        PERFORM eventgate.watch_drop_functions(number);
    END IF;
    PERFORM eventgate.watch_make_functions(number, template.literals, pg_get_userbyid(owner));
    EXECUTE format('GRANT CREATE ON SCHEMA eventgate_watch TO %I', pg_get_userbyid(owner));
    -- A change of the key is told even where only some columns matter.
    body := eventgate.watch_body(number, "table", places, CASE WHEN condition IS NOT NULL THEN '@condition@' END,
        CASE WHEN columns IS NOT NULL THEN columns || (SELECT c.key FROM eventgate.watch_context(number, "table") AS c) END);
END
$$;

CREATE OR REPLACE FUNCTION eventgate.watch_end("table" regclass) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    owner oid := (SELECT c.relowner FROM pg_class AS c WHERE c.oid = "table");
BEGIN
    IF owner <> (SELECT s.nspowner FROM pg_namespace AS s WHERE s.nspname = 'eventgate_watch') THEN
        EXECUTE format('REVOKE CREATE ON SCHEMA eventgate_watch FROM %I', pg_get_userbyid(owner));
    END IF;
END
$$;

-- The condition with all its names qualified, as they are found in `path`. It is what a CHECK constraint may have:
-- nothing but the row's columns, constants and functions of them.
CREATE OR REPLACE FUNCTION eventgate.watch_condition("table" regclass, condition text, path text) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = warning
AS $$
DECLARE
    scratch text := format('eventgate_watch.%I', (SELECT c.relname FROM pg_class AS c WHERE c.oid = "table"));
    source text := (SELECT format('%I.%I', s.nspname, c.relname)
        FROM pg_class AS c JOIN pg_namespace AS s ON s.oid = c.relnamespace WHERE c.oid = "table");
    command text := format(E'CREATE TABLE %s (LIKE %s, CONSTRAINT condition CHECK (\n%s\n))', scratch, source, condition);
    other boolean;
BEGIN
    PERFORM set_config('search_path', path, true);
    EXECUTE command;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    SELECT pg_get_expr(c.conbin, c.conrelid), c.conbin::text ~ ':varattno (-|0 )' INTO STRICT condition, other
    FROM pg_constraint AS c WHERE c.conrelid = scratch::regclass AND c.contype = 'c';
    IF other THEN
        RAISE 'The condition is on more than the columns of the table %.', "table"
            USING ERRCODE = 'feature_not_supported', HINT = 'It can''t use tableoid or the row as a whole.';
    END IF;
    EXECUTE format('DROP TABLE %s', scratch);
    RETURN condition;
END
$$;

-- Makes the triggers that are missing, and drops those of operations that aren't watched any more.
CREATE OR REPLACE FUNCTION eventgate.watch_make_triggers(watch integer, "table" regclass, operations text[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    relation regclass;
    operation text;
    trigger_ text;
    there boolean;
BEGIN
    FOR relation IN SELECT eventgate.watch_relations("table") LOOP
        FOREACH operation IN ARRAY '{insert,update,delete,truncate}'::text[] LOOP
            trigger_ := format('eventgate_%s_%s', watch, operation);
            there := EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = relation AND t.tgname = trigger_);
            IF there AND NOT operation = ANY (operations) THEN
                EXECUTE format('DROP TRIGGER %I ON %s', trigger_, relation);
            ELSIF operation = ANY (operations) THEN
                IF NOT there THEN
                    EXECUTE format('CREATE TRIGGER %I AFTER %s ON %s %s FOR EACH STATEMENT EXECUTE FUNCTION eventgate_watch.change_%s()',
                        trigger_, operation, relation, CASE operation
                            WHEN 'insert' THEN 'REFERENCING NEW TABLE AS new_rows'
                            WHEN 'update' THEN 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'
                            WHEN 'delete' THEN 'REFERENCING OLD TABLE AS old_rows'
                            ELSE '' END, watch);
                END IF;
                EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', relation, trigger_);
            END IF;
        END LOOP;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION eventgate.watch_in_path("table" regclass, channel text, operations text[], columns text[], condition text,
    path text) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = warning
AS $$
DECLARE
    owner name := (SELECT pg_get_userbyid(c.relowner) FROM pg_class AS c WHERE c.oid = "table");
    begun record;
BEGIN
    IF NOT pg_has_role(owner, 'USAGE') THEN
        RAISE 'Only its owner can have the table % watched.', "table"
            USING ERRCODE = 'insufficient_privilege', HINT = format('Become %I, or a member of it that inherits its rights.', owner);
    END IF;
    operations := ARRAY(SELECT lower(o) FROM unnest(operations) AS o);
    begun := eventgate.watch_begin("table", channel, operations, columns, condition);
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', "table"); -- keeps new parts from being attached meanwhile
    IF condition IS NOT NULL THEN
        condition := eventgate.watch_condition("table", condition, path);
    END IF;
    EXECUTE format('CREATE OR REPLACE FUNCTION eventgate_watch.change_%1$s() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER '
        'SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off '
        'SET timezone = ''UTC'' SET datestyle = ''ISO, YMD'' SET intervalstyle = ''postgres'' SET bytea_output = ''hex'' '
        'SET extra_float_digits = 1 AS %2$L',
        begun.number, replace(begun.body, '@condition@', coalesce(condition, '')));
    EXECUTE format('REVOKE ALL ON FUNCTION eventgate_watch.change_%s() FROM PUBLIC', begun.number);
    EXECUTE format('ALTER FUNCTION eventgate_watch.change_%s() OWNER TO %I', begun.number, owner);
    PERFORM eventgate.watch_make_triggers(begun.number, "table", operations);
    PERFORM eventgate.watch_end("table");
END
$$;

-- Publishes the changes of a table's rows on a channel; see docs/watch.md. For a table that is watched for this channel
-- already, what is given now holds, and parts that it has got since then are watched, too.
CREATE OR REPLACE FUNCTION eventgate.watch("table" regclass, channel text,
    operations text[] DEFAULT '{insert,update,delete,truncate}', columns text[] DEFAULT NULL, condition text DEFAULT NULL)
    RETURNS void
    LANGUAGE sql
    RETURN eventgate.watch_in_path("table", channel, operations, columns, condition, pg_catalog.current_setting('search_path'));

-- Ends the watches of a table, or the one for a channel; returns how many these were.
CREATE OR REPLACE FUNCTION eventgate.unwatch("table" regclass, channel text DEFAULT NULL) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    one integer;
    ended integer := 0;
BEGIN
    LOCK TABLE eventgate.watching IN SHARE ROW EXCLUSIVE MODE;
    FOR one IN
        DELETE FROM eventgate.watching AS w
        WHERE w."table" = unwatch."table" AND w.channel = coalesce(unwatch.channel, w.channel) RETURNING w.number
    LOOP
        PERFORM eventgate.watch_drop_functions(one);
        ended := ended + 1;
    END LOOP;
    PERFORM eventgate.watch_tidy();
    RETURN ended;
END
$$;

-- What is watched. `unseen`: parts of the table to which direct writes are not told, as they came after watch().
CREATE OR REPLACE FUNCTION eventgate.watched()
    RETURNS TABLE ("table" regclass, channel text, operations text[], columns text[], condition text, unseen regclass[])
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT w."table", w.channel, w.operations, w.columns, w.condition,
        ARRAY(SELECT r FROM eventgate.watch_relations(w."table") AS r WHERE NOT EXISTS (SELECT FROM pg_trigger AS t
            WHERE t.tgrelid = r AND t.tgfoid = to_regprocedure(format('eventgate_watch.change_%s()', w.number))))
    FROM eventgate.watching AS w
    WHERE EXISTS (SELECT FROM pg_trigger AS t
        WHERE t.tgrelid = w."table" AND t.tgfoid = to_regprocedure(format('eventgate_watch.change_%s()', w.number)))
    ORDER BY w."table"::text, w.channel;
END
$$;
