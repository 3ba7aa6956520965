/*
 * The table of metrics: every family with its samples, in the order in which they are shown. docs/metrics.md has the
 * same for people, and a test compares.
 *
 * FAMILY: name, kind, scope, unit, help. The samples that follow are its own: SAMPLE for a number, BUCKETS for a
 * whole histogram; each with its id (EG_METRIC_id) and its fixed labels, or "".
 *
 * Kinds: COUNTER only grows; GAUGE is zero at first; STATE is a gauge that isn't shown before it has been set;
 * HISTOGRAM. Scope: PROCESS is one sum over all blocks, SET is shown for each set, with set="NAME". Unit: what is
 * counted as it is shown (ONE), or in millionths of it (MILLIONTHS): µs for seconds.
 */
#ifndef EG_METRICS_TABLE_H
#define EG_METRICS_TABLE_H

#define EG_METRICS_OF_STREAMS(FAMILY, SAMPLE, BUCKETS)                                                                 \
    FAMILY("eventgate_streams", GAUGE, PROCESS, ONE, "Open streams and waiting long-polls, by transport.")             \
    SAMPLE(STREAMS_SSE, "transport=\"sse\"")                                                                           \
    SAMPLE(STREAMS_NDJSON, "transport=\"ndjson\"")                                                                     \
    SAMPLE(STREAMS_POLL, "transport=\"poll\"")                                                                         \
    FAMILY("eventgate_subscriptions_total", COUNTER, PROCESS, ONE,                                                     \
           "Subscriptions accepted, by transport; each long-poll is one.")                                             \
    SAMPLE(SUBSCRIBED_SSE, "transport=\"sse\"")                                                                        \
    SAMPLE(SUBSCRIBED_NDJSON, "transport=\"ndjson\"")                                                                  \
    SAMPLE(SUBSCRIBED_POLL, "transport=\"poll\"")                                                                      \
    FAMILY("eventgate_resumes_total", COUNTER, PROCESS, ONE,                                                           \
           "Subscriptions that brought a cursor, by what came of it: exact from the journal, exact from the log, or "  \
           "a gap.")                                                                                                   \
    SAMPLE(RESUME_EXACT, "kind=\"journal\"")                                                                           \
    SAMPLE(RESUME_LOG, "kind=\"log\"")                                                                                 \
    SAMPLE(RESUME_GAP, "kind=\"gap\"")                                                                                 \
    FAMILY("eventgate_gaps_total", COUNTER, PROCESS, ONE, "Gaps told to subscribers, by reason.")                      \
    SAMPLE(GAPS_RECONNECT, "reason=\"reconnect\"")                                                                     \
    SAMPLE(GAPS_RETENTION, "reason=\"retention\"")                                                                     \
    SAMPLE(GAPS_SLOW, "reason=\"slow\"")                                                                               \
    SAMPLE(GAPS_FAILOVER, "reason=\"failover\"")                                                                       \
    SAMPLE(GAPS_UNKNOWN, "reason=\"unknown\"")                                                                         \
    FAMILY("eventgate_events_sent_total", COUNTER, PROCESS, ONE,                                                       \
           "Events sent, once for each subscriber, by transport.")                                                     \
    SAMPLE(SENT_SSE, "transport=\"sse\"")                                                                              \
    SAMPLE(SENT_NDJSON, "transport=\"ndjson\"")                                                                        \
    SAMPLE(SENT_POLL, "transport=\"poll\"")                                                                            \
    FAMILY("eventgate_sent_bytes_total", COUNTER, PROCESS, ONE,                                                        \
           "Bytes sent to subscribers, by transport, without response heads.")                                         \
    SAMPLE(SENT_BYTES_SSE, "transport=\"sse\"")                                                                        \
    SAMPLE(SENT_BYTES_NDJSON, "transport=\"ndjson\"")                                                                  \
    SAMPLE(SENT_BYTES_POLL, "transport=\"poll\"")                                                                      \
    FAMILY(                                                                                                            \
        "eventgate_delivery_seconds", HISTOGRAM, SET, MILLIONTHS,                                                      \
        "Time from the wake-up by PostgreSQL that brought an event to the call that hands it to a subscriber's "       \
        "socket, once for each subscriber that keeps up: what a resume, or a socket that was full, delayed is left "   \
        "out.")                                                                                                        \
    BUCKETS(DELIVERY, "")                                                                                              \
    FAMILY("eventgate_streams_blocked", GAUGE, PROCESS, ONE, "Streams whose socket is full now: slow subscribers.")    \
    SAMPLE(BLOCKED, "")                                                                                                \
    FAMILY("eventgate_stream_blocks_total", COUNTER, PROCESS, ONE, "Times that a stream's socket was full.")           \
    SAMPLE(BLOCKS, "")                                                                                                 \
    FAMILY("eventgate_stuck_streams_closed_total", COUNTER, PROCESS, ONE,                                              \
           "Streams closed because their reader was stuck: in an event that had left the journal, or before its end.") \
    SAMPLE(STUCK, "")

