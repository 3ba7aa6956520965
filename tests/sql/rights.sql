-- Who may do what: nothing for PUBLIC, and for each role what it is there for.
BEGIN;
SELECT no_plan();

SELECT is_empty($$
    SELECT p.oid::regprocedure FROM pg_proc AS p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
    WHERE p.pronamespace = 'eventgate'::regnamespace AND a.grantee = 0
$$, 'PUBLIC may call no function');
SELECT is_empty($$
    SELECT c.oid::regclass FROM pg_class AS c, aclexplode(c.relacl) AS a
    WHERE c.relnamespace = 'eventgate'::regnamespace AND a.grantee = 0
$$, 'PUBLIC may use no table or sequence');
SELECT is_empty($$
    SELECT FROM pg_namespace AS n, aclexplode(n.nspacl) AS a WHERE n.nspname = 'eventgate' AND a.grantee = 0
$$, 'PUBLIC may not use the schema');
SELECT is_empty($$
    SELECT p.oid::regprocedure FROM pg_proc AS p
    WHERE p.pronamespace = 'eventgate'::regnamespace AND p.prosecdef
        AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)
$$, 'every SECURITY DEFINER function has a safe search_path');
SELECT is_empty($$
    SELECT c.oid::regclass, a.privilege_type FROM pg_class AS c, aclexplode(c.relacl) AS a, pg_roles AS r
    WHERE c.relnamespace = 'eventgate'::regnamespace AND r.oid = a.grantee AND r.rolname LIKE 'eventgate\_%'
        AND a.privilege_type <> 'SELECT'
$$, 'no role may write to a table');
SELECT is_empty($$
    SELECT p.oid::regprocedure FROM pg_proc AS p JOIN pg_trigger AS t ON t.tgfoid = p.oid,
        aclexplode(p.proacl) AS a
    WHERE p.pronamespace = 'eventgate'::regnamespace AND a.grantee <> p.proowner
$$, 'nobody else may make triggers of the trigger functions');

CREATE ROLE tap_publisher IN ROLE eventgate_publish;
CREATE ROLE tap_reader IN ROLE eventgate_read;
CREATE ROLE tap_gateway IN ROLE eventgate_gateway;
CREATE ROLE tap_admin IN ROLE eventgate_admin;
CREATE ROLE tap_nobody;

SET ROLE tap_nobody;
SELECT throws_ok($$SELECT eventgate.publish('a', '1')$$, '42501', NULL, 'nobody: publish()');
SELECT throws_ok($$LOCK TABLE eventgate.turn IN EXCLUSIVE MODE$$, '42501', NULL, 'nobody: the position lock');
SELECT throws_ok($$SELECT FROM eventgate.log$$, '42501', NULL, 'nobody: the log');

SET ROLE tap_publisher;
SELECT lives_ok($$SELECT eventgate.publish('a', '1')$$, 'a publisher: publish()');
SET CONSTRAINTS ALL IMMEDIATE;
SELECT is(eventgate.position(), 1::bigint, 'a publisher: position()');
SELECT matches(eventgate.cursor(), '^[a-z0-9]{6}[.]1$', 'a publisher: cursor()');
SELECT throws_ok($$LOCK TABLE eventgate.turn IN EXCLUSIVE MODE$$, '42501', NULL, 'a publisher: the position lock');
SELECT throws_ok($$LOCK TABLE eventgate.turn IN ACCESS SHARE MODE$$, '42501', NULL, 'a publisher: any lock on it');
SELECT throws_ok($$SELECT FROM eventgate.log$$, '42501', NULL, 'a publisher: reading the log');
SELECT throws_ok($$INSERT INTO eventgate.log VALUES (9, 'a', NULL, now(), NULL, 1, '1')$$, '42501', NULL,
    'a publisher: writing to the log');
SELECT throws_ok($$INSERT INTO eventgate.pending VALUES ('1', 1, 'a', NULL, NULL, NULL, 1, '1')$$, '42501', NULL,
    'a publisher: writing to what is pending');
