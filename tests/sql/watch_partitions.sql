-- watch() of partitioned tables, and of tables with children.
SET client_min_messages = warning;
BEGIN;
SELECT no_plan();

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
CREATE FUNCTION kinds(statement text, expected text, description text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM told();
    EXECUTE statement;
    RETURN is((SELECT string_agg(concat_ws(' ', t.channel, t.type, t.data::json -> 'key' ->> 'id',
            CASE WHEN t.data::json ->> 'moved' = 'true' THEN 'moved' END), ', ' ORDER BY n)
        FROM told() WITH ORDINALITY AS t(channel, type, data, n)), expected, description);
END
$$;

CREATE TABLE reading (id int, day int, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE reading_1 PARTITION OF reading FOR VALUES FROM (0) TO (10);
CREATE TABLE reading_2 PARTITION OF reading FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (day);
CREATE TABLE reading_21 (v text, dropped int, day int NOT NULL, id int NOT NULL);
ALTER TABLE reading_21 DROP COLUMN dropped;
ALTER TABLE reading_2 ATTACH PARTITION reading_21 FOR VALUES FROM (10) TO (20);
SELECT eventgate.watch('reading', 'day/{day}', condition => $$v <> 'no'$$);

SELECT tells($$INSERT INTO reading VALUES (1, 1, 'a'), (2, 11, 'b'), (3, 2, 'no')$$, ARRAY[
    'day/1 insert {"op":"insert","table":"public.reading","key":{"id":1,"day":1},"new":{"id":1,"day":1,"v":"a"}}',
    'day/11 insert {"op":"insert","table":"public.reading","key":{"id":2,"day":11},"new":{"id":2,"day":11,"v":"b"}}'], 'through the table');
SELECT kinds($$INSERT INTO reading_1 VALUES (4, 1, 'a')$$, 'day/1 insert 4', 'straight to a partition');
SELECT kinds($$INSERT INTO reading_2 VALUES (5, 12, 'a')$$, 'day/12 insert 5', 'straight to a partitioned partition');
SELECT tells($$INSERT INTO reading_21 (id, day, v) VALUES (6, 13, 'a')$$, ARRAY[
    'day/13 insert {"op":"insert","table":"public.reading","key":{"id":6,"day":13},"new":{"v":"a","day":13,"id":6}}'],
    'straight to a partition of a partition, whose columns stand otherwise: the table''s name and key');
SELECT kinds($$UPDATE reading SET v = v || '!' WHERE id IN (1, 6)$$, 'day/1 update 1, day/13 update 6', 'UPDATE through the table');
SELECT kinds($$UPDATE reading_21 SET v = v || '!' WHERE id IN (1, 6)$$, 'day/13 update 6', 'UPDATE of a partition');
SELECT kinds($$UPDATE reading SET day = day + 10 WHERE id = 1$$, 'day/1 delete 1 moved, day/11 insert 1 moved', 'a row that goes to another partition');
SELECT kinds($$DELETE FROM reading_2 WHERE id = 5$$, 'day/12 delete 5', 'DELETE from a partition');
SELECT kinds($$DELETE FROM reading WHERE id = 6$$, 'day/13 delete 6', 'DELETE through the table');

-- Rows that move beside others that stay, in the order in which they come: old and new belong together.
INSERT INTO reading SELECT i, i % 20, 'v' || i FROM generate_series(100, 299) AS i;
SELECT count(*) FROM told();
UPDATE reading SET day = CASE WHEN id % 3 = 0 THEN (day + 10) % 20 ELSE day END, v = v || '+' WHERE id >= 100;
SELECT results_eq($$
    SELECT type, count(*)::integer, bool_and(CASE type
        WHEN 'update' THEN data::json -> 'new' ->> 'v' = (data::json -> 'old' ->> 'v') || '+' AND data::json -> 'new' ->> 'id' = data::json -> 'old' ->> 'id'
            AND channel = 'day/' || (data::json -> 'new' ->> 'day')
        WHEN 'delete' THEN channel = 'day/' || (data::json -> 'old' ->> 'day') AND data::json -> 'old' ->> 'v' NOT LIKE '%+'
        ELSE channel = 'day/' || (data::json -> 'new' ->> 'day') AND data::json -> 'new' ->> 'v' LIKE '%+' END)
    FROM told() GROUP BY type ORDER BY type COLLATE "C"$$, $$VALUES ('delete', 66, true), ('insert', 66, true), ('update', 134, true)$$,
    'many rows, a third of which go to another partition');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER refuse BEFORE INSERT ON reading_1 FOR EACH ROW WHEN (NEW.id = 2) EXECUTE FUNCTION refuse();
DELETE FROM reading WHERE id NOT IN (1, 2);
SELECT count(*) FROM told();
SELECT kinds($$UPDATE reading SET day = day - 10, v = v || '-' WHERE id = 2 OR id = 1$$, 'day/11 delete 2 moved, day/11 delete 1 moved, day/1 insert 1 moved',
    'where a trigger of the other partition refuses a row');
DROP TRIGGER refuse ON reading_1;
CREATE TABLE keyless (id int, day int) PARTITION BY RANGE (day);
CREATE TABLE keyless_1 PARTITION OF keyless FOR VALUES FROM (0) TO (10);
CREATE TABLE keyless_2 PARTITION OF keyless FOR VALUES FROM (10) TO (20);
CREATE TRIGGER refuse BEFORE INSERT ON keyless_1 FOR EACH ROW WHEN (NEW.id = 2) EXECUTE FUNCTION refuse();
INSERT INTO keyless VALUES (2, 11), (1, 11), (3, 11);
SELECT eventgate.watch('keyless', 'keyless');
SELECT kinds($$UPDATE keyless SET day = CASE id WHEN 2 THEN 1 ELSE 12 END$$,
    'keyless delete moved, keyless delete moved, keyless delete moved, keyless insert moved, keyless insert moved',
    'without a key, too: rows that do not belong together are not told as one');
SELECT is(eventgate.unwatch('keyless'), 1);

-- Partitions that come and go.
SELECT is((SELECT unseen FROM eventgate.watched()), '{}', 'all partitions are watched');
CREATE TABLE reading_3 PARTITION OF reading FOR VALUES FROM (20) TO (30);
SELECT is((SELECT unseen FROM eventgate.watched()), '{reading_3}', 'watched() names a partition that came later');
SELECT kinds($$INSERT INTO reading VALUES (30, 20, 'x')$$, 'day/20 insert 30', 'through the table it is told');
SELECT kinds($$INSERT INTO reading_3 VALUES (31, 20, 'x')$$, NULL, 'straight to it it is not');
SELECT eventgate.watch("table", channel, operations, columns, condition) FROM eventgate.watched() WHERE unseen <> '{}';
SELECT is((SELECT unseen FROM eventgate.watched()), '{}', 'until watch() is called again');
SELECT kinds($$INSERT INTO reading_3 VALUES (32, 20, 'x')$$, 'day/20 insert 32', 'then it is told');
SELECT kinds($$INSERT INTO reading VALUES (33, 20, 'x')$$, 'day/20 insert 33', 'and once');
ALTER TABLE reading DETACH PARTITION reading_3;
SELECT kinds($$INSERT INTO reading_3 VALUES (34, 20, 'x')$$, NULL, 'a detached partition is no part of the table');
ALTER TABLE reading ATTACH PARTITION reading_3 FOR VALUES FROM (20) TO (30);
SELECT kinds($$INSERT INTO reading_3 VALUES (35, 20, 'x')$$, 'day/20 insert 35', 'attached again, it is');
DROP TABLE reading_3;
SELECT kinds($$INSERT INTO reading VALUES (36, 11, 'x')$$, 'day/11 insert 36', 'a dropped partition leaves nothing behind');

-- TRUNCATE.
SELECT eventgate.watch('reading', 'all');
SELECT eventgate.unwatch('reading', 'day/{day}');
SELECT tells('TRUNCATE reading_21', ARRAY['all truncate {"op":"truncate","table":"public.reading","partition":"public.reading_21"}'], 'TRUNCATE of a partition names it');
TRUNCATE reading;
SELECT results_eq('SELECT data FROM told()', $$VALUES ('{"op":"truncate","table":"public.reading"}'),
    ('{"op":"truncate","table":"public.reading","partition":"public.reading_1"}'),
    ('{"op":"truncate","table":"public.reading","partition":"public.reading_2"}'),
    ('{"op":"truncate","table":"public.reading","partition":"public.reading_21"}')$$, 'TRUNCATE of the table: the table, then its partitions');

-- What is refused.
SELECT throws_like($$SELECT eventgate.watch('reading_21', 'x')$$, 'The table public.reading_21 is a part of public.reading_2, through which it can be written unnoticed.', 'a partition');
CREATE FOREIGN DATA WRAPPER none;
CREATE SERVER none FOREIGN DATA WRAPPER none;
CREATE TABLE afar (id int, day int) PARTITION BY RANGE (day);
CREATE FOREIGN TABLE afar_1 PARTITION OF afar FOR VALUES FROM (0) TO (10) SERVER none;
SELECT throws_like($$SELECT eventgate.watch('afar', 'x')$$, 'The table public.afar can''t be watched: its part public.afar_1 is a foreign table.', 'a foreign partition');
SELECT is(eventgate.unwatch('reading'), 1, 'unwatch()');
SELECT is((SELECT count(*)::integer FROM pg_trigger WHERE tgname LIKE 'eventgate%'), 0, 'leaves no trigger on any partition');

-- Inheritance.
CREATE TABLE animal (id int PRIMARY KEY, name text);
CREATE TABLE bird (wings int) INHERITS (animal);
SELECT eventgate.watch('animal', 'animals');
SELECT tells($$INSERT INTO bird VALUES (1, 'owl', 2)$$, ARRAY[
    'animals insert {"op":"insert","table":"public.animal","key":{"id":1},"new":{"id":1,"name":"owl","wings":2}}'], 'straight to a child');
SELECT tells($$UPDATE animal SET name = 'eagle'$$, ARRAY[
    'animals update {"op":"update","table":"public.animal","key":{"id":1},"new":{"id":1,"name":"eagle"},"old":{"id":1,"name":"owl"}}'], 'a child through its parent');
SELECT throws_like($$SELECT eventgate.watch('bird', 'x')$$, 'The table public.bird is a part of public.animal%', 'a child by itself');

SELECT finish();
ROLLBACK;
