-- watch(): triggers that publish what changes in a table's rows.
--
-- Who runs what:
--   * watch() runs as its caller, who makes the triggers, and must own the table (or be of its owner's role).
--   * eventgate_watch.change_N(), the trigger function of watch N, belongs to the table's owner and runs as that role:
--     conditions, casts, operators and output functions get nobody's rights but the owner's, neither the writer's nor
--     ours. It is made here, but its owner may replace it; nothing relies on what it does.
--   * eventgate_watch.record_N() runs as the schema's owner, and only the table's owner may call it. It makes the
--     channels' names itself, from the watch's template; so the most that a table's owner can do is to publish there.
-- Calls only go up, from the table's owner's function to ours, never down: one may change one's own function to run as
-- its caller. eventgate_watch has nothing but these functions. A table's owner may make some there only within watch().

CREATE SCHEMA IF NOT EXISTS eventgate_watch;
REVOKE ALL ON SCHEMA eventgate_watch FROM PUBLIC;

DO $do$
BEGIN
    -- Its owner could put other functions in the place of ours.
    IF (SELECT count(DISTINCT nspowner) FROM pg_catalog.pg_namespace
            WHERE nspname IN ('eventgate', 'eventgate_watch')) <> 1 THEN
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
        RAISE 'Only tables can be watched; % is %.', relation, CASE class.relkind WHEN 'v' THEN 'a view'
                WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table' WHEN 'S' THEN 'a sequence'
                WHEN 'c' THEN 'a composite type' ELSE 'an index' END
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
            USING ERRCODE = 'wrong_object_type',
                HINT = format('Watch %s; what is written to %s directly is told, too.', other, relation);
    END IF;
    SELECT c.oid::regclass INTO other FROM pg_class AS c
    WHERE c.oid IN (SELECT eventgate.watch_relations(relation)) AND c.relkind = 'f';
    IF FOUND THEN
        RAISE 'The table % can''t be watched: its part % is a foreign table.', relation, other
            USING ERRCODE = 'wrong_object_type';
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
        CREATE OR REPLACE FUNCTION eventgate_watch.context_%1$s(relation oid) RETURNS eventgate.watch_about
            LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
        AS $$
        BEGIN
            RETURN eventgate.watch_context(%1$s, relation);
        END
        $$;
        CREATE OR REPLACE FUNCTION eventgate_watch.record_%1$s(types text[], places text[], datas text[])
            RETURNS integer
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
            SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off
        AS $$
        BEGIN
            RETURN eventgate.watch_record(%2$L, types, places, datas);
        END
        $$;
        REVOKE ALL ON FUNCTION eventgate_watch.context_%1$s(oid),
            eventgate_watch.record_%1$s(text[], text[], text[]) FROM PUBLIC;
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
-- watch_end(). Returns the watch's number, and the body of its function, in which `slot` stands for the condition.
CREATE OR REPLACE FUNCTION eventgate.watch_begin("table" regclass, channel text, operations text[], columns text[],
    condition text, OUT number integer, OUT body text, OUT slot text)
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
        RAISE 'The channel''s name % %.', quote_nullable(left(channel, 200)), problem
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF octet_length(convert_to(array_to_string(template.literals, ''), 'UTF8')) + 36 * cardinality(places) > 200 THEN
        RAISE 'The channel''s name % would not have room for its columns'' values.', quote_literal(channel)
            USING ERRCODE = 'invalid_parameter_value',
                HINT = 'A name has at most 200 bytes; at least 36 are for each column.';
    ELSIF operations IS NULL OR operations = '{}' OR NOT operations <@ '{insert,update,delete,truncate}' THEN
        RAISE 'The operations are some of insert, update, delete and truncate, not %.',
                coalesce(operations::text, 'NULL')
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
    SELECT w.number INTO number FROM eventgate.watching AS w
    WHERE w."table" = watch_begin."table" AND w.channel = watch_begin.channel;
    number := coalesce(number, nextval('eventgate.watching_seq'));
    INSERT INTO eventgate.watching AS w (number, "table", channel, operations, columns, condition)
        VALUES (watch_begin.number, "table", channel, operations, columns, condition)
        ON CONFLICT ON CONSTRAINT watching_pkey DO UPDATE
            SET operations = excluded.operations, columns = excluded.columns, condition = excluded.condition;
    -- The function of a former owner can't be replaced by the present one.
    IF NOT EXISTS (SELECT FROM pg_proc AS p
            WHERE p.oid = to_regprocedure(format('eventgate_watch.change_%s()', watch_begin.number))
                AND p.proowner = owner) THEN
        PERFORM eventgate.watch_drop_functions(number);
    END IF;
    PERFORM eventgate.watch_make_functions(number, template.literals, pg_get_userbyid(owner));
    EXECUTE format('GRANT CREATE ON SCHEMA eventgate_watch TO %I', pg_get_userbyid(owner));
    slot := gen_random_uuid();
    -- A change of the key is told even where only some columns matter.
    body := eventgate.watch_body(number, "table", places, CASE WHEN condition IS NOT NULL THEN slot END,
        CASE WHEN columns IS NOT NULL THEN
            columns || (SELECT c.key FROM eventgate.watch_context(number, "table") AS c) END);
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
    command text := format(E'CREATE TABLE %s (LIKE %s, CONSTRAINT condition CHECK (\n%s\n))', scratch, source,
        condition);
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
CREATE OR REPLACE FUNCTION eventgate.watch_make_triggers(watch integer, "table" regclass, operations text[])
    RETURNS void
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
                    EXECUTE format('CREATE TRIGGER %I AFTER %s ON %s %s FOR EACH STATEMENT '
                        'EXECUTE FUNCTION eventgate_watch.change_%s()', trigger_, operation, relation, CASE operation
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

CREATE OR REPLACE FUNCTION eventgate.watch_in_path("table" regclass, channel text, operations text[], columns text[],
    condition text, path text) RETURNS void
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
            USING ERRCODE = 'insufficient_privilege',
                HINT = format('Become %I, or a member of it that inherits its rights.', owner);
    END IF;
    operations := ARRAY(SELECT lower(o) FROM unnest(operations) AS o);
    begun := eventgate.watch_begin("table", channel, operations, columns, condition);
    -- Keeps new parts from being attached meanwhile.
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', "table");
    IF condition IS NOT NULL THEN
        condition := eventgate.watch_condition("table", condition, path);
    END IF;
    EXECUTE format('CREATE OR REPLACE FUNCTION eventgate_watch.change_%1$s() RETURNS trigger '
        'LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp '
        'SET plan_cache_mode = force_generic_plan SET jit = off SET timezone = ''UTC'' SET datestyle = ''ISO, YMD'' '
        'SET intervalstyle = ''postgres'' SET bytea_output = ''hex'' SET extra_float_digits = 1 AS %2$L',
        begun.number, replace(begun.body, begun.slot, coalesce(condition, '')));
    EXECUTE format('REVOKE ALL ON FUNCTION eventgate_watch.change_%s() FROM PUBLIC', begun.number);
    EXECUTE format('ALTER FUNCTION eventgate_watch.change_%s() OWNER TO %I', begun.number, owner);
    PERFORM eventgate.watch_make_triggers(begun.number, "table", operations);
    PERFORM eventgate.watch_end("table");
END
$$;

-- Publishes the changes of a table's rows on a channel; see docs/watch.md. For a table that is watched for this channel
-- already, what is given now holds, and parts that it has got since then are watched, too.
CREATE OR REPLACE FUNCTION eventgate.watch("table" regclass, channel text,
    operations text[] DEFAULT '{insert,update,delete,truncate}', columns text[] DEFAULT NULL,
    condition text DEFAULT NULL) RETURNS void
    LANGUAGE sql
    RETURN eventgate.watch_in_path("table", channel, operations, columns, condition,
        pg_catalog.current_setting('search_path'));

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
