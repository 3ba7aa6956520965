-- watch(): channels made of columns, bulk changes, sizes, and tables of every kind.
SET client_min_messages = error;
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
-- The same without data: `moved` where it is set.
CREATE FUNCTION kinds(statement text, expected text, description text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM told();
    EXECUTE statement;
    RETURN is((SELECT string_agg(concat_ws(' ', t.channel, t.type, CASE WHEN t.data::json ->> 'moved' = 'true' THEN 'moved' END),
        ', ' ORDER BY n) FROM told() WITH ORDINALITY AS t(channel, type, data, n)), expected, description);
END
$$;

-- Channels made of columns.
CREATE TABLE orders (id int PRIMARY KEY, customer text, region text, note text);
SELECT eventgate.watch('orders', 'orders/{customer}');
SELECT kinds($$INSERT INTO orders VALUES (1, 'ann'), (2, 'bob')$$, 'orders/ann insert, orders/bob insert', 'each row in its channel');
SELECT tells($$UPDATE orders SET customer = 'bob' WHERE id = 1$$, ARRAY[
    'orders/ann delete {"op":"delete","table":"public.orders","key":{"id":1},"old":{"id":1,"customer":"ann","region":null,"note":null},"moved":true}',
    'orders/bob insert {"op":"insert","table":"public.orders","key":{"id":1},"new":{"id":1,"customer":"bob","region":null,"note":null},"moved":true}'],
    'a row that moves is told in both channels, and in each only what belongs there');
SELECT kinds($$UPDATE orders SET note = 'x'$$, 'orders/bob update, orders/bob update', 'a row that stays');
SELECT kinds($$UPDATE orders SET note = 'y', customer = CASE id WHEN 1 THEN 'eve' ELSE customer END$$,
    'orders/bob delete moved, orders/bob update, orders/eve insert moved', 'some move, some stay: first those that go');
SELECT kinds($$UPDATE orders SET customer = NULL WHERE id = 1$$, 'orders/eve delete moved, orders/%null insert moved', 'to NULL');
SELECT kinds($$UPDATE orders SET note = 'z' WHERE id = 1$$, 'orders/%null update', 'NULL is a place like others');
SELECT eventgate.watch('orders', 'orders/{customer}', columns => '{note}');
SELECT kinds($$UPDATE orders SET customer = 'ann', region = 'x' WHERE id = 1$$, 'orders/%null delete moved, orders/ann insert moved',
    'a move is told whatever the columns that matter');
SELECT kinds($$UPDATE orders SET region = 'y' WHERE id = 1$$, NULL, 'which another column is not');
SELECT eventgate.watch('orders', 'orders/{customer}');
SELECT kinds('TRUNCATE orders', 'orders/%all truncate', 'TRUNCATE concerns all of them');

-- No value keeps a statement from working.
CREATE FUNCTION channel_of(value text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM told();
    INSERT INTO orders VALUES (1, value);
    DELETE FROM orders;
    RETURN (SELECT string_agg(DISTINCT t.channel, ' and ') FROM told() AS t);
END
$$;
SELECT is(channel_of(given), 'orders/' || expected, 'the channel of ' || quote_nullable(left(given, 20)))
FROM (VALUES ('plain', 'plain'), (NULL, '%null'), ('', '%empty'), (' ', ' '), ('a/b', 'a%2Fb'), ('*', '%2A'), ('a,b', 'a%2Cb'), ('100%', '100%25'),
    ('%null', '%25null'), ('%2F', '%252F'), ('.', '%2E'), ('..', '%2E%2E'), ('...', '...'), ('.a', '.a'), (E'a\tb\n', 'a%09b%0A'), (E'\x7f', '%7F'),
    ('Grüße', 'Grüße'), ('日本', '日本'), ('"''\{}', '"''\{}'), ('/', '%2F'),
    (repeat('x', 193), repeat('x', 193)), (repeat('x', 194), '%md5' || md5(repeat('x', 194))), (repeat('ü', 97), '%md5' || md5(repeat('ü', 97))),
    (repeat('/', 65), '%md5' || md5(repeat('/', 65))), (repeat('long', 1000000), '%md5' || md5(repeat('long', 1000000))))
    AS t(given, expected);
SELECT is(eventgate.name_problem(channel_of(chr(n))), NULL, 'the channel of character ' || n)
FROM generate_series(1, 127) AS n WHERE eventgate.name_problem(channel_of(chr(n))) IS NOT NULL;
SELECT is((SELECT count(DISTINCT channel_of(chr(n)))::integer FROM generate_series(1, 300) AS n), 300, 'different values have different channels');

SELECT eventgate.watch('orders', '{region}{customer}/x{{y}}.{id}');
SELECT is(channel_of('/'), '%null%2F/x{y}.1 and orders/%2F', 'several columns, and braces');
SELECT eventgate.unwatch('orders', '{region}{customer}/x{{y}}.{id}');
SELECT eventgate.watch('orders', repeat('p', 80) || '/{customer}/{region}');
SELECT kinds(format('INSERT INTO orders VALUES (1, ''c'', %L)', repeat('r', 150)),
    'orders/c insert, ' || repeat('p', 80) || '/c/%md5' || md5(repeat('r', 150)) || ' insert', 'only long values give way');
SELECT eventgate.unwatch('orders', repeat('p', 80) || '/{customer}/{region}');
DELETE FROM orders;

-- Bulk changes.
SELECT eventgate.configure('bulk_limit', '3');
SELECT eventgate.watch('orders', 'all');
SELECT eventgate.watch('orders', 'north', condition => $$region = 'n'$$);
SELECT kinds($$INSERT INTO orders SELECT i, 'a', 'n' FROM generate_series(1, 3) AS i$$,
    'orders/a insert, orders/a insert, orders/a insert, all insert, all insert, all insert, north insert, north insert, north insert',
    'as many rows as the limit');
SELECT tells($$INSERT INTO orders SELECT i, CASE WHEN i < 6 THEN 'a' ELSE 'b' END, CASE WHEN i < 6 THEN 's' ELSE 'n' END FROM generate_series(4, 9) AS i$$, ARRAY[
    'orders/a bulk {"op":"insert","table":"public.orders","count":2}',
    'orders/b bulk {"op":"insert","table":"public.orders","count":4}',
    'all bulk {"op":"insert","table":"public.orders","count":6}',
    'north bulk {"op":"insert","table":"public.orders","count":4}'], 'more of them: one event for each channel');
SELECT kinds($$INSERT INTO orders SELECT i, 'c', CASE i WHEN 11 THEN 'n' ELSE 's' END FROM generate_series(10, 13) AS i$$,
    'orders/c bulk, all bulk, north insert', 'what the condition leaves is not more than the limit');
SELECT kinds($$INSERT INTO orders SELECT i, 'd' || i FROM generate_series(14, 17) AS i$$, 'orders/%all bulk, all bulk', 'more channels than the limit');
SELECT tells($$UPDATE orders SET customer = 'a', note = 'x' WHERE id <= 9$$, ARRAY[
    'orders/a bulk {"op":"update","table":"public.orders","count":9}',
    'orders/b bulk {"op":"update","table":"public.orders","count":4}',
    'all bulk {"op":"update","table":"public.orders","count":9}',
    'north bulk {"op":"update","table":"public.orders","count":7}'], 'a bulk UPDATE that moves rows tells both channels');
SELECT kinds($$UPDATE orders SET customer = 'a', note = 'x' WHERE id <= 9$$, NULL, 'a bulk UPDATE that changes nothing');
SELECT kinds($$UPDATE orders SET customer = 'a', note = CASE WHEN id IN (4, 5) THEN 'y' ELSE 'x' END WHERE id <= 9$$,
    'orders/a update, orders/a update, all update, all update', 'a bulk UPDATE that changes few rows');
SELECT kinds($$UPDATE orders SET region = CASE region WHEN 'n' THEN 's' ELSE 'n' END WHERE id <= 9$$, 'orders/a bulk, all bulk, north bulk', 'a bulk UPDATE of what the condition is on');
SELECT tells($$UPDATE orders SET customer = 'e' || id WHERE id > 13$$, ARRAY[
    'orders/%all bulk {"op":"update","table":"public.orders","count":4}',
    'all bulk {"op":"update","table":"public.orders","count":4}'], 'a bulk UPDATE that moves rows between more channels than the limit');
SELECT kinds('DELETE FROM orders WHERE id <= 13', 'orders/a bulk, orders/c bulk, all bulk, north delete, north delete, north delete', 'a bulk DELETE');
SELECT eventgate.unwatch('orders', 'all'), eventgate.unwatch('orders', 'north');
SELECT eventgate.configure('bulk_limit', '1000');
DELETE FROM orders;

-- Sizes.
SELECT eventgate.configure('max_bytes', '9000');
SELECT tells($$INSERT INTO orders VALUES (1, 'a', 'n', repeat('x', 9000))$$, ARRAY[
    'orders/a insert {"op":"insert","table":"public.orders","key":{"id":1},"truncated":true}'], 'a row that is too large is told by its key');
SELECT kinds($$UPDATE orders SET note = 'y'$$, 'orders/a update', 'an UPDATE of such a row');
SELECT tells($$UPDATE orders SET customer = 'b', note = repeat('x', 9000)$$, ARRAY[
    'orders/a delete {"op":"delete","table":"public.orders","key":{"id":1},"old":{"id":1,"customer":"a","region":"n","note":"y"},"moved":true}',
    'orders/b insert {"op":"insert","table":"public.orders","key":{"id":1},"moved":true,"truncated":true}'], 'one that moves');
SELECT kinds($$INSERT INTO orders SELECT i, 'c', NULL, repeat('x', 100) FROM generate_series(10, 109) AS i$$,
    (SELECT string_agg('orders/c insert', ', ') FROM generate_series(1, 100)), 'many rows, none of which is too large');
SELECT eventgate.configure('max_bytes', '60');
CREATE TABLE wide (key text PRIMARY KEY, fill text);
SELECT eventgate.watch('wide', 'wide');
SELECT tells($$INSERT INTO wide VALUES (repeat('k', 100), repeat('x', 9000))$$, ARRAY['wide insert {"op":"insert","table":"public.wide","truncated":true}'],
    'a key that is too large');
SELECT eventgate.configure('max_bytes', '1048576');

-- Tables without a key.
CREATE TABLE loose (a int, b text);
SELECT eventgate.watch('loose', 'loose/{b}');
SELECT tells($$INSERT INTO loose VALUES (1, 'x'), (1, 'x')$$, ARRAY[
    'loose/x insert {"op":"insert","table":"public.loose","new":{"a":1,"b":"x"}}',
    'loose/x insert {"op":"insert","table":"public.loose","new":{"a":1,"b":"x"}}'], 'without a key: INSERT of equal rows');
SELECT tells($$UPDATE loose SET a = 2 WHERE ctid = '(0,1)'$$, ARRAY[
    'loose/x update {"op":"update","table":"public.loose","new":{"a":2,"b":"x"},"old":{"a":1,"b":"x"}}'], 'without a key: UPDATE');
SELECT kinds($$UPDATE loose SET a = 2$$, 'loose/x update', 'without a key: the rows that change');
SELECT kinds($$DELETE FROM loose$$, 'loose/x delete, loose/x delete', 'without a key: DELETE');
CREATE UNIQUE INDEX loose_b ON loose (b, a);
ALTER TABLE loose ALTER b SET NOT NULL, ALTER a SET NOT NULL, REPLICA IDENTITY USING INDEX loose_b;
SELECT tells($$INSERT INTO loose VALUES (1, 'x')$$, ARRAY[
    'loose/x insert {"op":"insert","table":"public.loose","key":{"b":"x","a":1},"new":{"a":1,"b":"x"}}'], 'the key that REPLICA IDENTITY names');
ALTER TABLE loose ADD PRIMARY KEY (a);
SELECT tells($$DELETE FROM loose$$, ARRAY[
    'loose/x delete {"op":"delete","table":"public.loose","key":{"a":1},"old":{"a":1,"b":"x"}}'], 'a primary key that came later');
CREATE TABLE swap (id int PRIMARY KEY DEFERRABLE, v text);
SELECT eventgate.watch('swap', 'swap');
INSERT INTO swap VALUES (1, 'a'), (2, 'b');
SELECT kinds('UPDATE swap SET id = 3 - id', 'swap delete moved, swap delete moved, swap insert moved, swap insert moved',
    'keys that are swapped: whoever follows the events has both rows in the end');

-- Names.
CREATE SCHEMA "Odd ""schema";
CREATE TABLE "Odd ""schema"."a.b""c{d}" ("i d" int, "ta""g}" text, "eventgate_rows" int, "TG_OP" text, n int, o int, "c" int, "select" int, PRIMARY KEY ("i d", "ta""g}"));
SELECT eventgate.watch('"Odd ""schema"."a.b""c{d}"', 'odd/{ta"g}}}/{i d}', columns => ARRAY['ta"g}', 'select'], condition => '"select" > 0 AND eventgate_rows > 0 AND "TG_OP" = ''x''');
SELECT tells($$INSERT INTO "Odd ""schema"."a.b""c{d}" VALUES (1, 't', 1, 'x', 1, 1, 1, 1)$$, ARRAY[
    'odd/t/1 insert {"op":"insert","table":"\"Odd \"\"schema\".\"a.b\"\"c{d}\"","key":{"i d":1,"ta\"g}":"t"},"new":{"i d":1,"ta\"g}":"t","eventgate_rows":1,"TG_OP":"x","n":1,"o":1,"c":1,"select":1}}'],
    'odd names');
SELECT kinds($$UPDATE "Odd ""schema"."a.b""c{d}" SET n = 2$$, NULL, 'odd names: columns that do not matter');
SELECT kinds($$UPDATE "Odd ""schema"."a.b""c{d}" SET "select" = 2, "TG_OP" = 'y'$$, 'odd/t/1 delete moved', 'odd names: the condition');
CREATE TABLE "eventgate row" ("eventgate row" int PRIMARY KEY, looked int);
SELECT eventgate.watch('"eventgate row"', 'mine/{eventgate row}', columns => '{looked}', condition => '"eventgate row" > 0');
SELECT tells('INSERT INTO "eventgate row" VALUES (1, 2)', ARRAY[
    'mine/1 insert {"op":"insert","table":"public.\"eventgate row\"","key":{"eventgate row":1},"new":{"eventgate row":1,"looked":2}}'], 'a column called as a name of ours');

-- Types.
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN posint AS int CHECK (value > 0);
CREATE TABLE typed (id posint PRIMARY KEY, m mood, p pair, a int[], ps pair[], j jsonb, js json, x xml, t timestamptz, b bytea, f float8, i interval, r int4range,
    n numeric, twice int GENERATED ALWAYS AS (id * 2) STORED, pt point);
SELECT eventgate.watch('typed', 'typed/{m}/{twice}/{t}', columns => '{m,js,x,pt,twice}', condition => $$m = 'ok' AND (j ->> 'a') = '1' AND 2 = ANY (a) AND (p).a = 7$$);
SET LOCAL timezone = 'America/New_York';
SET LOCAL datestyle = 'German';
SET LOCAL intervalstyle = 'sql_standard';
SET LOCAL bytea_output = 'escape';
SET LOCAL extra_float_digits = -10;
SELECT tells($$INSERT INTO typed VALUES (3, 'ok', (7, 'q"'), '{1,2}', ARRAY[(1, 'z')::pair], '{"b": 2, "a": 1}', '{"b": 2.50,  "a":1}', '<a/>', '2026-01-31 12:00:00+00', '\x00ff', 0.1::float8 + 0.2, '1 day 02:00', '[1,5)',
    12345678901234567890.10, DEFAULT, '(1,2)')$$, ARRAY[
    'typed/ok/6/2026-01-31 12:00:00+00 insert {"op":"insert","table":"public.typed","key":{"id":3},"new":{"id":3,"m":"ok","p":{"a":7,"b":"q\""},"a":[1,2],"ps":[{"a":1,"b":"z"}],"j":{"a": 1, "b": 2},"js":{"b": 2.50,  "a":1},"x":"<a/>","t":"2026-01-31T12:00:00+00:00","b":"\\x00ff","f":0.30000000000000004,"i":"1 day 02:00:00","r":"[1,5)","n":12345678901234567890.10,"twice":6,"pt":"(1,2)"}}'],
    'types of all kinds, told the same whatever the session''s settings are');
SELECT is(current_setting('timezone'), 'America/New_York', 'which are left as they were');
SELECT kinds($$UPDATE typed SET f = 2$$, NULL, 'columns of types without equality: no change');
SELECT kinds($$UPDATE typed SET js = '{}'$$, 'typed/ok/6/2026-01-31 12:00:00+00 update', 'columns of types without equality: a change');
SELECT kinds($$UPDATE typed SET id = 4$$, 'typed/ok/6/2026-01-31 12:00:00+00 delete moved, typed/ok/8/2026-01-31 12:00:00+00 insert moved', 'a generated column in the channel');

-- What changes after watch().
CREATE TABLE later (id int PRIMARY KEY, kind text, state text);
SELECT eventgate.watch('later', 'later/{kind}', columns => '{state}', condition => $$state <> 'hidden'$$);
SELECT eventgate.watch('later', 'later');
INSERT INTO later VALUES (1, 'k', 's');
ALTER TABLE later ADD COLUMN more int;
SELECT tells('UPDATE later SET more = 5', ARRAY[
    'later update {"op":"update","table":"public.later","key":{"id":1},"new":{"id":1,"kind":"k","state":"s","more":5},"old":{"id":1,"kind":"k","state":"s","more":null}}'],
    'a column that is added');
ALTER TABLE later ALTER more TYPE text;
ALTER TABLE later ALTER id TYPE bigint;
SELECT kinds('DELETE FROM later', 'later/k delete, later delete', 'DELETE after it');
ALTER TABLE later RENAME id TO nr;
ALTER TABLE later DROP COLUMN more;
ALTER TABLE later RENAME TO latest;
CREATE SCHEMA moved;
ALTER TABLE latest SET SCHEMA moved;
SELECT tells($$INSERT INTO moved.latest VALUES (1, 'k', 's')$$, ARRAY[
    'later/k insert {"op":"insert","table":"moved.latest","key":{"nr":1},"new":{"nr":1,"kind":"k","state":"s"}}',
    'later insert {"op":"insert","table":"moved.latest","key":{"nr":1},"new":{"nr":1,"kind":"k","state":"s"}}'],
    'a table and a key column that are renamed, and a column that is dropped');
ALTER TABLE moved.latest RENAME state TO status;
SELECT tells($$INSERT INTO moved.latest VALUES (2, 'k', 's'), (3, 'k', 'hidden')$$, ARRAY[
    'later/%all bulk {"op":"insert","table":"moved.latest","count":2,"failed":true}',
    'later insert {"op":"insert","table":"moved.latest","key":{"nr":2},"new":{"nr":2,"kind":"k","status":"s"}}',
    'later insert {"op":"insert","table":"moved.latest","key":{"nr":3},"new":{"nr":3,"kind":"k","status":"hidden"}}'],
    'a column of the condition is renamed: what can''t be told is counted, and nothing of the rows is told');
SELECT kinds('UPDATE moved.latest SET kind = ''l'' WHERE nr = 2', 'later/%all bulk, later update', 'the same for UPDATE');
SELECT kinds('DELETE FROM moved.latest WHERE nr = 2', 'later/%all bulk, later delete', 'the same for DELETE');
SELECT eventgate.watch('moved.latest', 'later/{kind}', columns => '{status}', condition => $$status <> 'hidden'$$);
SELECT kinds('UPDATE moved.latest SET status = ''t'' WHERE nr = 3', 'later/k insert moved, later update', 'watch() again mends it');
ALTER TABLE moved.latest DROP COLUMN kind;
SELECT kinds('UPDATE moved.latest SET status = ''u'' WHERE nr = 3', 'later/%all bulk, later update', 'a column of the channel is dropped');
DROP TABLE moved.latest;
SELECT is_empty($$SELECT FROM eventgate.watched() WHERE channel LIKE 'later%'$$, 'a dropped table is not watched');
SELECT eventgate.watch('loose', 'other');
SELECT is_empty($$SELECT FROM eventgate.watching WHERE channel LIKE 'later%'$$, 'and is forgotten with the next watch()');
DROP TABLE loose;
SELECT eventgate.publish('x', '1');
SET CONSTRAINTS ALL IMMEDIATE;
SET CONSTRAINTS ALL DEFERRED;

-- A condition that fails.
CREATE TABLE fails (id int PRIMARY KEY, d int);
SELECT eventgate.watch('fails', 'fails', condition => '1 / d > 0');
SELECT tells('INSERT INTO fails VALUES (1, 1), (2, 0)', ARRAY['fails bulk {"op":"insert","table":"public.fails","count":2,"failed":true}'],
    'a condition that fails does not fail the statement');
SELECT kinds('INSERT INTO fails VALUES (3, 1)', 'fails insert', 'and nothing is broken after it');

SELECT finish();
ROLLBACK;
