-- watch(): which events the changes of rows become.
SET client_min_messages = warning;
BEGIN;
SELECT no_plan();

-- What has been queued since the last call.
CREATE FUNCTION told() RETURNS TABLE (channel text, type text, data text) LANGUAGE sql AS $$
    WITH taken AS (DELETE FROM eventgate.pending RETURNING *)
    SELECT channel, type, data::text FROM taken ORDER BY n
$$;
CREATE FUNCTION tells(statement text, expected text[], description text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM told();
    EXECUTE statement;
    RETURN is(ARRAY(SELECT concat_ws(' ', t.channel, t.type, t.data) FROM told() AS t), expected, description);
END
$$;

-- The four operations.
CREATE TABLE item (id int PRIMARY KEY, name text, price numeric(8, 2));
SELECT lives_ok($$SELECT eventgate.watch('item', 'items')$$, 'a table is watched');
SELECT tells($$INSERT INTO item VALUES (1, 'a', 1.50), (2, NULL, 2)$$, ARRAY[
    'items insert {"op":"insert","table":"public.item","key":{"id":1},"new":{"id":1,"name":"a","price":1.50}}',
    'items insert {"op":"insert","table":"public.item","key":{"id":2},"new":{"id":2,"name":null,"price":2.00}}'], 'INSERT');
SELECT tells($$UPDATE item SET price = 3 WHERE id = 1$$, ARRAY[
    'items update {"op":"update","table":"public.item","key":{"id":1},"new":{"id":1,"name":"a","price":3.00},"old":{"id":1,"name":"a","price":1.50}}'], 'UPDATE');
SELECT tells('UPDATE item SET price = 3', ARRAY[
    'items update {"op":"update","table":"public.item","key":{"id":2},"new":{"id":2,"name":null,"price":3.00},"old":{"id":2,"name":null,"price":2.00}}'],
    'an UPDATE tells the rows that it changes only');
SELECT tells('UPDATE item SET price = price', '{}', 'an UPDATE that changes nothing tells nothing');
SELECT tells('UPDATE item SET price = 9 WHERE id = 7', '{}', 'nor does one of no row');
SELECT tells('INSERT INTO item SELECT 1 WHERE false', '{}', 'nor an INSERT of no row');
SELECT tells('DELETE FROM item WHERE id = 7', '{}', 'nor a DELETE of no row');
SELECT tells('DELETE FROM item WHERE id = 2', ARRAY[
    'items delete {"op":"delete","table":"public.item","key":{"id":2},"old":{"id":2,"name":null,"price":3.00}}'], 'DELETE');
SELECT tells('TRUNCATE item', ARRAY['items truncate {"op":"truncate","table":"public.item"}'], 'TRUNCATE');

-- A row is told where it is: another key is another row.
INSERT INTO item VALUES (1, 'a', 1), (2, 'b', 2);
SELECT tells('UPDATE item SET id = id + 10', ARRAY[
    'items delete {"op":"delete","table":"public.item","key":{"id":1},"old":{"id":1,"name":"a","price":1.00},"moved":true}',
    'items delete {"op":"delete","table":"public.item","key":{"id":2},"old":{"id":2,"name":"b","price":2.00},"moved":true}',
    'items insert {"op":"insert","table":"public.item","key":{"id":11},"new":{"id":11,"name":"a","price":1.00},"moved":true}',
    'items insert {"op":"insert","table":"public.item","key":{"id":12},"new":{"id":12,"name":"b","price":2.00},"moved":true}'],
    'rows that get another key are told as deleted, and then as inserted');

-- Statements that do several things.
SELECT tells($$INSERT INTO item VALUES (11, 'x', 1), (13, 'c', 3) ON CONFLICT (id) DO UPDATE SET name = excluded.name$$, ARRAY[
    'items update {"op":"update","table":"public.item","key":{"id":11},"new":{"id":11,"name":"x","price":1.00},"old":{"id":11,"name":"a","price":1.00}}',
    'items insert {"op":"insert","table":"public.item","key":{"id":13},"new":{"id":13,"name":"c","price":3.00}}'],
    'INSERT ON CONFLICT DO UPDATE tells both');
SELECT tells($$INSERT INTO item VALUES (13, 'y', 1) ON CONFLICT DO NOTHING$$, '{}', 'ON CONFLICT DO NOTHING tells nothing');
SELECT tells($$WITH gone AS (DELETE FROM item WHERE id = 13 RETURNING *) UPDATE item SET price = 8 FROM gone WHERE item.id = 11$$, ARRAY[
    'items delete {"op":"delete","table":"public.item","key":{"id":13},"old":{"id":13,"name":"c","price":3.00}}',
    'items update {"op":"update","table":"public.item","key":{"id":11},"new":{"id":11,"name":"x","price":8.00},"old":{"id":11,"name":"x","price":1.00}}'], 'a WITH that writes');
DO $$
BEGIN
    IF current_setting('server_version_num')::integer < 150000 THEN
        CREATE TABLE merged AS SELECT 'skipped' AS result;
        RETURN;
    END IF;
    CREATE TABLE merged AS SELECT tells($merge$
        MERGE INTO item USING (VALUES (11, 'm'), (12, NULL), (14, 'n')) AS s(id, name) ON item.id = s.id
        WHEN MATCHED AND s.name IS NULL THEN DELETE WHEN MATCHED THEN UPDATE SET name = s.name
        WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.name, 0)$merge$, ARRAY[
        'items delete {"op":"delete","table":"public.item","key":{"id":12},"old":{"id":12,"name":"b","price":2.00}}',
        'items update {"op":"update","table":"public.item","key":{"id":11},"new":{"id":11,"name":"m","price":8.00},"old":{"id":11,"name":"x","price":8.00}}',
        'items insert {"op":"insert","table":"public.item","key":{"id":14},"new":{"id":14,"name":"n","price":0.00}}'], 'MERGE') AS result;
