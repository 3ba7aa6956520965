-- Settings, and what maintain() does.

CREATE OR REPLACE FUNCTION eventgate.configure(name text, value text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF name IS NULL OR name = 'one' OR NOT EXISTS (SELECT FROM pg_attribute AS a
            WHERE a.attrelid = 'eventgate.setting'::regclass AND a.attname = name AND a.attnum > 0
                AND NOT a.attisdropped) THEN
        RAISE 'There is no setting %.', quote_nullable(name)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'They are the columns of eventgate.setting.';
    END IF;
    INSERT INTO eventgate.setting DEFAULT VALUES ON CONFLICT DO NOTHING;
    BEGIN
        EXECUTE format('UPDATE eventgate.setting SET %I = %L', name, value);
    EXCEPTION
        WHEN check_violation OR not_null_violation OR data_exception THEN
            RAISE 'The setting % can''t be %.', name, quote_nullable(value)
                USING ERRCODE = 'invalid_parameter_value', DETAIL = SQLERRM;
    END;
END
$$;

-- Goes on in the next segment when the current one is old or large enough; its partition exists.
CREATE OR REPLACE FUNCTION eventgate.rotate(segment bigint) RETURNS boolean
    LANGUAGE plpgsql
AS $$
DECLARE
    setting eventgate.setting;
    began timestamptz;
BEGIN
    SELECT * INTO setting FROM eventgate.setting;
    EXECUTE format('SELECT "time" FROM eventgate.%I ORDER BY pos LIMIT 1', 'log_' || segment) INTO began;
    IF began IS NULL OR NOT (
            began < clock_timestamp() - coalesce(setting.segment_age, setting.retention_age / 8, '1 day')
            OR pg_total_relation_size('eventgate.log_' || segment)
                >= coalesce(setting.segment_bytes, setting.retention_bytes / 8, 4294967296)) THEN
        RETURN false;
    END IF;
    LOCK TABLE eventgate.turn IN EXCLUSIVE MODE;
    IF (SELECT last_value >> 33 FROM eventgate.position_seq) <> segment THEN
        RETURN false;
    END IF;
    PERFORM setval('eventgate.position_seq', (segment + 1) << 33);
    RETURN true;
END
$$;

-- The oldest partition, where retention lets it go; nothing is appended to partitions before `segment` any more.
CREATE OR REPLACE FUNCTION eventgate.droppable(segment bigint) RETURNS text
    LANGUAGE plpgsql
AS $$
DECLARE
    setting eventgate.setting;
    oldest text;
    total numeric;
    ended timestamptz;
BEGIN
    SELECT * INTO setting FROM eventgate.setting;
    SELECT (array_agg(c.relname ORDER BY substr(c.relname, 5)::bigint))[1],
        CASE WHEN setting.retention_bytes IS NOT NULL THEN sum(pg_total_relation_size(c.oid)) END
    INTO oldest, total
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = 'eventgate.log'::regclass;
    IF substr(oldest, 5)::bigint >= segment THEN
        RETURN NULL;
    END IF;
    EXECUTE format('SELECT "time" FROM eventgate.%I ORDER BY pos DESC LIMIT 1', oldest) INTO ended;
    IF ended IS NULL OR ended < clock_timestamp() - setting.retention_age OR total > setting.retention_bytes THEN
        RETURN oldest;
    END IF;
    RETURN NULL;
END
$$;

-- Drops a partition and remembers, for each of its channels, the last position that goes with it. The lock of the whole
-- log is waited for, and publishers behind it, no longer than lock_timeout; and not at all while a reader holds the
-- partition. The turn isn't taken.
CREATE OR REPLACE FUNCTION eventgate.drop_partition(partition text) RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    names text[];
    lasts bigint[];
BEGIN
    BEGIN
        EXECUTE format('LOCK TABLE eventgate.%I IN ACCESS EXCLUSIVE MODE NOWAIT', partition);
        RAISE SQLSTATE 'EG000'; -- gives the lock back: without the whole log's it would make readers wait for us
    EXCEPTION
        WHEN SQLSTATE 'EG000' THEN NULL;
    END;
    EXECUTE format('SELECT array_agg(c.name), array_agg(last.pos) FROM eventgate.channel AS c, '
        'LATERAL (SELECT max(l.pos) AS pos FROM eventgate.%I AS l WHERE l.channel = c.name) AS last '
        'WHERE last.pos IS NOT NULL', partition) INTO names, lasts;
    UPDATE eventgate.channel AS c SET pruned = u.pos
    FROM unnest(names, lasts) AS u(name, pos) WHERE c.name = u.name AND c.pruned < u.pos;
    LOCK TABLE ONLY eventgate.log IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('DROP TABLE eventgate.%I', partition);
END
$$;

-- Does one piece of work that is due, and says which; no row: there was none. `again`: call again at once, there may be
-- more. 'blocked': somebody holds what it needs, so try again later. To be called every few seconds, or every minute
-- by pg_cron, from any number of sessions: one of them works at a time. Waits 100 ms for a lock at most.
CREATE OR REPLACE FUNCTION eventgate.maintain() RETURNS TABLE (action text, subject text, again boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '100ms'
    SET jit = off
AS $$
DECLARE
    segment bigint := (SELECT q.last_value >> 33 FROM eventgate.position_seq AS q, eventgate.state);
    held text; -- the partition that is to be dropped
    expired integer;
BEGIN
    IF segment IS NULL THEN -- nothing was ever published
        RETURN;
    END IF;
    BEGIN
        LOCK TABLE eventgate.maintenance IN EXCLUSIVE MODE NOWAIT;
    EXCEPTION
        WHEN lock_not_available THEN RETURN;
    END;
    again := true;
    BEGIN
        subject := 'log_' || segment;
        action := 'made';
        IF eventgate.make_partition(segment) THEN
            RETURN NEXT;
            RETURN;
        END IF;
        subject := 'log_' || segment + 1;
        IF eventgate.make_partition(segment + 1) THEN
            RETURN NEXT;
            RETURN;
        END IF;
        -- Before rotating: a log that fills a segment between two calls must lose one, too. Nor does a reader who holds
        -- the oldest keep it from rotating.
        held := eventgate.droppable(segment);
        IF held IS NOT NULL THEN
            action := 'dropped';
            subject := held;
            BEGIN
                PERFORM eventgate.drop_partition(held);
                RETURN NEXT;
                RETURN;
            EXCEPTION
                WHEN lock_not_available THEN NULL;
            END;
        END IF;
        action := 'rotated';
        subject := 'log_' || segment;
        IF eventgate.rotate(segment) THEN
            RETURN NEXT;
            RETURN;
        END IF;
        IF held IS NOT NULL THEN
            action := 'blocked';
            subject := held;
            again := false;
            RETURN NEXT;
            RETURN;
        END IF;
        action := 'tidied';
        subject := nullif(eventgate.watch_tidy(), 0) || ' watches';
        IF subject IS NOT NULL THEN
            RETURN NEXT;
            RETURN;
        END IF;
    EXCEPTION
        WHEN lock_not_available THEN
            action := 'blocked';
            again := false;
            RETURN NEXT;
    END;
    DELETE FROM eventgate.key AS k WHERE k.id IN (
        SELECT e.id FROM eventgate.key AS e
        WHERE e."time" < clock_timestamp() - (SELECT s.key_age FROM eventgate.setting AS s)
        ORDER BY e."time" LIMIT 10000);
    GET DIAGNOSTICS expired = ROW_COUNT;
    IF expired > 0 THEN
        action := 'expired';
        subject := expired || ' keys';
        again := expired = 10000;
        RETURN NEXT;
    END IF;
END
$$;
