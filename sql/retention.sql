-- Settings, and what maintain() does.

CREATE OR REPLACE FUNCTION eventgate.configure(name text, value text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF name IS NULL OR name = 'one' OR NOT EXISTS (SELECT FROM pg_attribute AS a
            WHERE a.attrelid = 'eventgate.setting'::regclass AND a.attname = name AND a.attnum > 0 AND NOT a.attisdropped) THEN
        RAISE 'There is no setting %.', quote_nullable(name)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'They are the columns of eventgate.setting.';
    END IF;
    INSERT INTO eventgate.setting DEFAULT VALUES ON CONFLICT DO NOTHING;
    EXECUTE format('UPDATE eventgate.setting SET %I = %L', name, value);
EXCEPTION
    WHEN check_violation OR not_null_violation THEN
        RAISE 'The setting % can''t be %.', name, coalesce(value, 'NULL') USING ERRCODE = 'invalid_parameter_value';
END
$$;

-- Does one piece of work that is due, and says which; `again`: call again at once, there may be more.
CREATE OR REPLACE FUNCTION eventgate.maintain() RETURNS TABLE (action text, subject text, again boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '100ms'
AS $$
BEGIN
    RETURN;
END
$$;
