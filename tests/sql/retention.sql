-- Settings, rotation and retention, in one session. Time is made to pass by moving what is stored back.
BEGIN;
SELECT no_plan();

CREATE FUNCTION pg_temp.maintained() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    done text[] := '{}';
    one record;
BEGIN
    LOOP
        SELECT * INTO one FROM eventgate.maintain() LIMIT 1;
        done := done || concat_ws(' ', one.action, one.subject);
        IF one.again IS NOT TRUE THEN
            RETURN array_to_string(done, ', ');
        END IF;
    END LOOP;
END
$$;
CREATE FUNCTION pg_temp.say(channel text, data json) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM eventgate.publish(channel, data);
    SET CONSTRAINTS ALL IMMEDIATE;
    SET CONSTRAINTS ALL DEFERRED;
    RETURN (SELECT max(pos) FROM eventgate.log);
END
$$;

SELECT is(pg_temp.maintained(), '', 'where nothing was ever published there is nothing to do');
SELECT is(pg_temp.say('a', '1'), 1::bigint, 'the first event');
SELECT is(pg_temp.maintained(), 'made log_1, ', 'the next partition is made ahead');
SELECT is(pg_temp.maintained(), '', 'then nothing is due');

-- Rotation.
UPDATE eventgate.log SET "time" = "time" - interval '20 hours';
SELECT is(pg_temp.maintained(), '', 'a segment of 20 hours goes on');
UPDATE eventgate.log SET "time" = "time" - interval '2 hours';
SELECT is(pg_temp.maintained(), 'rotated log_0, made log_2, ', 'one of an eighth of a week is full');
SELECT is(pg_temp.maintained(), '', 'an empty one is not');
SELECT is(pg_temp.say('b', '2'), (1::bigint << 33) + 1, 'the next event is in the next segment');
SELECT is((SELECT count(*) FROM eventgate.incarnation), 1::bigint, 'a rotation is no jump');
SELECT eventgate.configure('segment_bytes', '1');
SELECT is(pg_temp.maintained(), 'rotated log_1, made log_3, ', 'a large one is full');
SELECT eventgate.configure('segment_bytes', NULL);
SELECT pg_temp.say('a', '3');

-- Retention by age.
UPDATE eventgate.log SET "time" = now() - interval '7 days 1 second' WHERE pos = 1;
SELECT is(pg_temp.maintained(), 'dropped log_0, ', 'what is older than a week is dropped');
SELECT results_eq('SELECT channel, data::text FROM eventgate.log ORDER BY pos', $$VALUES ('b' COLLATE "C", '2'), ('a', '3')$$,
    'the rest stays');
SELECT results_eq('SELECT name, pruned FROM eventgate.channel ORDER BY name', $$VALUES ('a' COLLATE "C", 1::bigint), ('b', 0)$$,
    'each channel knows the last position that was dropped');
UPDATE eventgate.log SET "time" = now() - interval '7 days 1 second';
SELECT is(pg_temp.maintained(), 'dropped log_1, rotated log_2, made log_4, dropped log_2, ', 'everything may go');
SELECT is_empty('SELECT FROM eventgate.log', 'nothing is left');
SELECT is(eventgate.position(), (2::bigint << 33) + 1, 'the position stays what it was');
SELECT is(head, eventgate.position(), 'the head, too') FROM eventgate.attach(eventgate.position());
SELECT is((SELECT count(*) FROM eventgate.incarnation), 1::bigint, 'and that is no jump either');
SELECT is(pg_temp.say('a', '4'), (3::bigint << 33) + 1, 'it goes on');

-- Retention by size.
SELECT eventgate.configure('segment_bytes', '1');
SELECT eventgate.configure('retention_age', NULL);
SELECT is(pg_temp.maintained(), 'rotated log_3, made log_5, ', 'without a bound all stays');
SELECT pg_temp.say('a', '5');
SELECT eventgate.configure('retention_bytes', '1');
SELECT is(pg_temp.maintained(), 'dropped log_3, rotated log_4, made log_6, dropped log_4, ', 'all but the current one may go');
SELECT is((SELECT pruned FROM eventgate.channel WHERE name = 'a'), (4::bigint << 33) + 1, 'which is remembered');

-- Empty segments, as restarts leave behind them, go whatever their age; and many old ones, one a call.
SELECT eventgate.configure('retention_bytes', NULL);
SELECT setval('eventgate.position_seq', 9::bigint << 33);
SELECT is(pg_temp.maintained(), 'made log_9, made log_10, dropped log_5, dropped log_6, ', 'empty segments are dropped');

-- Keys.
SELECT outcome FROM eventgate.append('p', NULL, '{a,a}', NULL, '{1,1}', '{k1,k2}', NULL);
UPDATE eventgate.key SET "time" = now() - interval '25 hours' WHERE pos = (SELECT min(pos) FROM eventgate.key);
SELECT is(pg_temp.maintained(), 'rotated log_9, made log_11, expired 1 keys', 'keys expire');
SELECT is((SELECT count(*) FROM eventgate.key), 1::bigint, 'the younger one stays');

-- configure()
SELECT throws_ok($$SELECT eventgate.configure('nothing', '1')$$, '22023', 'There is no setting ''nothing''.', 'no such setting');
SELECT throws_ok($$SELECT eventgate.configure('one', 'f')$$, '22023', 'There is no setting ''one''.', 'nor this');
SELECT throws_ok($$SELECT eventgate.configure(NULL, 'f')$$, '22023', 'There is no setting NULL.', 'nor none');
SELECT throws_ok(format('SELECT eventgate.configure(%L, %L)', name, value), '22023', NULL, 'no value of ' || name)
FROM (VALUES ('retention_age', '-1 day'), ('retention_age', 'soon'), ('retention_bytes', '0'), ('key_age', '0'), ('key_age', NULL),
    ('max_bytes', '0'), ('max_bytes', 'x'), ('max_bytes', '99999999999'), ('bulk_limit', '-1'), ('segment_age', '0')) AS t(name, value);
SELECT lives_ok($$SELECT eventgate.configure('retention_age', '30 days')$$, 'an age');
SELECT is(retention_age, interval '30 days', 'is kept') FROM eventgate.setting;

SELECT finish();
ROLLBACK;