#define EG_METRICS_OF_EVENTS(FAMILY, SAMPLE, BUCKETS)                                                                  \
    FAMILY("eventgate_events_received_total", COUNTER, SET, ONE,                                                       \
           "Events that came from PostgreSQL, live ones by NOTIFY and durable ones by the log.")                       \
    SAMPLE(RECEIVED_LIVE, "kind=\"live\"")                                                                             \
    SAMPLE(RECEIVED_DURABLE, "kind=\"durable\"")                                                                       \
    FAMILY("eventgate_received_bytes_total", COUNTER, SET, ONE, "Bytes of the payloads of these events.")              \
    SAMPLE(RECEIVED_BYTES_LIVE, "kind=\"live\"")                                                                       \
    SAMPLE(RECEIVED_BYTES_DURABLE, "kind=\"durable\"")                                                                 \
    FAMILY("eventgate_notifications_ignored_total", COUNTER, SET, ONE,                                                 \
           "Notifications for a channel that is being UNLISTENed.")                                                    \
    SAMPLE(NOTIFICATIONS_STRAY, "")                                                                                    \
    FAMILY("eventgate_notifications_lost_total", COUNTER, SET, ONE,                                                    \
           "Notifications that could not be kept for lack of memory; subscribers were told by a gap.")                 \
    SAMPLE(NOTIFICATIONS_LOST, "")                                                                                     \
    FAMILY("eventgate_feed_dropped_total", COUNTER, SET, ONE,                                                          \
           "Events dropped before a late worker took them; its subscribers were told by a gap.")                       \
    SAMPLE(FEED_DROPPED, "")                                                                                           \
    FAMILY("eventgate_journal_events", GAUGE, SET, ONE, "Events held in the journals of all workers.")                 \
    SAMPLE(JOURNAL_EVENTS, "")                                                                                         \
    FAMILY("eventgate_journal_bytes", GAUGE, SET, ONE,                                                                 \
           "Bytes of events that the journals of all workers refer to; shared events count once for each worker.")     \
    SAMPLE(JOURNAL_BYTES, "")                                                                                          \
    FAMILY("eventgate_journal_fill_ratio", GAUGE, SET, MILLIONTHS,                                                     \
           "How full the journals are, 0 to 1, by limit: a full one is normal, and lets go of the oldest events.")     \
    SAMPLE(JOURNAL_FILL_EVENTS, "limit=\"journal_events\"")                                                            \
    SAMPLE(JOURNAL_FILL_BYTES, "limit=\"journal_bytes\"")                                                              \
    FAMILY("eventgate_channels", GAUGE, SET, ONE, "Channels LISTENed.")                                                \
    SAMPLE(CHANNELS, "")