SELECT throws_ok($$SELECT nextval('eventgate.position_seq')$$, '42501', NULL, 'a publisher: the sequence');
SELECT throws_ok($$SELECT eventgate.take_turn()$$, '42501', NULL, 'a publisher: take_turn()');
SELECT throws_ok($$SELECT eventgate.queue('{a}', '{1}', NULL, NULL, NULL)$$, '42501', NULL, 'a publisher: queue()');
SELECT throws_ok($$SELECT eventgate.append('p', NULL, '{a}', NULL, '{1}', NULL, NULL)$$, '42501', NULL,
    'a publisher: append()');
SELECT throws_ok($$SELECT eventgate.attach(0)$$, '42501', NULL, 'a publisher: attach()');
SELECT throws_ok($$SELECT eventgate.configure('max_bytes', '1')$$, '42501', NULL, 'a publisher: configure()');
SELECT throws_ok($$SELECT eventgate.revoke('alice')$$, '42501', NULL, 'a publisher: revoke()');
SELECT throws_ok($$SELECT FROM eventgate.revocation$$, '42501', NULL, 'a publisher: the revocations');
SELECT throws_ok($$SELECT eventgate.maintain()$$, '42501', NULL, 'a publisher: maintain()');

SET ROLE tap_reader;
SELECT results_eq('SELECT pos, channel FROM eventgate.log', $$VALUES (1::bigint, 'a' COLLATE "C")$$, 'a reader: the log');
SELECT matches(eventgate.mark(), '^1[.][0-9]+$', 'a reader: mark()');
SELECT throws_ok($$SELECT eventgate.publish('a', '1')$$, '42501', NULL, 'a reader: publish()');
SELECT throws_ok($$LOCK TABLE eventgate.log IN ROW EXCLUSIVE MODE$$, '42501', NULL, 'a reader: a lock against others');
SELECT throws_ok($$SELECT FROM eventgate.key$$, '42501', NULL, 'a reader: the keys');

SET ROLE tap_gateway;
SELECT is(head, 1::bigint, 'a gateway: attach()') FROM eventgate.attach(0);
SELECT is(outcome, 'appended', 'a gateway: append()') FROM eventgate.append('p', NULL, '{a}', NULL, '{1}', NULL, NULL);
SELECT is(count(*), 2::bigint, 'a gateway: the log') FROM eventgate.log;
SELECT throws_ok($$SELECT eventgate.configure('max_bytes', '1')$$, '42501', NULL, 'a gateway: configure()');
SELECT throws_ok($$LOCK TABLE eventgate.turn IN EXCLUSIVE MODE$$, '42501', NULL, 'a gateway: the position lock');
SELECT lives_ok($$SELECT FROM eventgate.revocation$$, 'a gateway: the revocations');
SELECT throws_ok($$SELECT eventgate.revoke('alice')$$, '42501', NULL, 'a gateway: revoke()');
SELECT throws_ok($$LOCK TABLE eventgate.revoking IN ACCESS SHARE MODE$$, '42501', NULL, 'a gateway: the lock of revoke()');

SET ROLE tap_admin;
SELECT lives_ok($$SELECT eventgate.configure('max_bytes', '1000')$$, 'an administrator: configure()');
SELECT lives_ok($$SELECT eventgate.maintain()$$, 'an administrator: maintain()');
SELECT throws_ok($$SELECT FROM eventgate.log$$, '42501', NULL, 'an administrator: reading the log');
SELECT lives_ok($$SELECT eventgate.revoke('alice')$$, 'an administrator: revoke()');
SELECT lives_ok($$SELECT eventgate.unrevoke('alice')$$, 'an administrator: unrevoke()');
SELECT lives_ok($$SELECT eventgate.forget_revocations(now())$$, 'an administrator: forget_revocations()');
SELECT lives_ok($$SELECT FROM eventgate.revocation$$, 'an administrator: the revocations');
SELECT throws_ok($$DELETE FROM eventgate.revocation$$, '42501', NULL, 'an administrator: writing to the revocations');

SELECT finish();
ROLLBACK;
