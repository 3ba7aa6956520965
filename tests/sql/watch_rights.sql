-- watch(): who may call it, and with whose rights the expressions, casts and functions of a table's owner run.
SET client_min_messages = error;
BEGIN;
SELECT no_plan();

CREATE ROLE tap_owner;
CREATE ROLE tap_other;
CREATE ROLE tap_writer;
CREATE ROLE tap_admin IN ROLE eventgate_admin;
CREATE ROLE tap_dba IN ROLE eventgate_admin, tap_owner;
CREATE ROLE tap_granted;
CREATE SCHEMA app;
GRANT ALL ON SCHEMA app TO tap_owner, tap_other;
GRANT USAGE ON SCHEMA app TO PUBLIC;
CREATE FUNCTION told() RETURNS TABLE (channel text, type text, data text) LANGUAGE sql SECURITY DEFINER AS $$
    WITH taken AS (DELETE FROM eventgate.pending RETURNING *)
    SELECT channel, type, data::text FROM taken ORDER BY n
$$;
CREATE FUNCTION channels() RETURNS text LANGUAGE sql AS $$SELECT string_agg(concat_ws(' ', channel, type), ', ') FROM told()$$;

-- Who may have a table watched.
SET ROLE tap_owner;
CREATE TABLE app.item (id int PRIMARY KEY, name text);
GRANT ALL ON app.item TO tap_writer, tap_other;
SELECT throws_ok($$SELECT eventgate.watch('app.item', 'items')$$, '42501', NULL, 'an owner without the right to watch()');
SET ROLE tap_writer;
SELECT throws_ok($$SELECT eventgate.watch('app.item', 'items')$$, '42501', NULL, 'a writer: watch()');
SELECT throws_ok($$SELECT eventgate.unwatch('app.item')$$, '42501', NULL, 'a writer: unwatch()');
SELECT throws_ok($$SELECT * FROM eventgate.watched()$$, '42501', NULL, 'a writer: watched()');
SET ROLE tap_admin;
SELECT throws_ok($$SELECT eventgate.watch('app.item', 'items')$$, '42501', 'Only its owner can have the table app.item watched.',
    'an administrator who is not the owner');
SELECT throws_ok($$SELECT * FROM eventgate.watching$$, '42501', NULL, 'an administrator: the table behind it');
SELECT throws_ok($$SELECT eventgate.watch_grant(1, 'tap_admin')$$, '42501', NULL, 'an administrator: the inner functions');
SELECT is_empty('SELECT * FROM eventgate.watched()', 'an administrator: watched()');
SET ROLE tap_dba;
SELECT lives_ok($$SELECT eventgate.watch('app.item', 'items', condition => 'id > 0')$$, 'an administrator who is a member of the owner');
RESET ROLE;
GRANT USAGE ON SCHEMA eventgate TO tap_granted;
GRANT EXECUTE ON FUNCTION eventgate.watch, eventgate.watch_in_path, eventgate.watch_begin, eventgate.watch_condition,
    eventgate.watch_relations, eventgate.watch_make_triggers, eventgate.watch_end TO tap_granted;
GRANT CREATE ON SCHEMA app TO tap_granted;
SET ROLE tap_granted;
CREATE TABLE app.granted (id int);
SELECT lives_ok($$SELECT eventgate.watch('app.granted', 'granted')$$, 'an owner who was granted the functions');
SELECT throws_ok($$SELECT eventgate.watch('app.item', 'granted')$$, '42501', NULL, 'who can''t have others'' tables watched');

-- Nobody who writes needs a right, or gets one.
SET ROLE tap_writer;
SELECT lives_ok($$INSERT INTO app.item VALUES (1, 'a')$$, 'a writer writes');
SELECT is(channels(), 'items insert', 'and it is told');
SELECT throws_ok($$SELECT eventgate_watch.record_1('{insert}', '{NULL}', '{1}')$$, '42501', NULL, 'a writer can''t record events');
SELECT throws_ok($$SELECT eventgate_watch.context_1(1)$$, '42501', NULL, 'nor ask for what the triggers ask');
SELECT throws_ok($$SELECT eventgate.publish('items', '1')$$, '42501', NULL, 'nor publish');
SELECT throws_ok($$SELECT eventgate.queue('{a}', '{1}', NULL, NULL, NULL)$$, '42501', NULL, 'nor queue');
CREATE TEMP TABLE forged (id int PRIMARY KEY, name text);
SELECT throws_ok($$CREATE TRIGGER forge AFTER INSERT ON forged REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
    EXECUTE FUNCTION eventgate_watch.change_1()$$, '42501', NULL, 'nor make a trigger of its own with the function');
