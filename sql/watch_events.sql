-- What becomes of the events that a watched table's triggers tell: their channels, their size. See watch.sql.

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
                    HINT = 'orders/{customer_id} is a channel for each customer_id; {{ and }} stand for braces.';
        ELSIF inside IS NULL THEN
            literal := literal || CASE WHEN token IN ('{{', '}}') THEN left(token, 1) ELSE token END;
        ELSE
            inside := inside || CASE WHEN token IN ('{{', '}}') THEN left(token, 1) ELSE token END;
        END IF;
    END LOOP;
    IF inside IS NOT NULL THEN
        RAISE 'The channel % has a brace that is not closed.', quote_literal(channel)
            USING ERRCODE = 'invalid_parameter_value', HINT = '{{ and }} stand for braces.';
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
            WHEN c COLLATE "C" ~ '[%/*,\x01-\x1f\x7f]' OR value IN ('.', '..')
                THEN '%' || upper(lpad(to_hex(ascii(c)), 2, '0'))
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

-- What change_N() needs to know of the watched table, as it is now: its name and its key's columns, as JSON strings,
-- and the limit. No name: `relation` isn't the table or a part of it any more. `part`: the name of a part of it.
DO $do$
BEGIN
    IF to_regtype('eventgate.watch_about') IS NULL THEN
        CREATE TYPE eventgate.watch_about AS (name text, part text, key text[], labels text[], bulk_limit integer);
    END IF;
END
$do$;

CREATE OR REPLACE FUNCTION eventgate.watch_context(watch integer, relation oid) RETURNS eventgate.watch_about
    LANGUAGE plpgsql STABLE
AS $$
DECLARE
    about eventgate.watch_about;
    table_ regclass := (SELECT w."table" FROM eventgate.watching AS w WHERE w.number = watch);
    found_ record;
BEGIN
    -- A transaction whose snapshot is older than the watch doesn't see its row.
    table_ := coalesce(table_, pg_partition_root(relation), relation);
    -- The key is the primary key, or else what REPLICA IDENTITY names.
    SELECT s.bulk_limit, i.indexrelid, i.indnkeyatts INTO found_
    FROM (VALUES (1)) AS one LEFT JOIN eventgate.setting AS s ON true
        LEFT JOIN pg_index AS i ON i.indrelid = table_ AND i.indisvalid AND (i.indisprimary OR i.indisreplident)
    ORDER BY i.indisprimary DESC LIMIT 1;
    -- A regclass is told with its schema's name, as search_path has none.
    about.name := to_json(table_::text)::text;
    about.bulk_limit := coalesce(found_.bulk_limit, 1000);
    IF table_ <> relation THEN
        about.part := to_json(relation::regclass::text)::text;
        about.name := CASE WHEN eventgate.watch_is_part(relation, table_) THEN about.name END;
    END IF;
    FOR i IN 1 .. coalesce(found_.indnkeyatts, 0) LOOP
        about.key[i] := (parse_ident(pg_get_indexdef(found_.indexrelid, i, false)))[1];
        about.labels[i] := to_json(about.key[i])::text;
    END LOOP;
    RETURN about;
END
$$;

-- Queues the events of a watch, for record_N().
CREATE OR REPLACE FUNCTION eventgate.watch_record(literals text[], types text[], places text[], datas text[])
    RETURNS integer
    LANGUAGE plpgsql
AS $$
DECLARE
    most integer;
    channels text[];
BEGIN
    IF types IS NULL OR cardinality(types) IS DISTINCT FROM cardinality(datas)
        OR cardinality(types) IS DISTINCT FROM cardinality(places)
        OR NOT types <@ '{insert,update,delete,truncate,bulk}' OR array_position(datas, NULL) IS NOT NULL THEN
        RAISE 'These are not the events of a watched table.' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF cardinality(literals) = 1 THEN
        channels := array_fill(literals[1], ARRAY[cardinality(types)]);
    ELSIF cardinality(places) = 1 THEN
        channels := ARRAY[eventgate.watch_channel(literals, places[1])];
    ELSE
        SELECT array_agg(c.channel ORDER BY p.i) INTO channels
        FROM unnest(places) WITH ORDINALITY AS p(place, i)
            JOIN (SELECT d.place, eventgate.watch_channel(literals, nullif(d.place, '')) AS channel
                FROM (SELECT DISTINCT coalesce(u.place, '') AS place FROM unnest(places) AS u(place)) AS d) AS c
            ON c.place = coalesce(p.place, '');
    END IF;
    IF octet_length(array_to_string(datas, '')) > 8192 THEN
        most := coalesce((SELECT max_bytes FROM eventgate.setting), 1048576);
        datas := ARRAY(SELECT CASE WHEN octet_length(d) > most THEN eventgate.watch_truncate(d::json, most) ELSE d END
            FROM unnest(datas) WITH ORDINALITY AS u(d, i) ORDER BY i);
    END IF;
    IF getdatabaseencoding() <> 'UTF8' THEN
        datas := ARRAY(SELECT CASE WHEN eventgate.watch_is_utf8(d) THEN d ELSE eventgate.watch_truncate(d::json, 0) END
            FROM unnest(datas) WITH ORDINALITY AS u(d, i) ORDER BY i);
    END IF;
    PERFORM eventgate.queue(channels, datas::json[], types, NULL, NULL);
    RETURN cardinality(types);
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
