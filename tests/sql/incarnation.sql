-- How the log notices that it runs in another place or state, in one session; test_log_sql.py breaks real servers.
BEGIN;
SELECT no_plan();

CREATE FUNCTION pg_temp.say(data json) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM eventgate.publish('a', data);
    SET CONSTRAINTS ALL IMMEDIATE;
    SET CONSTRAINTS ALL DEFERRED;
    RETURN (SELECT max(pos) FROM eventgate.log);
END
$$;
CREATE FUNCTION pg_temp.jumps() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM eventgate.incarnation';

SELECT is(eventgate.mark(), '0', 'before anything: the mark');
SELECT is(eventgate.position(), 0::bigint, 'before anything: the position');
SELECT is(eventgate.cursor(), 'earliest', 'before anything: the cursor');
SELECT is_empty('SELECT FROM eventgate.state', 'an installation makes no state');
SELECT results_eq('SELECT version, head, jump_froms, jump_tos FROM eventgate.attach(0)',
    $$SELECT 2, 0::bigint, '{0}'::bigint[], '{0}'::bigint[]$$, 'the first incarnation, which gateways attach to that know version 2');
SELECT is(eventgate.gateway_version(), 2, 'the version that gateways have to know');
SELECT matches(tag, '^[a-z0-9]{6}$', 'the tag') FROM eventgate.attach(0);
CREATE TEMPORARY TABLE before AS SELECT * FROM eventgate.attach(0);
SELECT results_eq('SELECT * FROM eventgate.attach(0)', 'SELECT * FROM before', 'attaching changes nothing');
SELECT is(eventgate.mark(), (SELECT mark FROM before), 'mark() is attach()''s');
SELECT pg_temp.say('1'), pg_temp.say('2');
SELECT is(head, 2::bigint, 'the head') FROM eventgate.attach(2);
SELECT is(eventgate.cursor(), tag || '.2', 'the cursor') FROM before;

CREATE FUNCTION pg_temp.jumped(from_ bigint, segment bigint, what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    last eventgate.incarnation := (SELECT i FROM eventgate.incarnation AS i ORDER BY number DESC LIMIT 1);
    tag_ text := (SELECT tag FROM before);
BEGIN
    RETURN NEXT is(last.jump_from, from_, what || ': what is there');
    RETURN NEXT is(last.jump_to >> 33, segment, what || ': the segment');
    RETURN NEXT ok(last.jump_to & ((1::bigint << 33) - 1) BETWEEN 1 AND 1::bigint << 32, what || ': the random term');
    RETURN NEXT is(eventgate.position(), last.jump_to, what || ': the position');
    RETURN NEXT is(eventgate.cursor(), tag_ || '.' || last.jump_to, what || ': the cursor');
    RETURN NEXT isnt(eventgate.mark(), (SELECT mark FROM before), what || ': another mark');
    RETURN NEXT is(head, last.jump_to, what || ': the head') FROM eventgate.attach(0);
    RETURN NEXT is(tag, tag_, what || ': the same tag') FROM eventgate.attach(0);
    RETURN NEXT is(pg_temp.say('3'), last.jump_to + 1, what || ': the next event');
    RETURN NEXT is(jump_tos[cardinality(jump_tos)], last.jump_to, what || ': the jump') FROM eventgate.attach(0);
    UPDATE before SET mark = eventgate.mark();
END
$$;

-- Each of what is noticed.
UPDATE eventgate.state SET started = started - interval '1 second';
SELECT eventgate.attach(0);
SELECT * FROM pg_temp.jumped(2, 1, 'another start of the server');
UPDATE eventgate.state AS s SET place = 'base/1/2', row_xmin = s.xmin;
SELECT eventgate.attach(0);
SELECT * FROM pg_temp.jumped((SELECT jump_to + 1 FROM eventgate.incarnation WHERE number = 2), 2, 'another database');
UPDATE eventgate.state AS s SET log = 1, row_xmin = s.xmin;
SELECT eventgate.attach(0);
SELECT * FROM pg_temp.jumped((SELECT jump_to + 1 FROM eventgate.incarnation WHERE number = 3), 3, 'another log');
UPDATE eventgate.state SET row_xmin = '3';
SELECT eventgate.attach(0);
SELECT * FROM pg_temp.jumped((SELECT jump_to + 1 FROM eventgate.incarnation WHERE number = 4), 4, 'a reloaded row');
SELECT eventgate.attach((7::bigint << 33) + 5);
SELECT * FROM pg_temp.jumped((SELECT jump_to + 1 FROM eventgate.incarnation WHERE number = 5), 8, 'a gateway that has seen more');
SELECT setval('eventgate.position_seq', 11::bigint << 33);
UPDATE eventgate.state SET row_xmin = '3';
SELECT eventgate.attach(0);
SELECT * FROM pg_temp.jumped((SELECT jump_to + 1 FROM eventgate.incarnation WHERE number = 6), 12, 'a sequence that is ahead');
DELETE FROM eventgate.log;
UPDATE eventgate.channel SET pruned = 15::bigint << 33;
UPDATE eventgate.state SET row_xmin = '3';
SELECT eventgate.attach(0);
SELECT * FROM pg_temp.jumped(15::bigint << 33, 16, 'positions that retention has dropped');

-- Noticed by publish() and append() as well, in a subtransaction, too.
UPDATE eventgate.state SET row_xmin = '3';
SAVEPOINT one;
SELECT cmp_ok(pg_temp.say('4'), '>', 17::bigint << 33, 'publish() notices');
RELEASE one;
SELECT is(pg_temp.jumps(), 9::bigint, 'once');
SELECT is(pg_temp.say('5'), (SELECT max(pos) + 1 FROM eventgate.log), 'and not again');
SELECT is(pg_temp.jumps(), 9::bigint, 'which is no jump');
UPDATE eventgate.state SET row_xmin = '3';
SAVEPOINT one;
SELECT cmp_ok(pos, '>', 18::bigint << 33, 'append() notices') FROM eventgate.append('p', NULL, '{a}', NULL, '{1}', NULL, NULL);
ROLLBACK TO one;
SELECT cmp_ok(pos, '>', 19::bigint << 33, 'and again, further on, where that was rolled back')
FROM eventgate.append('p', NULL, '{a}', NULL, '{1}', NULL, NULL);
SELECT is(pg_temp.jumps(), 10::bigint, 'the jump that was rolled back is none');

-- The end of all positions.
SELECT throws_ok($$SELECT eventgate.attach(9007199254740991)$$, '54000', NULL, 'positions end below 2^53');
SELECT is(pg_temp.jumps(), 10::bigint, 'which changes nothing');

SELECT finish();
ROLLBACK;