RESET ROLE;
SELECT is_empty($$
    SELECT p.oid::regprocedure, a.grantee::regrole FROM pg_proc AS p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
    WHERE p.pronamespace = 'eventgate_watch'::regnamespace AND a.grantee NOT IN (p.proowner, 'tap_owner'::regrole, 'tap_granted'::regrole)
$$, 'of the triggers'' functions PUBLIC may call none');
SELECT is_empty($$SELECT FROM pg_namespace AS n, aclexplode(n.nspacl) AS a WHERE n.nspname = 'eventgate_watch' AND (a.grantee = 0
    OR a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner)$$, 'nobody else is left with the right to make any');
SELECT is_empty($$
    SELECT p.oid::regprocedure FROM pg_proc AS p WHERE p.pronamespace = 'eventgate_watch'::regnamespace
        AND NOT (p.prosecdef AND 'search_path=pg_catalog, pg_temp' = ANY (p.proconfig))
$$, 'all of them have a safe search_path');
SELECT results_eq($$SELECT p.proname::text COLLATE "default", p.proowner::regrole::text FROM pg_proc AS p
        WHERE p.pronamespace = 'eventgate_watch'::regnamespace AND p.proname LIKE 'change%' ORDER BY 1$$,
    $$VALUES ('change_1', 'tap_owner'), ('change_2', 'tap_granted')$$, 'the trigger functions run as the tables'' owners');

-- A table's owner can publish what it likes on the channels of its watches, and on no others.
SET ROLE tap_dba;
SELECT eventgate.watch('app.item', 'items/{id}/x');
RESET ROLE;
SET ROLE tap_owner;
SELECT lives_ok($$SELECT eventgate_watch.record_3('{insert,insert}', ARRAY['["a/b"]', NULL], '{1,2}')$$, 'a table''s owner');
SELECT is(channels(), 'items/a%2Fb/x insert, items/%all/x insert', 'stays within the template');
SELECT throws_ok(format('SELECT eventgate_watch.record_3(%L, %L, %L)', types, places, datas), NULL, NULL,
    format('and can''t record %s %s %s', types, places, datas))
FROM (VALUES ('{insert}', '{"[]"}', '{1}'), ('{insert}', '{"[1,2]"}', '{1}'), ('{insert}', '{"{}"}', '{1}'), ('{insert}', '{x}', '{1}'),
    ('{order}', '{"[1]"}', '{1}'), ('{NULL}', '{"[1]"}', '{1}'), ('{insert}', '{"[1]"}', '{NULL}'), ('{insert}', '{"[1]"}', '{nonsense}'),
    ('{insert}', '{}', '{1}'), ('{insert,insert}', '{"[1]"}', '{1}'), (NULL, NULL, NULL)) AS t(types, places, datas);
