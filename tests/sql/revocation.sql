-- Revoking subjects, taking it back, and forgetting.
BEGIN;
SELECT no_plan();

SELECT is(eventgate.revoke('alice', '2026-01-31 12:00Z'), '2026-01-31 12:00Z'::timestamptz, 'what was given holds');
SELECT is(eventgate.revoke('alice', '2026-01-30 12:00Z'), '2026-01-31 12:00Z'::timestamptz, 'an earlier time does not');
SELECT is(eventgate.revoke('alice', '2026-02-01 12:00Z'), '2026-02-01 12:00Z'::timestamptz, 'a later one does');
SELECT is((SELECT count(*) FROM eventgate.revocation), 1::bigint, 'one row for a subject');
SELECT is(eventgate.revoke('bob', 'infinity'), 'infinity'::timestamptz, 'for good');
SELECT is(eventgate.revoke('bob'), 'infinity'::timestamptz, 'and it stays so');
SELECT ok(eventgate.revoke('carol') BETWEEN now() AND clock_timestamp(), 'by default now');
SELECT ok(eventgate.revoke('dave') > (SELECT before FROM eventgate.revocation WHERE subject = 'carol'),
    'which is the time of the call, not that of the transaction''s begin');
SELECT is((SELECT string_agg(subject, ',' ORDER BY version) FROM eventgate.revocation), 'alice,bob,carol,dave',
    'each call has a later version');

SELECT throws_ok($$SELECT eventgate.revoke(NULL)$$, '22004', NULL, 'nobody');
SELECT throws_ok($$SELECT eventgate.revoke('alice', NULL)$$, '22004', NULL, 'no time');
SELECT throws_ok($$SELECT eventgate.revoke('')$$, '22023', NULL, 'an empty subject');
SELECT lives_ok($$SELECT eventgate.revoke(repeat('x', 1024))$$, 'the longest subject');
SELECT throws_ok($$SELECT eventgate.revoke(repeat('x', 1025))$$, '22023', NULL, 'a longer one');
SELECT throws_ok($$SELECT eventgate.revoke(repeat('ü', 513))$$, '22023', NULL, 'it is bytes that count');

SELECT is(eventgate.unrevoke('bob'), true, 'taken back');
SELECT is(eventgate.unrevoke('bob'), false, 'which is done once');
SELECT is(eventgate.unrevoke('nobody'), false, 'one who wasn''t revoked');
SELECT is(eventgate.unrevoke(NULL), false, 'NULL is nobody');
SELECT is((SELECT subject FROM eventgate.revocation WHERE before IS NULL), 'bob', 'gateways see it');
SELECT is((SELECT subject FROM eventgate.revocation ORDER BY version DESC LIMIT 1), 'bob', 'in its turn');
SELECT is(eventgate.revoke('bob', '2026-02-03 12:00Z'), '2026-02-03 12:00Z'::timestamptz, 'and revoked again, anew');

SELECT is(eventgate.unrevoke('carol'), true, 'another one is taken back');
SELECT is(eventgate.forget_revocations('2026-02-02 00:00Z'), 1::bigint, 'what is older is forgotten');
SELECT is((SELECT string_agg(left(subject, 5), ',' ORDER BY subject) FROM eventgate.revocation), 'bob,carol,dave,xxxxx',
    'the others are not');
UPDATE eventgate.revocation SET changed = now() - interval '2 hours';
SELECT is(eventgate.forget_revocations('2026-02-02 00:00Z'), 1::bigint, 'nor what was taken back, for an hour');
SELECT is((SELECT string_agg(left(subject, 5), ',' ORDER BY subject) FROM eventgate.revocation), 'bob,dave,xxxxx',
    'then it is');

SELECT finish();
ROLLBACK;
