-- Idempotency keys of publish() and append(), in one session.
BEGIN;
SELECT no_plan();

CREATE FUNCTION pg_temp.log_is(expected text, what text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT is((SELECT string_agg(format('%s:%s', channel, data), ' ' ORDER BY pos) FROM eventgate.log), expected, what);
$$;
-- The outcomes of append(), each with the data that its position has in the log.
CREATE FUNCTION pg_temp.append(publisher text, units integer[], datas text[], keys text[], channels text[] DEFAULT NULL,
    types text[] DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    outcomes text[];
    positions bigint[];
BEGIN
    SELECT array_agg(a.outcome ORDER BY a.item), array_agg(a.pos ORDER BY a.item) INTO outcomes, positions
    FROM eventgate.append(publisher, units, coalesce(channels, array_fill('c'::text, ARRAY[cardinality(datas)])), types,
        datas, keys, NULL) AS a;
    RETURN (SELECT string_agg(concat_ws('@', u.outcome, l.data), ' ' ORDER BY u.item)
        FROM unnest(outcomes, positions) WITH ORDINALITY AS u(outcome, pos, item)
            LEFT JOIN eventgate.log AS l ON l.pos = u.pos);
END
$$;

-- append()
SELECT is(pg_temp.append('p', '{1,2}', '{1,2}', NULL), 'appended@1 appended@2', 'without keys');
SELECT is(pg_temp.append('p', '{1,2}', '{1,2}', '{NULL,NULL}'), 'appended@1 appended@2', 'with NULL for keys');
SELECT is(pg_temp.append('p', '{}', '{}', '{}', '{}'), NULL, 'nothing at all');
DELETE FROM eventgate.log;
SELECT is(pg_temp.append('p', '{1,2,3}', '{1,2,3}', '{k1,k2,NULL}'), 'appended@1 appended@2 appended@3', 'new keys');
SELECT is(pg_temp.append('p', '{1,2,3}', '{1,2,4}', '{k1,k2,NULL}'), 'replayed@1 replayed@2 appended@4', 'the same again');
SELECT is(pg_temp.append('p', '{1,2,3}', '{5,2,5}', '{k1,k2,NULL}'), 'conflict replayed@2 appended@5', 'another body');
SELECT is(pg_temp.append('p', '{1}', '{1}', '{k1}', NULL, '{t}'), 'conflict', 'the type belongs to the body');
SELECT is(pg_temp.append('q', '{1}', '{6}', '{k1}'), 'appended@6', 'another publisher''s key is another one');
SELECT is(pg_temp.append('p', '{1}', '{7}', '{k1}', '{d}'), 'appended@7', 'another channel''s, too');
SELECT pg_temp.log_is('c:1 c:2 c:3 c:4 c:5 c:6 d:7', 'the log has each once');

DELETE FROM eventgate.log;
SELECT is(pg_temp.append('p', '{1,1,2}', '{8,9,10}', '{k1,k3,k4}'), 'conflict withheld appended@10', 'a unit is appended whole or not');
SELECT is(pg_temp.append('p', '{1,1}', '{11,12}', '{k5,k5}'), 'withheld conflict', 'one key twice in a unit, two bodies');
SELECT is(pg_temp.append('p', '{1,1}', '{11,11}', '{k5,k5}'), 'appended@11 replayed@11', 'one key twice in a unit, one body');
SELECT is(pg_temp.append('p', '{1,2,2}', '{12,12,13}', '{k6,k6,k7}'), 'appended@12 replayed@12 appended@13',
    'one key in two units, one body');
SELECT is(pg_temp.append('p', '{2,1,1,2}', '{14,15,16,17}', '{k8,k8,NULL,NULL}'), 'appended@14 conflict withheld appended@17',
    'one key in two units, two bodies: the first unit has it');
SELECT is(pg_temp.append('p', '{1,1,2}', '{18,19,20}', '{k9,k1,k9}'), 'withheld conflict appended@20',
    'a withheld item does not have its key');
SELECT is(pg_temp.append('p', NULL, '{21,21}', '{k10,k10}'), 'appended@21 replayed@21', 'without units each is its own');
SELECT is(pg_temp.append('p', '{1,1}', '{10,22}', '{k4,k3}'), 'replayed@10 appended@22', 'a replay beside a new one');
SELECT pg_temp.log_is('c:10 c:11 c:12 c:13 c:14 c:17 c:20 c:21 c:22', 'the log has these in their order');
SELECT is(count(*), count(DISTINCT pos), 'no position is given out twice') FROM eventgate.log;
SELECT cmp_ok((SELECT last_value FROM eventgate.position_seq), '>=', eventgate.position(), 'nor will be');

-- An expired key means nothing any more.
UPDATE eventgate.key SET "time" = "time" - interval '24 hours 1 second';
SELECT is(pg_temp.append('p', '{1,2}', '{100,12}', '{k5,k6}'), 'appended@100 appended@12', 'expired keys');
SELECT is(pg_temp.append('p', '{1,2}', '{100,12}', '{k5,k6}'), 'replayed@100 replayed@12', 'which are known again then');

-- Bad items.
SELECT throws_ok($$SELECT pg_temp.append('p', '{1,2}', '{1,NULL}', NULL)$$, '22004', NULL, 'an item without data');
SELECT throws_ok($$SELECT pg_temp.append('p', '{1}', '{oops}', NULL)$$, '22P02', NULL, 'data that is no JSON');
SELECT throws_ok($$SELECT pg_temp.append('p', '{1}', '{1}', NULL, '{a//b}')$$, '22023', NULL, 'a name that is none');
SELECT throws_ok($$SELECT pg_temp.append('p', '{1}', '{1}', '{a,b}')$$, '2202E', NULL, 'arrays of different lengths');

-- publish()
DELETE FROM eventgate.log;
SELECT eventgate.publish('c', '1', key => 'k'), eventgate.publish('c', '1', key => 'k'), eventgate.publish('c', '2');
SET CONSTRAINTS ALL IMMEDIATE;
SELECT pg_temp.log_is('c:1 c:2', 'a repeat in the same transaction changes nothing');
SELECT eventgate.publish('c', '1', key => 'k');
SELECT pg_temp.log_is('c:1 c:2', 'nor does a later one');
SELECT throws_ok($$SELECT eventgate.publish('c', '3', key => 'k')$$, 'EG422',
    'The key ''k'' was used before on channel ''c'' with another body.', 'another body is an error');
SELECT lives_ok($$SELECT eventgate.publish('d', '3', key => 'k')$$, 'not on another channel');
SELECT pg_temp.log_is('c:1 c:2 d:3', 'the log has each once');

SELECT finish();
ROLLBACK;