END
$$;
SELECT result FROM merged;

-- Writes from triggers and functions; a rolled back one.
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE);
SELECT eventgate.watch('child', 'children');
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (5, 1);
SELECT tells('DELETE FROM parent', ARRAY[
    'children delete {"op":"delete","table":"public.child","key":{"id":5},"old":{"id":5,"parent":1}}'], 'ON DELETE CASCADE');
CREATE FUNCTION add_child() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO child VALUES (NEW.id * 10, NEW.id);
    RETURN NULL;
END
$$;
CREATE TRIGGER add_child AFTER INSERT ON parent FOR EACH ROW EXECUTE FUNCTION add_child();
SELECT tells('INSERT INTO parent VALUES (2)', ARRAY[
    'children insert {"op":"insert","table":"public.child","key":{"id":20},"new":{"id":20,"parent":2}}'], 'what a trigger writes');
SELECT tells($$DO 'BEGIN INSERT INTO child VALUES (6, 2); RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END'$$,
    '{}', 'what is rolled back to a savepoint');
SET LOCAL session_replication_role = replica;
SELECT tells('INSERT INTO child VALUES (7, 99)', ARRAY[
    'children insert {"op":"insert","table":"public.child","key":{"id":7},"new":{"id":7,"parent":99}}'], 'session_replication_role = replica');
SET LOCAL session_replication_role = origin;
CREATE FUNCTION suppress() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN CASE WHEN NEW.id <> 7 THEN NEW END; END';
CREATE TRIGGER suppress BEFORE UPDATE ON child FOR EACH ROW EXECUTE FUNCTION suppress();
SELECT tells('UPDATE child SET parent = NULL', ARRAY[
    'children update {"op":"update","table":"public.child","key":{"id":20},"new":{"id":20,"parent":null},"old":{"id":20,"parent":2}}'],
    'an UPDATE some rows of which a trigger suppresses');

-- Which operations, which columns, which rows.
CREATE TABLE task (id int PRIMARY KEY, state text, note text);
SELECT eventgate.watch('task', 'new', operations => '{INSERT}');
SELECT eventgate.watch('task', 'state', operations => '{update}', columns => '{state}');
SELECT eventgate.watch('task', 'open', condition => $$state = 'open'$$);
SELECT results_eq('SELECT * FROM eventgate.watched() WHERE "table" = ''task''::regclass', $$VALUES
    ('task'::regclass, 'new', '{insert}'::text[], NULL::text[], NULL::text, '{}'::regclass[]),
    ('task', 'open', '{insert,update,delete,truncate}', NULL, 'state = ''open''', '{}'),
    ('task', 'state', '{update}', '{state}', NULL, '{}')$$, 'watched()');