SELECT throws_ok($$SELECT eventgate_watch.record_2('{insert}', '{NULL}', '{1}')$$, '42501', NULL, 'nor anything for another''s watch');
SELECT throws_ok($$SELECT eventgate.publish('items', '1')$$, '42501', NULL, 'nor publish()');
SELECT throws_ok($$CREATE FUNCTION eventgate_watch.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'$$, '42501', NULL, 'nor make functions there');
SELECT is(channels(), NULL, 'nothing of that was queued');

-- Whose rights expressions, casts and functions have: the superuser writes into a hostile owner's table.
CREATE TABLE app.seen (what text, who text);
GRANT ALL ON app.seen TO PUBLIC;
CREATE FUNCTION app.try(who text, what text, command text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    result text := 'done';
BEGIN
    BEGIN
        EXECUTE command;
    EXCEPTION
        WHEN OTHERS THEN result := SQLSTATE;
    END;
    INSERT INTO app.seen VALUES (format('%s %s: %s', who, what, result), current_user);
END
$$;
CREATE FUNCTION app.hostile(what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM app.try(what, 'reset role', 'RESET ROLE');
    PERFORM app.try(what, 'set role', 'SET ROLE postgres');
    PERFORM app.try(what, 'set session', 'SET SESSION AUTHORIZATION DEFAULT');
    PERFORM app.try(what, 'log', 'DELETE FROM eventgate.log');
    PERFORM app.try(what, 'queue', 'SELECT eventgate.queue(''{forged}'', ''{1}'', NULL, NULL, NULL)');
    PERFORM app.try(what, 'other', 'SELECT eventgate_watch.record_2(''{insert}'', ''{NULL}'', ''{1}'')');
    PERFORM app.try(what, 'superuser', 'ALTER ROLE tap_owner SUPERUSER');
    PERFORM pg_catalog.set_config('search_path', 'app, pg_catalog', true);
END
$$;
CREATE TYPE app.mood AS ENUM ('sad', 'ok');
CREATE TYPE app.pair AS (a int, b int);
CREATE FUNCTION app.mood_json(app.mood) RETURNS json LANGUAGE sql AS $$SELECT app.hostile('json cast'); SELECT '"forged"'::json$$;
CREATE FUNCTION app.pair_text(app.pair) RETURNS text LANGUAGE sql AS $$SELECT app.hostile('text cast'); SELECT 'forged'$$;
CREATE FUNCTION app.mood_is(app.mood, text) RETURNS boolean LANGUAGE sql AS $$SELECT app.hostile('operator'); SELECT true$$;
CREATE CAST (app.mood AS json) WITH FUNCTION app.mood_json(app.mood);
CREATE CAST (app.pair AS text) WITH FUNCTION app.pair_text(app.pair);
CREATE OPERATOR app.=== (FUNCTION = app.mood_is, LEFTARG = app.mood, RIGHTARG = text);
CREATE FUNCTION app.concat(text, text) RETURNS text LANGUAGE sql AS $$INSERT INTO app.seen VALUES ('search_path: taken', current_user); SELECT textcat($1, $2)$$;
CREATE OPERATOR app.|| (FUNCTION = app.concat, LEFTARG = text, RIGHTARG = text);
CREATE TABLE app.trap (id int PRIMARY KEY, m app.mood, p app.pair);
GRANT ALL ON app.trap TO tap_writer;
SET ROLE tap_dba;
SELECT lives_ok($$SELECT eventgate.watch('app.trap', 'trap/{p}', columns => '{id,m}', condition => $c$m OPERATOR(app.===) 'ok'$c$)$$, 'a trap is set');
RESET ROLE;
SELECT is((SELECT count(*)::integer FROM app.seen), 0, 'watch() calls nothing of it');
SELECT lives_ok($$INSERT INTO app.trap VALUES (1, 'ok', (1, 2))$$, 'the superuser writes into it');
SELECT lives_ok($$UPDATE app.trap SET m = 'sad'$$, 'and once more');
SELECT is(channels(), 'trap/forged insert, trap/forged update', 'it is told, by what the owner made of it');
SELECT results_eq('SELECT DISTINCT who FROM app.seen', $$VALUES ('tap_owner')$$, 'all of it ran as the table''s owner');
SELECT results_eq($$SELECT DISTINCT what FROM app.seen ORDER BY 1$$, $$
    SELECT who || ' ' || what FROM unnest('{json cast,operator,text cast}'::text[]) AS who,
        unnest('{log: 42501, other: 42501, queue: 42501, reset role: 42501, set role: 42501, set session: 42501, superuser: 42501}'::text[]) AS what
    ORDER BY 1$$, 'and could do nothing that the owner may not do');
SET search_path = public;
SET ROLE tap_writer;
SELECT lives_ok($$UPDATE app.trap SET m = 'ok'$$, 'a writer who may not even use the owner''s functions');
RESET ROLE;
SET search_path = public;
SELECT is(channels(), 'trap/forged update', 'is told, too');

-- What a writer has in its search_path or its temporary schema is not used.
SET ROLE tap_other;
CREATE FUNCTION app.lower(text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE 'taken for pg_catalog''s'; END$$;
CREATE FUNCTION app.equal(text, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'taken for pg_catalog''s'; END$$;
CREATE OPERATOR app.= (FUNCTION = app.equal, LEFTARG = text, RIGHTARG = text);
RESET ROLE;
SET ROLE tap_dba;
SELECT eventgate.watch('app.item', 'lower/{name}', condition => $$lower(name) = 'x'$$);
RESET ROLE;
SET ROLE tap_other;
SET search_path = app, pg_temp, pg_catalog, public;
CREATE TEMP TABLE new_rows (id int);
SELECT pg_catalog.count(*) FROM public.told();
INSERT INTO app.item VALUES (2, 'X');
SET search_path = public;
SELECT is(channels(), 'items insert, items/2/x insert, lower/X insert', 'what a writer has in its search_path and temporary schema is not used');
RESET ROLE;

-- A change of owner.
ALTER TABLE app.item OWNER TO tap_other;
SET ROLE tap_writer;
SELECT lives_ok($$UPDATE app.item SET name = 'y' WHERE id = 2$$, 'after ALTER TABLE OWNER');
SELECT is(channels(), 'items update, items/2/x update, lower/X delete', 'the watches go on');
RESET ROLE;
GRANT tap_other TO tap_dba;
SET ROLE tap_dba;
SELECT eventgate.watch('app.item', 'items', condition => 'id > 0');
SELECT eventgate.watch('app.item', 'lower/{name}', condition => $$lower(name) = 'x'$$);
RESET ROLE;
SELECT results_eq($$SELECT proowner::regrole::text FROM pg_proc WHERE oid IN ('eventgate_watch.change_1()'::regprocedure, 'eventgate_watch.change_5()'::regprocedure)$$,
    $$VALUES ('tap_other'), ('tap_other')$$, 'with watch() they become the new owner''s');
SELECT is((SELECT count(*)::integer FROM pg_trigger WHERE tgrelid = 'app.item'::regclass AND NOT tgisinternal), 12, 'with their triggers');
SELECT ok(NOT has_function_privilege('tap_owner', 'eventgate_watch.record_1(text[], text[], text[])', 'EXECUTE'), 'and the former owner can publish no more');
CREATE ROLE tap_heir;
GRANT USAGE, CREATE ON SCHEMA app TO tap_heir;
REASSIGN OWNED BY tap_other TO tap_heir;
SET ROLE tap_writer;
SELECT throws_ok($$UPDATE app.item SET name = 'z' WHERE id = 2$$, '42501', 'The role tap_heir may not tell the changes of table app.item any more.',
    'after REASSIGN OWNED nothing is lost in silence');
RESET ROLE;
SELECT is(eventgate.watch_tidy(), 2, 'what maintain() does mends it');
SET ROLE tap_writer;
SELECT lives_ok($$UPDATE app.item SET name = 'z' WHERE id = 2$$, 'after that');
SELECT is(channels(), 'items update, items/2/x update', 'it is told again');
RESET ROLE;
SELECT lives_ok($$DROP OWNED BY tap_heir CASCADE$$, 'owner and tables can be dropped');
SELECT lives_ok($$DROP ROLE tap_heir$$, 'and the role');

-- A part of a table that is another's.
SET ROLE tap_owner;
CREATE TABLE app.split (id int) PARTITION BY RANGE (id);
RESET ROLE;
CREATE TABLE app.split_1 PARTITION OF app.split FOR VALUES FROM (0) TO (10);
SET ROLE tap_dba;
SELECT throws_ok($$SELECT eventgate.watch('app.split', 'split')$$, '42501', NULL, 'a partition that another owns');
RESET ROLE;
SELECT is_empty($$SELECT FROM eventgate.watched() WHERE channel = 'split'$$, 'leaves nothing watched');

-- unwatch() is every administrator's.
SET ROLE tap_admin;
SELECT is(eventgate.unwatch('app.trap'), 1, 'an administrator: unwatch() of another''s table');
RESET ROLE;
SELECT is((SELECT count(*)::integer FROM pg_trigger WHERE tgrelid = 'app.trap'::regclass AND NOT tgisinternal), 0, 'no trigger is left');
SELECT is_empty($$SELECT FROM pg_proc WHERE pronamespace = 'eventgate_watch'::regnamespace AND proname NOT LIKE '%\_2'$$, 'and no function');

SELECT finish();
ROLLBACK;