#define EG_METRICS_OF_PUBLISHING(FAMILY, SAMPLE, BUCKETS)                                                              \
    FAMILY("eventgate_published_total", COUNTER, SET, ONE,                                                             \
           "Items of POSTs, by kind of channel and result. unknown: the connection was lost before PostgreSQL "        \
           "answered; withheld: another item of the batch was in conflict.")                                           \
    SAMPLE(PUBLISHED, "kind=\"live\",result=\"committed\"")                                                            \
    SAMPLE(PUBLISH_REFUSED, "kind=\"live\",result=\"refused\"")                                                        \
    SAMPLE(PUBLISH_UNAVAILABLE, "kind=\"live\",result=\"unavailable\"")                                                \
    SAMPLE(PUBLISH_UNKNOWN, "kind=\"live\",result=\"unknown\"")                                                        \
    SAMPLE(APPENDED, "kind=\"durable\",result=\"committed\"")                                                          \
    SAMPLE(APPEND_REPLAYED, "kind=\"durable\",result=\"replayed\"")                                                    \
    SAMPLE(APPEND_CONFLICT, "kind=\"durable\",result=\"conflict\"")                                                    \
    SAMPLE(APPEND_WITHHELD, "kind=\"durable\",result=\"withheld\"")                                                    \
    SAMPLE(APPEND_REFUSED, "kind=\"durable\",result=\"refused\"")                                                      \
    SAMPLE(APPEND_UNAVAILABLE, "kind=\"durable\",result=\"unavailable\"")                                              \
    SAMPLE(APPEND_UNKNOWN, "kind=\"durable\",result=\"unknown\"")                                                      \
    FAMILY("eventgate_publish_seconds", HISTOGRAM, SET, MILLIONTHS,                                                    \
           "Time from a POST that has been read to its commit, by kind of channel; of those that were committed.")     \
    BUCKETS(PUBLISH_TIME, "kind=\"live\"")                                                                             \
    BUCKETS(APPEND_TIME, "kind=\"durable\"")                                                                           \
    FAMILY("eventgate_publish_batch_items", HISTOGRAM, SET, ONE,                                                       \
           "Items that shared a transaction, by kind of channel; of transactions that were committed.")                \
    BUCKETS(PUBLISH_BATCH, "kind=\"live\"")                                                                            \
    BUCKETS(APPEND_BATCH, "kind=\"durable\"")                                                                          \
    FAMILY("eventgate_publish_queue_items", GAUGE, SET, ONE, "Items of POSTs waiting to be published or under way.")   \
    SAMPLE(PUBLISH_QUEUED, "kind=\"live\"")                                                                            \
    SAMPLE(APPEND_QUEUED, "kind=\"durable\"")                                                                          \
    FAMILY("eventgate_publish_queue_limit_items", STATE, SET, ONE,                                                     \
           "How many of them there may be (publish_queue), by kind of channel.")                                       \
    SAMPLE(PUBLISH_QUEUE_LIMIT, "kind=\"live\"")                                                                       \
    SAMPLE(APPEND_QUEUE_LIMIT, "kind=\"durable\"")

