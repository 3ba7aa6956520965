-- The builds, one at a time. Whatever changes a build tells the pages of it in the same transaction.
CREATE TABLE build (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'passed', 'failed', 'stopped')),
    percent integer NOT NULL DEFAULT 0,
    log text[] NOT NULL DEFAULT '{}'
);
CREATE UNIQUE INDEX ON build ((true)) WHERE state = 'running';

-- False: that build isn't running any more, and nothing was changed.
CREATE FUNCTION step(number integer, line text, percent integer DEFAULT NULL, state text DEFAULT 'running') RETURNS boolean
    LANGUAGE sql
AS $$
    WITH changed AS (
        UPDATE build AS b
        SET state = step.state, percent = coalesce(step.percent, b.percent), log = b.log || line
        WHERE b.id = number AND b.state = 'running'
        RETURNING b.id, b.state, b.percent
    )
    SELECT count(eventgate.publish('build', json_build_object('id', c.id, 'state', c.state, 'percent', c.percent, 'line', line))) > 0
    FROM changed AS c
$$;
