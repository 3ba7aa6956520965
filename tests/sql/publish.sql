-- publish(), in one session: what it takes, what it refuses, and when and how it appends.
BEGIN;
SELECT no_plan();

CREATE FUNCTION pg_temp.log_is(expected text, what text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT is((SELECT string_agg(format('%s:%s', channel, data), ' ' ORDER BY pos) FROM eventgate.log), expected, what);
$$;
-- As a commit does; the transaction goes on.
CREATE FUNCTION pg_temp.as_commit() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    SET CONSTRAINTS ALL IMMEDIATE;
    SET CONSTRAINTS ALL DEFERRED;
END
$$;

SELECT lives_ok($$SELECT eventgate.publish('a', '1'), eventgate.publish('b', '2'), eventgate.publish('a', '3')$$, 'publishes');
SELECT pg_temp.log_is(NULL, 'nothing is in the log before the commit');
SELECT pg_temp.as_commit();
SELECT pg_temp.log_is('a:1 b:2 a:3', 'the commit appends all in their order');
SELECT results_eq('SELECT pos FROM eventgate.log ORDER BY pos', 'VALUES (1::bigint), (2), (3)', 'positions begin with 1');
SELECT is(eventgate.position(), 3::bigint, 'position() is the last one');
SELECT is_empty('SELECT FROM eventgate.pending', 'nothing stays pending');
SELECT is_empty('SELECT FROM eventgate.publishing', 'nobody stays publishing');
SELECT results_eq('SELECT name, pruned FROM eventgate.channel ORDER BY name', $$VALUES ('a' COLLATE "C", 0::bigint), ('b', 0)$$,
    'the channels are known');

DELETE FROM eventgate.log;
SELECT eventgate.publish('x', '{"b": 1.10,  "a":1e400, "a": "\ud83d\ude00 \u0000"}', type => 'made', trace => '00-ab-cd-01');
SELECT pg_temp.as_commit();
SELECT results_eq('SELECT type, trace, bytes, data::text FROM eventgate.log',
    $$VALUES ('made', '00-ab-cd-01', 51, '{"b": 1.10,  "a":1e400, "a": "\ud83d\ude00 \u0000"}')$$, 'data is kept byte for byte');
SELECT ok("time" BETWEEN now() AND clock_timestamp(), 'time is that of the commit') FROM eventgate.log;

-- Savepoints.
DELETE FROM eventgate.log;
SAVEPOINT one;
SELECT eventgate.publish('s', '1');
ROLLBACK TO one;
SELECT eventgate.publish('s', '2');
SAVEPOINT two;
SELECT eventgate.publish('s', '3');
ROLLBACK TO two;
SELECT eventgate.publish('s', '4');
RELEASE two;
SELECT pg_temp.as_commit();
SELECT pg_temp.log_is('s:2 s:4', 'what was rolled back to a savepoint is not published, all else is');
SAVEPOINT three;
SELECT eventgate.publish('s', '5');
ROLLBACK TO three;
SELECT pg_temp.as_commit();
SELECT pg_temp.log_is('s:2 s:4', 'nor when it was all');
DO $$
BEGIN
    PERFORM eventgate.publish('s', '6');
    RAISE 'undone';
EXCEPTION
    WHEN raise_exception THEN PERFORM eventgate.publish('s', '7');
END
$$;
SELECT pg_temp.as_commit();
SELECT pg_temp.log_is('s:2 s:4 s:7', 'an exception block is a savepoint, too');

-- Immediate constraints, and a replica's session.
DELETE FROM eventgate.log;
SET CONSTRAINTS ALL IMMEDIATE;
SELECT eventgate.publish('i', '1'), eventgate.publish('i', '2');
SELECT pg_temp.log_is('i:1 i:2', 'SET CONSTRAINTS ALL IMMEDIATE: appended with the statement');
SET CONSTRAINTS ALL DEFERRED;
SET LOCAL session_replication_role = replica;
SELECT eventgate.publish('i', '3');
SELECT pg_temp.as_commit();
SELECT pg_temp.log_is('i:1 i:2 i:3', 'session_replication_role = replica loses nothing');
SET LOCAL session_replication_role = origin;

DELETE FROM eventgate.log;
SELECT eventgate.publish('f', '1');
SET LOCAL eventgate.batch = 'forged';
SELECT eventgate.publish('f', '2');
SELECT pg_temp.as_commit();
SET LOCAL eventgate.batch = '';
SELECT eventgate.publish('f', '3');
SELECT pg_temp.as_commit();
SELECT pg_temp.log_is('f:1 f:2 f:3', 'nothing is lost over a setting that is forged');

-- From triggers, and from deferred ones.
DELETE FROM eventgate.log;
CREATE TABLE parent (id integer PRIMARY KEY);
CREATE TABLE child (parent integer REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION pg_temp.tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM eventgate.publish(TG_ARGV[0], to_json(NEW));
    RETURN NULL;
END
$$;
CREATE TRIGGER now_ AFTER INSERT ON child FOR EACH ROW EXECUTE FUNCTION pg_temp.tell('now');
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON child DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION pg_temp.tell('commit');
INSERT INTO child VALUES (1), (2);
INSERT INTO parent VALUES (1), (2);
SELECT pg_temp.as_commit();
SELECT pg_temp.log_is('now:{"parent":1} now:{"parent":2} commit:{"parent":1} commit:{"parent":2}',
    'triggers may publish, deferred ones, too');
SAVEPOINT keyless;
SELECT eventgate.publish('now', '1');
INSERT INTO child VALUES (3);
SELECT throws_ok('SET CONSTRAINTS ALL IMMEDIATE', '23503', NULL, 'a deferred foreign key is checked after publish()');
ROLLBACK TO keyless;

-- Names.
SELECT lives_ok(format('SELECT eventgate.publish(%L, ''1'')', name), 'a name: ' || left(name, 20))
FROM unnest(ARRAY['.a', '...', 'a/..b/c', 'ä/😀', 'a b"''\', repeat('ä', 100), 'select']) AS name;
SELECT throws_ok(format('SELECT eventgate.publish(%L, ''1'')', name), '22023', NULL, 'no name: ' || coalesce(left(name, 20), 'NULL'))
FROM unnest(ARRAY[NULL, '', '/', 'a/', '/a', 'a//b', '.', '..', 'a/.', '../a', 'a/../b', 'a*', '**', 'a,b', E'a\x01', E'a\x7f',
    E'a\n', repeat('ä', 101)]) AS name;
SELECT throws_ok($$SELECT eventgate.publish('a//b', '1')$$, '22023', 'The channel''s name ''a//b'' has an empty level.',
    'the error says what is wrong');

-- The other arguments.
SELECT throws_ok($$SELECT eventgate.publish('a', NULL)$$, '22004', NULL, 'no data');
SELECT throws_ok($$SELECT eventgate.publish('a', '1', type => E'a\nb')$$, '22023', 'The type has a control character.', 'a type');
SELECT throws_ok($$SELECT eventgate.publish('a', '1', type => '')$$, '22023', 'The type is empty.', 'an empty type');
SELECT throws_ok($$SELECT eventgate.publish('a', '1', type => repeat('t', 201))$$, '22023', 'The type is longer than 200 bytes.',
    'a long type');
SELECT throws_ok($$SELECT eventgate.publish('a', '1', key => repeat('t', 256))$$, '22023', 'The key is longer than 255 bytes.',
    'a long key');
SELECT throws_ok($$SELECT eventgate.publish('a', '1', trace => E'\t')$$, '22023', 'The trace has a control character.', 'a trace');

-- Sizes.
SELECT lives_ok($$SELECT eventgate.publish('a', to_json(repeat('x', 1048574)))$$, 'a MiB is allowed');
SELECT throws_ok($$SELECT eventgate.publish('a', to_json(repeat('x', 1048575)))$$, '54000',
    'The data has 1048577 bytes; at most 1048576 are allowed.', 'a byte more is not');
SELECT eventgate.configure('max_bytes', '10000');
SELECT throws_ok($$SELECT eventgate.publish('a', to_json(repeat('x', 9999)))$$, '54000',
    'The data has 10001 bytes; at most 10000 are allowed.', 'the bound is a setting');

-- synchronous_commit.
SET LOCAL synchronous_commit = off;
SELECT eventgate.publish('a', '1');
SELECT pg_temp.as_commit();
SELECT is(current_setting('synchronous_commit'), 'on', 'a commit that appends is not asynchronous');
SET LOCAL synchronous_commit = local;
SELECT eventgate.publish('a', '1');
SELECT pg_temp.as_commit();
SELECT is(current_setting('synchronous_commit'), 'local', 'else it is as the session wants it');

SELECT finish();
ROLLBACK;