#define EG_METRICS_OF_THE_LOG(FAMILY, SAMPLE, BUCKETS)                                                                 \
    FAMILY("eventgate_log_head_position", STATE, SET, ONE,                                                             \
           "Position of the newest event in the log, looked at every 5 s.")                                            \
    SAMPLE(LOG_HEAD, "")                                                                                               \
    FAMILY("eventgate_log_position", STATE, SET, ONE, "Position up to which this gateway has read the log.")           \
    SAMPLE(LOG_POSITION, "")                                                                                           \
    FAMILY("eventgate_log_lag_seconds", STATE, SET, MILLIONTHS,                                                        \
           "How much later the newest event of the log was appended than the last one that this gateway has read, "    \
           "looked at every 5 s.")                                                                                     \
    SAMPLE(LOG_LAG, "")                                                                                                \
    FAMILY("eventgate_log_last_event_timestamp_seconds", STATE, SET, MILLIONTHS,                                       \
           "When the last event that this gateway has read was appended, in seconds since 1970.")                      \
    SAMPLE(LOG_LAST_EVENT, "")                                                                                         \
    FAMILY("eventgate_log_breaks_total", COUNTER, SET, ONE,                                                            \
           "Times that the log had lost events that were delivered (failover, restore); subscribers were told by a "   \
           "gap.")                                                                                                     \
    SAMPLE(LOG_BREAKS, "")                                                                                             \
    FAMILY("eventgate_log_reads_total", COUNTER, SET, ONE,                                                             \
           "Reads of the log: at its end, and pages for those who are behind the journal.")                            \
    SAMPLE(LOG_READS, "kind=\"end\"")                                                                                  \
    SAMPLE(LOG_PAGES, "kind=\"page\"")                                                                                 \
    FAMILY("eventgate_log_rows_total", COUNTER, SET, ONE, "Rows that these reads have returned.")                      \
    SAMPLE(LOG_ROWS, "kind=\"end\"")                                                                                   \
    SAMPLE(LOG_PAGE_ROWS, "kind=\"page\"")                                                                             \
    FAMILY("eventgate_log_pages_shared_total", COUNTER, SET, ONE,                                                      \
           "Pages that were answered with one that had been read for somebody else.")                                  \
    SAMPLE(LOG_PAGES_SHARED, "")                                                                                       \
    FAMILY("eventgate_log_pages_kept_bytes", GAUGE, SET, ONE, "Bytes of the pages that are kept for sharing.")         \
    SAMPLE(LOG_PAGES_KEPT, "")                                                                                         \
    FAMILY("eventgate_log_pages_waiting", GAUGE, SET, ONE, "Pages asked for and not read yet.")                        \
    SAMPLE(LOG_PAGES_WAITING, "")                                                                                      \
    FAMILY("eventgate_log_catching_up", GAUGE, SET, ONE,                                                               \
           "Subscriptions that are being fed from the log, since they are behind the journal.")                        \
    SAMPLE(LOG_CATCHING_UP, "")                                                                                        \
    FAMILY("eventgate_log_catch_ups_total", COUNTER, SET, ONE,                                                         \
           "Subscriptions that were fed from the log until they met the journal.")                                     \
    SAMPLE(LOG_CAUGHT_UP, "")                                                                                          \
    FAMILY("eventgate_log_oldest_position", STATE, SET, ONE,                                                           \
           "Position of the oldest event that retention has kept, looked at every 5 s.")                               \
    SAMPLE(LOG_OLDEST, "")                                                                                             \
    FAMILY("eventgate_log_oldest_timestamp_seconds", STATE, SET, MILLIONTHS,                                           \
           "When that event was appended, in seconds since 1970.")                                                     \
    SAMPLE(LOG_OLDEST_TIME, "")                                                                                        \
    FAMILY("eventgate_log_size_bytes", STATE, SET, ONE, "Size of the log in the database, with its indexes.")          \
    SAMPLE(LOG_SIZE, "")                                                                                               \
    FAMILY("eventgate_log_partitions", STATE, SET, ONE, "Partitions of the log.")                                      \
    SAMPLE(LOG_PARTITIONS, "")                                                                                         \
    FAMILY("eventgate_log_maintenance_timestamp_seconds", STATE, SET, MILLIONTHS,                                      \
           "When this gateway last looked after the log's partitions, in seconds since 1970; it does every 5 s.")      \
    SAMPLE(LOG_MAINTAINED, "")                                                                                         \
    FAMILY("eventgate_log_maintenance_total", COUNTER, SET, ONE,                                                       \
           "What came of that: partitions made, rotated and dropped, keys expired, watches tidied up, or blocked by "  \
           "somebody who holds a lock.")                                                                               \
    SAMPLE(LOG_MADE, "action=\"made\"")                                                                                \
    SAMPLE(LOG_ROTATED, "action=\"rotated\"")                                                                          \
    SAMPLE(LOG_DROPPED_PARTITIONS, "action=\"dropped\"")                                                               \
    SAMPLE(LOG_EXPIRED, "action=\"expired\"")                                                                          \
    SAMPLE(LOG_TIDIED, "action=\"tidied\"")                                                                            \
    SAMPLE(LOG_BLOCKED, "action=\"blocked\"")