CREATE FUNCTION kinds(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM told();
    EXECUTE statement;
    RETURN (SELECT string_agg(concat_ws(' ', t.channel, t.type, t.data::json ->> 'moved'), ', ' ORDER BY t.channel, t.type) FROM told() AS t);
END
$$;
SELECT is(kinds($$INSERT INTO task VALUES (1, 'open', 'x')$$), 'new insert, open insert', 'INSERT for two of three');
SELECT is(kinds($$INSERT INTO task VALUES (2, NULL, 'x'), (3, 'done', 'x')$$), 'new insert, new insert',
    'rows that do not fulfil the condition, or leave it unknown');
SELECT is(kinds($$UPDATE task SET note = 'y' WHERE id = 1$$), 'open update', 'an UPDATE of other columns than the given ones');
SELECT is(kinds($$UPDATE task SET note = 'y' WHERE id = 3$$), NULL, 'an UPDATE that concerns nobody');
SELECT is(kinds($$UPDATE task SET state = 'done' WHERE id = 1$$), 'open delete true, state update',
    'a row that does not fulfil the condition any more is told as deleted');
SELECT is(kinds($$UPDATE task SET state = 'open' WHERE id = 2$$), 'open insert true, state update',
    'a row that now fulfils it is told as inserted');
SELECT is(kinds('UPDATE task SET id = 4 WHERE id = 3'), 'state delete true, state insert true', 'another key matters, whatever the columns');
SELECT is(kinds('DELETE FROM task WHERE id = 4'), NULL, 'a DELETE of a row that does not fulfil the condition');
SELECT is(kinds('DELETE FROM task WHERE id = 2'), 'open delete', 'a DELETE of one that does');
SELECT is(kinds('TRUNCATE task'), 'open truncate', 'TRUNCATE where it is watched');

-- Conditions are those of a CHECK constraint, with the names as they were found when watch() was called.
CREATE SCHEMA other;
CREATE FUNCTION other.important(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$SELECT $1 LIKE '!%'$$;
SET LOCAL search_path = other, public;
SELECT eventgate.watch('task', 'important', operations => '{insert}', condition => 'important(task.note) -- they are');
SET LOCAL search_path = public;
SELECT is(kinds($$INSERT INTO task VALUES (1, 'done', '!'), (2, 'done', '')$$), 'important insert, new insert, new insert',
    'a function that is not found by the writer');
SELECT throws_ok($$SELECT eventgate.watch('task', 'x', condition => 'nothing = 1')$$, '42703', NULL, 'a condition on no column');
SELECT throws_ok($$SELECT eventgate.watch('task', 'x', condition => 'state')$$, '42804', NULL, 'a condition that is none');
SELECT throws_ok($$SELECT eventgate.watch('task', 'x', condition => '(SELECT true)')$$, '0A000', NULL, 'a condition with a query');
SELECT throws_ok($$SELECT eventgate.watch('task', 'x', condition => 'count(*) > 1')$$, '42803', NULL, 'a condition with an aggregate');
SELECT throws_ok($$SELECT eventgate.watch('task', 'x', condition => '')$$, '42601', NULL, 'an empty condition');
SELECT throws_ok($$SELECT eventgate.watch('task', 'x', condition => 'tableoid = 1')$$, '0A000', NULL, 'a condition on a system column');
SELECT throws_ok($$SELECT eventgate.watch('task', 'x', condition => 'task IS NOT NULL')$$, '0A000', NULL, 'a condition on the whole row');
SELECT throws_ok($$SELECT eventgate.watch('task', 'x', condition => 'true), CHECK (false')$$, NULL, NULL, 'a condition that is two');

-- watch() again, unwatch().
SELECT is(kinds($$SELECT eventgate.watch('task', 'new', operations => '{delete}')$$), NULL, 'watch() tells nothing by itself');
SELECT is(kinds($$INSERT INTO task VALUES (3, 'done', '')$$), NULL, 'a second watch() for the channel takes the place of the first');
SELECT is(kinds('DELETE FROM task WHERE id = 3'), 'new delete', 'which tells what it says');
SELECT is((SELECT operations FROM eventgate.watched() WHERE channel = 'new'), '{delete}', 'watched() knows it');
SELECT is((SELECT count(*)::integer FROM pg_trigger WHERE tgrelid = 'task'::regclass AND NOT tgisinternal), 7,
    'there are no more triggers than needed');
SELECT is(eventgate.unwatch('task', 'nothing'), 0, 'unwatch() of nothing');
SELECT is(eventgate.unwatch('task', 'new'), 1, 'unwatch() of one channel');
SELECT is(kinds('DELETE FROM task WHERE id = 2'), NULL, 'it is told no more');
SELECT is(kinds($$INSERT INTO task VALUES (5, 'open', '!')$$), 'important insert, open insert', 'the others still are');
SELECT is(eventgate.unwatch('task'), 3, 'unwatch() of a table');
SELECT is(kinds($$INSERT INTO task VALUES (6, 'open', '!')$$), NULL, 'nothing of it is told any more');
SELECT is_empty($$SELECT FROM eventgate.watched() WHERE "table" = 'task'::regclass$$, 'watched() lists it no more');
SELECT is((SELECT count(*)::integer FROM pg_trigger WHERE tgrelid = 'task'::regclass AND NOT tgisinternal), 0, 'no trigger is left');

-- COPY. Also what really is appended, in its order.
COPY item FROM stdin;
21	c	1
22	d	2
\.
SET CONSTRAINTS ALL IMMEDIATE;
SELECT results_eq($$SELECT channel, type, data ->> 'op', (data -> 'new' ->> 'id')::integer FROM eventgate.log ORDER BY pos$$,
    $$VALUES ('items' COLLATE "C", 'insert', 'insert', 21), ('items', 'insert', 'insert', 22)$$, 'COPY, and the commit appends it');
SET CONSTRAINTS ALL DEFERRED;

-- What is refused.
CREATE VIEW a_view AS SELECT * FROM item;
CREATE MATERIALIZED VIEW a_matview AS SELECT * FROM item;
CREATE TEMP TABLE a_temp (id int);
CREATE SEQUENCE a_sequence;
CREATE FOREIGN DATA WRAPPER none;
CREATE SERVER none FOREIGN DATA WRAPPER none;
CREATE FOREIGN TABLE a_foreign (id int) SERVER none;
SELECT throws_like($$SELECT eventgate.watch('a_view', 'x')$$, 'Only tables can be watched; public.a_view is a view.', 'a view');
SELECT throws_like($$SELECT eventgate.watch('a_matview', 'x')$$, 'Only tables can be watched; public.a_matview is a materialized view.', 'a materialized view');
SELECT throws_like($$SELECT eventgate.watch('a_sequence', 'x')$$, 'Only tables can be watched; public.a_sequence is a sequence.', 'a sequence');
SELECT throws_like($$SELECT eventgate.watch('item_pkey', 'x')$$, 'Only tables can be watched; public.item_pkey is an index.', 'an index');
SELECT throws_like($$SELECT eventgate.watch('a_foreign', 'x')$$, 'Only tables can be watched; public.a_foreign is a foreign table.', 'a foreign table');
SELECT throws_like($$SELECT eventgate.watch('a_temp', 'x')$$, 'The table a_temp is temporary%', 'a temporary table');
SELECT throws_like($$SELECT eventgate.watch('eventgate.log', 'x')$$, 'The tables of schema eventgate can''t be watched.', 'the log itself');
SELECT throws_like($$SELECT eventgate.watch('pg_class', 'x')$$, 'The tables of schema pg_catalog can''t be watched.', 'a catalog');
SELECT throws_ok($$SELECT eventgate.watch(NULL, 'x')$$, '42P01', NULL, 'no table');
SELECT throws_ok($$SELECT eventgate.watch(1::oid::regclass, 'x')$$, '42P01', NULL, 'a table that is none');
SELECT throws_ok(format('SELECT eventgate.watch(''item'', %L)', bad), '22023', NULL, 'the channel ' || quote_nullable(bad))
FROM unnest(ARRAY[NULL, '', 'a/*', 'a,b', 'a//b', '/a', 'a/', '..', E'a\nb', repeat('x', 201), 'a/{id', 'a/id}', 'a/{}', 'a/{{id}', '{id}/',
    repeat('x', 190) || '/{id}']) AS bad;
SELECT throws_ok($$SELECT eventgate.watch('item', 'a/{none}')$$, '42703', 'The table public.item has no column ''none''.', 'a channel of no column');
SELECT throws_ok($$SELECT eventgate.watch('item', 'a', columns => '{id,none}')$$, '42703', 'The table public.item has no column ''none''.', 'no such column');
SELECT throws_ok($$SELECT eventgate.watch('item', 'a', columns => '{}')$$, '22023', NULL, 'no columns at all');
SELECT throws_ok($$SELECT eventgate.watch('item', 'a', '{insert}', columns => '{id}')$$, '22023', NULL, 'columns without updates');
SELECT throws_ok(format('SELECT eventgate.watch(''item'', ''a'', %L)', bad), '22023', NULL, 'the operations ' || coalesce(bad, 'NULL'))
FROM unnest(ARRAY[NULL, '{}', '{insert,select}', '{NULL}']) AS bad;
SELECT results_eq('SELECT channel FROM eventgate.watched() WHERE "table" = ''item''::regclass', $$VALUES ('items')$$,
    'nothing refused is watched');

SELECT finish();
ROLLBACK;
