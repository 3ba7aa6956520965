-- The trigger functions of watched tables: the text of eventgate_watch.change_N(). See watch.sql.

-- One side of a change: its rows, the place that they belong to, and whether they fulfil the condition; for an update
-- their numbers, too, and `looked`: what matters. `row_`: what the row is called; no column may be called so.
CREATE OR REPLACE FUNCTION eventgate.watch_side(rows_ text, row_ text, places text[], condition text, looked text)
    RETURNS text
    LANGUAGE sql STABLE
    RETURN format('SELECT %1$I AS whole, %2$s AS place, %3$s AS passes%4$s FROM %5$I AS %1$I',
        row_,
        coalesce('json_build_array(' || (SELECT string_agg(format('%I.%I::text', row_, p), ', ' ORDER BY i)
            FROM unnest(places) WITH ORDINALITY AS u(p, i)) || ')::text', 'NULL::text'),
        coalesce('((' || condition || ') IS TRUE)', 'true'),
        coalesce(', row_number() OVER () AS i, ' || looked || ' AS looked', ''), rows_);

-- The key of the row whose JSON the expression `row_` is, with its name before it, or nothing.
CREATE OR REPLACE FUNCTION eventgate.watch_key_text(row_ text) RETURNS text
    LANGUAGE sql IMMUTABLE
    RETURN format($$coalesce(',"key":{' || (
                        SELECT string_agg(eventgate_about.labels[k.i] || ':' || (%s -> k.name)::text, ',')
                        FROM unnest(eventgate_about.key) WITH ORDINALITY AS k(name, i)) || '}', '')$$, row_);

-- The events of an INSERT or a DELETE, in the rows' order.
CREATE OR REPLACE FUNCTION eventgate.watch_rows_told(op text, side text, rows_ text) RETURNS text
    LANGUAGE sql IMMUTABLE
    RETURN format($$
                SELECT array_agg(%1$L::text), array_agg(c.place),
                    array_agg('{"op":"%1$s","table":' || eventgate_about.name || %3$s
                        || ',"%2$s":' || c.row::text || '}')
                INTO eventgate_types, eventgate_places, eventgate_datas
                FROM (SELECT s.place, to_json(s.whole) AS row FROM (%4$s) AS s WHERE s.passes OFFSET 0) AS c;$$,
        op, side, eventgate.watch_key_text('c.row'), rows_);

-- The rows that an UPDATE changes, from its two sides.
--
-- The n-th row of its old rows and the n-th of its new ones are the same row: the executor stores both at once. Where a
-- trigger has suppressed one half the counts differ, and nothing is paired: the sign keeps them apart. A FULL JOIN is
-- never a nested loop, so that plans made for one row serve a million.
CREATE OR REPLACE FUNCTION eventgate.watch_pairs(old_side text, new_side text) RETURNS text
    LANGUAGE sql IMMUTABLE
    RETURN format($$
                SELECT coalesce(n.i, o.i) AS i, o.whole AS old, n.whole AS new, o.place AS old_place,
                    n.place AS new_place, coalesce(o.passes, false) AS old_in, coalesce(n.passes, false) AS new_in,
                    o.passes AND n.passes AND o.place IS NOT DISTINCT FROM n.place AS stays
                FROM (%s) AS o FULL JOIN (%s) AS n ON n.i = o.i * eventgate_sign
                WHERE (o.passes OR n.passes) AND (o.passes IS DISTINCT FROM n.passes
                    OR o.place IS DISTINCT FROM n.place OR o.looked OPERATOR(pg_catalog.*<>) n.looked)$$,
        old_side, new_side);

-- The events of an UPDATE. A row that gets into, or out of, a channel or the condition, or gets another key, is told as
-- inserted or deleted there; what goes is told before what comes.
CREATE OR REPLACE FUNCTION eventgate.watch_pairs_told(pairs text) RETURNS text
    LANGUAGE sql IMMUTABLE
    RETURN format($$
                SELECT array_agg(d.type), array_agg(d.place),
                    array_agg('{"op":"' || d.type || '","table":' || eventgate_about.name || d.key || d.rest || '}')
                INTO eventgate_types, eventgate_places, eventgate_datas
                FROM (SELECT e.type, e.place, e.key, e.rest FROM (SELECT k.*, k.stays AND k.old_key = k.new_key AS same
                    FROM (SELECT j.*, %s AS old_key, %s AS new_key
                        FROM (SELECT p.i, p.old_place, p.new_place, p.old_in, p.new_in, p.stays,
                                CASE WHEN p.old_in THEN to_json(p.old) END AS old,
                                CASE WHEN p.new_in THEN to_json(p.new) END AS new
                            FROM (%s) AS p) AS j) AS k) AS c
                    CROSS JOIN LATERAL (
                        SELECT 'update' AS type, 2 AS stage, c.new_place AS place, c.new_key AS key,
                            ',"new":' || c.new::text || ',"old":' || c.old::text AS rest WHERE c.same
                        UNION ALL
                        SELECT 'delete', 1, c.old_place, c.old_key, ',"old":' || c.old::text || ',"moved":true'
                            WHERE c.old_in AND c.same IS NOT TRUE
                        UNION ALL
                        SELECT 'insert', 2, c.new_place, c.new_key, ',"new":' || c.new::text || ',"moved":true'
                            WHERE c.new_in AND c.same IS NOT TRUE
                    ) AS e ORDER BY e.stage, c.i) AS d;$$,
        eventgate.watch_key_text('j.old'), eventgate.watch_key_text('j.new'), pairs);