/* Connections: in the order of enum eg_metrics_connection. */
#define EG_METRICS_OF_POSTGRES(FAMILY, SAMPLE, BUCKETS)                                                                \
    FAMILY("eventgate_postgres_up", STATE, SET, ONE,                                                                   \
           "1 while a connection to PostgreSQL does its work: LISTENs to every wanted channel, publishes, reads the "  \
           "log's end, reads pages of it, appends, maintains the log, reads revocations.")                             \
    SAMPLE(PG_UP, "connection=\"listen\"")                                                                             \
    SAMPLE(PG_UP_PUBLISH, "connection=\"publish\"")                                                                    \
    SAMPLE(PG_UP_READ, "connection=\"read\"")                                                                          \
    SAMPLE(PG_UP_PAGES, "connection=\"pages\"")                                                                        \
    SAMPLE(PG_UP_APPEND, "connection=\"append\"")                                                                      \
    SAMPLE(PG_UP_KEEP, "connection=\"keep\"")                                                                          \
    SAMPLE(PG_UP_REVOCATIONS, "connection=\"revocations\"")                                                            \
    FAMILY("eventgate_postgres_sessions_total", COUNTER, SET, ONE,                                                     \
           "Sessions in which a connection did its work; each one after the first is a reconnect, which for listen "   \
           "is a gap for subscribers of live channels.")                                                               \
    SAMPLE(PG_SESSIONS, "connection=\"listen\"")                                                                       \
    SAMPLE(PG_SESSIONS_PUBLISH, "connection=\"publish\"")                                                              \
    SAMPLE(PG_SESSIONS_READ, "connection=\"read\"")                                                                    \
    SAMPLE(PG_SESSIONS_PAGES, "connection=\"pages\"")                                                                  \
    SAMPLE(PG_SESSIONS_APPEND, "connection=\"append\"")                                                                \
    SAMPLE(PG_SESSIONS_KEEP, "connection=\"keep\"")                                                                    \
    SAMPLE(PG_SESSIONS_REVOCATIONS, "connection=\"revocations\"")                                                      \
    FAMILY("eventgate_postgres_failures_total", COUNTER, SET, ONE,                                                     \
           "Times that a connection to PostgreSQL could not be made, or was lost.")                                    \
    SAMPLE(PG_FAILURES, "connection=\"listen\"")                                                                       \
    SAMPLE(PG_FAILURES_PUBLISH, "connection=\"publish\"")                                                              \
    SAMPLE(PG_FAILURES_READ, "connection=\"read\"")                                                                    \
    SAMPLE(PG_FAILURES_PAGES, "connection=\"pages\"")                                                                  \
    SAMPLE(PG_FAILURES_APPEND, "connection=\"append\"")                                                                \
    SAMPLE(PG_FAILURES_KEEP, "connection=\"keep\"")                                                                    \
    SAMPLE(PG_FAILURES_REVOCATIONS, "connection=\"revocations\"")                                                      \
    FAMILY("eventgate_postgres_notification_queue_ratio", STATE, SET, MILLIONTHS,                                      \
           "pg_notification_queue_usage(), 0 to 1; at 1 every NOTIFY in the cluster fails.")                           \
    SAMPLE(PG_QUEUE, "")

