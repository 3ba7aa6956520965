-- Who may do what. Nothing for PUBLIC, and of the functions just these for anybody but the owner.

REVOKE ALL ON ALL TABLES IN SCHEMA eventgate FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA eventgate FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA eventgate FROM PUBLIC;
REVOKE ALL ON SCHEMA eventgate FROM PUBLIC;

GRANT USAGE ON SCHEMA eventgate TO eventgate_publish, eventgate_read, eventgate_gateway, eventgate_admin;
GRANT EXECUTE ON FUNCTION eventgate.version(), eventgate.gateway_version()
    TO eventgate_publish, eventgate_read, eventgate_gateway, eventgate_admin;
GRANT EXECUTE ON FUNCTION eventgate.publish(text, json, text, text, text) TO eventgate_publish;
GRANT EXECUTE ON FUNCTION eventgate.position(), eventgate.cursor()
    TO eventgate_publish, eventgate_read, eventgate_gateway, eventgate_admin;
GRANT EXECUTE ON FUNCTION eventgate.mark() TO eventgate_read, eventgate_gateway, eventgate_admin;
GRANT SELECT ON eventgate.log, eventgate.channel, eventgate.incarnation TO eventgate_read, eventgate_gateway;
GRANT EXECUTE ON FUNCTION eventgate.append(text, integer[], text[], text[], text[], text[], text[])
    TO eventgate_gateway;
GRANT EXECUTE ON FUNCTION eventgate.attach(bigint) TO eventgate_gateway;
GRANT EXECUTE ON FUNCTION eventgate.maintain() TO eventgate_gateway, eventgate_admin;
GRANT EXECUTE ON FUNCTION eventgate.configure(text, text) TO eventgate_admin;
GRANT SELECT ON eventgate.setting, eventgate.channel, eventgate.incarnation TO eventgate_admin, eventgate_gateway;
GRANT EXECUTE ON FUNCTION eventgate.revoke(text, timestamptz), eventgate.unrevoke(text),
    eventgate.forget_revocations(timestamptz) TO eventgate_admin;
GRANT SELECT ON eventgate.revocation TO eventgate_admin, eventgate_gateway;
-- watch() runs with its caller's rights, and calls the next six.
GRANT EXECUTE ON FUNCTION eventgate.watch(regclass, text, text[], text[], text),
    eventgate.watch_in_path(regclass, text, text[], text[], text, text),
    eventgate.watch_begin(regclass, text, text[], text[], text),
    eventgate.watch_condition(regclass, text, text),
    eventgate.watch_relations(regclass),
    eventgate.watch_make_triggers(integer, regclass, text[]),
    eventgate.watch_end(regclass),
    eventgate.unwatch(regclass, text),
    eventgate.watched() TO eventgate_admin;