-- How many rows change in which channels. `places`: a query of the places and, once for each row, a `first` of 1.
CREATE OR REPLACE FUNCTION eventgate.watch_counted(places text) RETURNS text
    LANGUAGE sql IMMUTABLE
    RETURN format($$
                SELECT max(g.total), max(g.channels), array_agg(g.place ORDER BY g.place),
                    array_agg(g.count ORDER BY g.place)
                INTO eventgate_total, eventgate_channels, eventgate_places, eventgate_counts
                FROM (SELECT c.place, count(*) AS count, sum(sum(c.first)) OVER () AS total,
                        count(*) OVER () AS channels
                    FROM (%s) AS c GROUP BY c.place LIMIT eventgate_about.bulk_limit) AS g;$$, places);

-- The body of change_N(). Its variables are called eventgate_something, so that no column is taken for one.
CREATE OR REPLACE FUNCTION eventgate.watch_body(watch integer, relation oid, places text[], condition text,
    columns text[]) RETURNS text
    LANGUAGE plpgsql STABLE
AS $body$
DECLARE
    row_ text := 'eventgate row' || (SELECT coalesce(string_agg(a.attname, ''), '') FROM pg_attribute AS a
        WHERE a.attrelid = relation AND a.attname LIKE 'eventgate row%');
    looked text := format('ROW(%s)', coalesce((SELECT string_agg(format('%I.%I', row_, c), ', ' ORDER BY i)
        FROM unnest(columns) WITH ORDINALITY AS u(c, i)), format('%I.*', row_)));
    old_side text := eventgate.watch_side('old_rows', row_, places, condition, NULL);
    new_side text := eventgate.watch_side('new_rows', row_, places, condition, NULL);
    pairs text := eventgate.watch_pairs(eventgate.watch_side('old_rows', row_, places, condition, looked),
        eventgate.watch_side('new_rows', row_, places, condition, looked));
    one_sided constant text := 'SELECT s.place, 1 AS first FROM (%s) AS s WHERE s.passes';
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
        eventgate_about := eventgate_watch.context_%1$s(TG_RELID);
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
                SELECT array_agg('bulk'::text ORDER BY u.i), array_agg('{"op":"' || lower(TG_OP) || '","table":'
                    || eventgate_about.name || ',"count":' || u.count || '}' ORDER BY u.i)
                INTO eventgate_types, eventgate_datas
                FROM unnest(eventgate_counts) WITH ORDINALITY AS u(count, i);
            END IF;
        END IF;
        IF eventgate_types IS NULL THEN
            IF TG_OP = 'INSERT' THEN%5$s
            ELSIF TG_OP = 'DELETE' THEN%6$s
            ELSE%7$s
            END IF;
        END IF;
    EXCEPTION
        WHEN OTHERS THEN
            IF NOT eventgate_known AND SQLSTATE = '42501' THEN
                RAISE 'The role %% may not tell the changes of table %% any more.', quote_ident(current_user),
                        TG_RELID::regclass
                    USING ERRCODE = 'insufficient_privilege',
                        HINT = 'After a change of owner call eventgate.watch() again; maintain() mends it, too.';
            ELSIF NOT eventgate_known OR left(SQLSTATE, 2) IN ('40', '53', '57', '58', 'XX') OR SQLSTATE = '55P03' THEN
                RAISE;
            END IF;
            RAISE WARNING 'The changed rows of table %% could only be counted: %%', TG_RELID::regclass, SQLERRM
                USING ERRCODE = SQLSTATE,
                    HINT = 'Mend what fails, or call eventgate.watch() again if columns were renamed or dropped.';
            eventgate_types := '{bulk}';
            eventgate_places := '{NULL}';
            eventgate_datas := ARRAY['{"op":"' || lower(TG_OP) || '","table":' || eventgate_about.name || ',"count":'
                || eventgate_rows || ',"failed":true}'];
    END;
    IF eventgate_types IS NOT NULL THEN
        eventgate_rows := eventgate_watch.record_%1$s(eventgate_types, eventgate_places, eventgate_datas);
    END IF;
    RETURN NULL;
END
$$,
        watch,
        eventgate.watch_counted(format(one_sided, new_side)),
        eventgate.watch_counted(format(one_sided, old_side)),
        eventgate.watch_counted(format('SELECT m.place, m.first FROM (%s) AS p CROSS JOIN LATERAL ('
            'SELECT p.new_place AS place, 1 AS first WHERE p.new_in UNION ALL '
            'SELECT p.old_place, CASE WHEN p.new_in THEN 0 ELSE 1 END '
            'WHERE p.old_in AND (NOT p.new_in OR p.old_place <> p.new_place)) AS m', pairs)),
        eventgate.watch_rows_told('insert', 'new', new_side),
        eventgate.watch_rows_told('delete', 'old', old_side),
        eventgate.watch_pairs_told(pairs));
END
$body$;