#define EG_METRICS_OF_HTTP(FAMILY, SAMPLE, BUCKETS)                                                                    \
    FAMILY("eventgate_connections", GAUGE, PROCESS, ONE, "Open client connections, streams included.")                 \
    SAMPLE(CONNECTIONS, "")                                                                                            \
    FAMILY("eventgate_connections_limit", STATE, PROCESS, ONE,                                                         \
           "How many there may be: max_connections, or what the limit of open files leaves of it.")                    \
    SAMPLE(CONNECTIONS_LIMIT, "")                                                                                      \
    FAMILY("eventgate_connections_accepted_total", COUNTER, PROCESS, ONE, "Client connections accepted.")              \
    SAMPLE(ACCEPTED, "")                                                                                               \
    FAMILY("eventgate_http_responses_total", COUNTER, PROCESS, ONE, "HTTP responses, by class of status.")             \
    SAMPLE(REQUESTS_2XX, "class=\"2xx\"")                                                                              \
    SAMPLE(REQUESTS_3XX, "class=\"3xx\"")                                                                              \
    SAMPLE(REQUESTS_4XX, "class=\"4xx\"")                                                                              \
    SAMPLE(REQUESTS_5XX, "class=\"5xx\"")                                                                              \
    FAMILY("eventgate_limited_total", COUNTER, PROCESS, ONE,                                                           \
           "Requests and connections refused by a limit, by option.")                                                  \
    SAMPLE(LIMIT_CONNECTIONS, "limit=\"max_connections\"")                                                             \
    SAMPLE(LIMIT_ADDRESS, "limit=\"max_connections_per_address\"")                                                     \
    SAMPLE(LIMIT_CHANNELS, "limit=\"max_channels_per_stream\"")                                                        \
    SAMPLE(LIMIT_HEADER, "limit=\"max_header\"")                                                                       \
    SAMPLE(LIMIT_BODY, "limit=\"max_body\"")                                                                           \
    SAMPLE(LIMIT_BODIES, "limit=\"max_bodies\"")                                                                       \
    SAMPLE(LIMIT_BATCH, "limit=\"max_batch_items\"")                                                                   \
    SAMPLE(LIMIT_HEADER_TIME, "limit=\"header_timeout\"")                                                              \
    SAMPLE(LIMIT_BODY_TIME, "limit=\"body_timeout\"")                                                                  \
    SAMPLE(LIMIT_SUBSCRIBE_TIME, "limit=\"subscribe_timeout\"")                                                        \
    SAMPLE(LIMIT_QUEUE, "limit=\"publish_queue\"")                                                                     \
    SAMPLE(LIMIT_PUBLISH_RATE, "limit=\"publish_rate\"")                                                               \
    SAMPLE(LIMIT_SUBSCRIBE_RATE, "limit=\"subscribe_rate\"")                                                           \
    FAMILY("eventgate_rates_forgotten_total", COUNTER, PROCESS, ONE,                                                   \
           "Clients whose use of their rate was forgotten too early, since there were more of them than are "          \
           "remembered.")                                                                                              \
    SAMPLE(RATES_FORGOTTEN, "")                                                                                        \
    FAMILY("eventgate_tokens_refused_total", COUNTER, PROCESS, ONE,                                                    \
           "Requests answered 401 or 403 for their token, by reason. missing: none where one is needed; key: no such " \
           "key, or not its algorithm; issuer: iss or aud; claims: what is missing or malformed; grant: a good token " \
           "that doesn't grant this.")                                                                                 \
    SAMPLE(TOKENS_MISSING, "reason=\"missing\"")                                                                       \
    SAMPLE(TOKENS_MALFORMED, "reason=\"malformed\"")                                                                   \
    SAMPLE(TOKENS_KEY, "reason=\"key\"")                                                                               \
    SAMPLE(TOKENS_SIGNATURE, "reason=\"signature\"")                                                                   \
    SAMPLE(TOKENS_EXPIRED, "reason=\"expired\"")                                                                       \
    SAMPLE(TOKENS_NOT_YET, "reason=\"not_yet\"")                                                                       \
    SAMPLE(TOKENS_ISSUER, "reason=\"issuer\"")                                                                         \
    SAMPLE(TOKENS_CLAIMS, "reason=\"claims\"")                                                                         \
    SAMPLE(TOKENS_REVOKED, "reason=\"revoked\"")                                                                       \
    SAMPLE(TOKENS_GRANT, "reason=\"grant\"")                                                                           \
    FAMILY("eventgate_tls_handshakes_total", COUNTER, PROCESS, ONE, "TLS handshakes, by result.")                      \
    SAMPLE(HANDSHAKES, "result=\"done\"")                                                                              \
    SAMPLE(HANDSHAKES_FAILED, "result=\"failed\"")                                                                     \
    FAMILY("eventgate_tls_certificate_expiry_timestamp_seconds", STATE, PROCESS, ONE,                                  \
           "Until when the TLS certificate is valid, in seconds since 1970; only where there is TLS.")                 \
    SAMPLE(CERTIFICATE_END, "")

#define EG_METRICS_OF_THE_PROCESS(FAMILY, SAMPLE, BUCKETS)                                                             \
    FAMILY("eventgate_loop_turn_seconds", HISTOGRAM, PROCESS, MILLIONTHS,                                              \
           "How long the turns of the event loops took, without the waiting; meanwhile all else of the thread waits.") \
    BUCKETS(TURN_WORKER, "thread=\"worker\"")                                                                          \
    BUCKETS(TURN_POSTGRES, "thread=\"postgres\"")                                                                      \
    FAMILY("eventgate_loop_delay_seconds", HISTOGRAM, PROCESS, MILLIONTHS,                                             \
           "How much later than they were due the timers of the event loops fired, to the ms: long turns, or a "       \
           "processor that wasn't to be had.")                                                                         \
    BUCKETS(DELAY_WORKER, "thread=\"worker\"")                                                                         \
    BUCKETS(DELAY_POSTGRES, "thread=\"postgres\"")                                                                     \
    FAMILY("eventgate_log_lines_dropped_total", COUNTER, PROCESS, ONE,                                                 \
           "Lines dropped because the reader of standard error was too slow.")                                         \
    SAMPLE(LINES_DROPPED, "")                                                                                          \
    FAMILY("eventgate_build_info", STATE, PROCESS, ONE, "Always 1; the label is the version of the program.")          \
    SAMPLE(BUILD, "version=\"" EG_VERSION "\"")                                                                        \
    FAMILY("process_resident_memory_bytes", STATE, PROCESS, ONE, "Resident memory of the process.")                    \
    SAMPLE(MEMORY, "")                                                                                                 \
    FAMILY("process_virtual_memory_bytes", STATE, PROCESS, ONE, "Virtual memory of the process.")                      \
    SAMPLE(VIRTUAL_MEMORY, "")                                                                                         \
    FAMILY("process_open_fds", STATE, PROCESS, ONE, "Open file descriptors.")                                          \
    SAMPLE(OPEN_FDS, "")                                                                                               \
    FAMILY("process_max_fds", STATE, PROCESS, ONE, "How many file descriptors there may be (ulimit -n).")              \
    SAMPLE(MAX_FDS, "")                                                                                                \
    FAMILY("process_cpu_seconds_total", COUNTER, PROCESS, MILLIONTHS, "Processor time of all threads.")                \
    SAMPLE(CPU, "")                                                                                                    \
    FAMILY("process_start_time_seconds", STATE, PROCESS, MILLIONTHS, "When the process started, since 1970.")          \
    SAMPLE(START_TIME, "")

#define EG_METRICS_TABLE(FAMILY, SAMPLE, BUCKETS)                                                                      \
    EG_METRICS_OF_STREAMS(FAMILY, SAMPLE, BUCKETS)                                                                     \
    EG_METRICS_OF_EVENTS(FAMILY, SAMPLE, BUCKETS)                                                                      \
    EG_METRICS_OF_PUBLISHING(FAMILY, SAMPLE, BUCKETS)                                                                  \
    EG_METRICS_OF_THE_LOG(FAMILY, SAMPLE, BUCKETS)                                                                     \
    EG_METRICS_OF_POSTGRES(FAMILY, SAMPLE, BUCKETS)                                                                    \
    EG_METRICS_OF_HTTP(FAMILY, SAMPLE, BUCKETS)                                                                        \
    EG_METRICS_OF_THE_PROCESS(FAMILY, SAMPLE, BUCKETS)

#endif
