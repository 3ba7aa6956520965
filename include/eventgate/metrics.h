/*
 * Counters and gauges: declared once in the table below, counted without locks in blocks that belong to one thread
 * each, added up when somebody scrapes.
 *
 * A block holds every metric; a thread (or a set's connection) writes only its own block, with relaxed atomics. A block
 * may carry the name of a channel set: metrics of scope SET are shown with set="NAME", those of scope PROCESS as one
 * sum over all blocks. Rows of the same name stand together and differ in their fixed labels.
 */
#ifndef EG_METRICS_H
#define EG_METRICS_H

#include <stdatomic.h>

#include "eventgate/buffer.h"
#include "eventgate/common.h"

/* ID, name, fixed labels (or ""), kind, scope, help */
#define EG_METRICS_TABLE(X)                                                                                            \
    X(STREAMS_SSE, "eventgate_streams", "transport=\"sse\"", GAUGE, PROCESS,                                           \
      "Open streams and waiting polls, by transport.")                                                                 \
    X(STREAMS_NDJSON, "eventgate_streams", "transport=\"ndjson\"", GAUGE, PROCESS,                                     \
      "Open streams and waiting polls, by transport.")                                                                 \
    X(STREAMS_POLL, "eventgate_streams", "transport=\"poll\"", GAUGE, PROCESS,                                         \
      "Open streams and waiting polls, by transport.")                                                                 \
    X(SUBSCRIBED_SSE, "eventgate_subscriptions_total", "transport=\"sse\"", COUNTER, PROCESS,                          \
      "Subscriptions accepted, by transport.")                                                                         \
    X(SUBSCRIBED_NDJSON, "eventgate_subscriptions_total", "transport=\"ndjson\"", COUNTER, PROCESS,                    \
      "Subscriptions accepted, by transport.")                                                                         \
    X(SUBSCRIBED_POLL, "eventgate_subscriptions_total", "transport=\"poll\"", COUNTER, PROCESS,                        \
      "Subscriptions accepted, by transport.")                                                                         \
    X(RESUME_EXACT, "eventgate_resumes_total", "kind=\"exact\"", COUNTER, PROCESS,                                     \
      "Subscriptions that brought a cursor, by what came of it.")                                                      \
    X(RESUME_GAP, "eventgate_resumes_total", "kind=\"gap\"", COUNTER, PROCESS,                                         \
      "Subscriptions that brought a cursor, by what came of it.")                                                      \
    X(DELIVERIES, "eventgate_deliveries_total", "", COUNTER, PROCESS, "Events sent, once for each subscriber.")        \
    X(SENT_BYTES, "eventgate_stream_sent_bytes_total", "", COUNTER, PROCESS,                                           \
      "Bytes written to streams, without response heads.")                                                             \
    X(GAPS_RECONNECT, "eventgate_gaps_total", "reason=\"reconnect\"", COUNTER, PROCESS,                                \
      "Gaps told to subscribers, by reason.")                                                                          \
    X(GAPS_RETENTION, "eventgate_gaps_total", "reason=\"retention\"", COUNTER, PROCESS,                                \
      "Gaps told to subscribers, by reason.")                                                                          \
    X(GAPS_SLOW, "eventgate_gaps_total", "reason=\"slow\"", COUNTER, PROCESS, "Gaps told to subscribers, by reason.")  \
    X(GAPS_FAILOVER, "eventgate_gaps_total", "reason=\"failover\"", COUNTER, PROCESS,                                  \
      "Gaps told to subscribers, by reason.")                                                                          \
    X(GAPS_UNKNOWN, "eventgate_gaps_total", "reason=\"unknown\"", COUNTER, PROCESS,                                    \
      "Gaps told to subscribers, by reason.")                                                                          \
    X(BLOCKED, "eventgate_streams_blocked", "", GAUGE, PROCESS, "Streams whose socket is full.")                       \
    X(HALF_SENT, "eventgate_half_sent_closed_total", "", COUNTER, PROCESS,                                             \
      "Streams closed because their reader was stuck: in an event that had left the journal, or before its end.")      \
    X(CONNECTIONS, "eventgate_connections", "", GAUGE, PROCESS, "Open client connections, streams included.")          \
    X(ACCEPTED, "eventgate_connections_accepted_total", "", COUNTER, PROCESS, "Client connections accepted.")          \
    X(HANDSHAKES, "eventgate_tls_handshakes_total", "result=\"done\"", COUNTER, PROCESS, "TLS handshakes, by result.") \
    X(HANDSHAKES_FAILED, "eventgate_tls_handshakes_total", "result=\"failed\"", COUNTER, PROCESS,                      \
      "TLS handshakes, by result.")                                                                                    \
    X(CERTIFICATE_END, "eventgate_tls_certificate_not_after_seconds", "", GAUGE, PROCESS,                              \
      "Until when the TLS certificate is valid, in seconds since 1970; 0: no TLS.")                                    \
    X(REQUESTS_2XX, "eventgate_http_responses_total", "class=\"2xx\"", COUNTER, PROCESS,                               \
      "HTTP responses, by class of status.")                                                                           \
    X(REQUESTS_3XX, "eventgate_http_responses_total", "class=\"3xx\"", COUNTER, PROCESS,                               \
      "HTTP responses, by class of status.")                                                                           \
    X(REQUESTS_4XX, "eventgate_http_responses_total", "class=\"4xx\"", COUNTER, PROCESS,                               \
      "HTTP responses, by class of status.")                                                                           \
    X(REQUESTS_5XX, "eventgate_http_responses_total", "class=\"5xx\"", COUNTER, PROCESS,                               \
      "HTTP responses, by class of status.")                                                                           \
    X(LIMIT_CONNECTIONS, "eventgate_limited_total", "limit=\"max_connections\"", COUNTER, PROCESS,                     \
      "Requests and connections refused by a limit, by option.")                                                       \
    X(LIMIT_ADDRESS, "eventgate_limited_total", "limit=\"max_connections_per_address\"", COUNTER, PROCESS,             \
      "Requests and connections refused by a limit, by option.")                                                       \
    X(LIMIT_CHANNELS, "eventgate_limited_total", "limit=\"max_channels_per_stream\"", COUNTER, PROCESS,                \
      "Requests and connections refused by a limit, by option.")                                                       \
    X(LIMIT_HEADER, "eventgate_limited_total", "limit=\"max_header\"", COUNTER, PROCESS,                               \
      "Requests and connections refused by a limit, by option.")                                                       \
    X(LIMIT_BODY, "eventgate_limited_total", "limit=\"max_body\"", COUNTER, PROCESS,                                   \
      "Requests and connections refused by a limit, by option.")                                                       \
    X(LIMIT_BODIES, "eventgate_limited_total", "limit=\"max_bodies\"", COUNTER, PROCESS,                               \
      "Requests and connections refused by a limit, by option.")                                                       \
    X(LIMIT_BATCH, "eventgate_limited_total", "limit=\"max_batch_items\"", COUNTER, PROCESS,                           \
      "Requests and connections refused by a limit, by option.")                                                       \
    X(LIMIT_HEADER_TIME, "eventgate_limited_total", "limit=\"header_timeout\"", COUNTER, PROCESS,                      \
      "Requests and connections refused by a limit, by option.")                                                       \
    X(LIMIT_BODY_TIME, "eventgate_limited_total", "limit=\"body_timeout\"", COUNTER, PROCESS,                          \
      "Requests and connections refused by a limit, by option.")                                                       \
    X(LIMIT_SUBSCRIBE_TIME, "eventgate_limited_total", "limit=\"subscribe_timeout\"", COUNTER, PROCESS,                \
      "Requests and connections refused by a limit, by option.")                                                       \
    X(LIMIT_QUEUE, "eventgate_limited_total", "limit=\"publish_queue\"", COUNTER, PROCESS,                             \
      "Requests and connections refused by a limit, by option.")                                                       \
    X(LIMIT_PUBLISH_RATE, "eventgate_limited_total", "limit=\"publish_rate\"", COUNTER, PROCESS,                       \
      "Requests and connections refused by a limit, by option.")                                                       \
    X(LIMIT_SUBSCRIBE_RATE, "eventgate_limited_total", "limit=\"subscribe_rate\"", COUNTER, PROCESS,                   \
      "Requests and connections refused by a limit, by option.")                                                       \
    X(RATES_FORGOTTEN, "eventgate_rates_forgotten_total", "", COUNTER, PROCESS,                                        \
      "Clients whose use of their rate was forgotten too early, since there were more of them than are remembered.")   \
    X(LOG_DROPPED, "eventgate_log_lines_dropped_total", "", COUNTER, PROCESS,                                          \
      "Log lines dropped because the reader of standard error was too slow.")                                          \
    X(MEMORY, "eventgate_resident_memory_bytes", "", GAUGE, PROCESS, "Resident memory of the process.")                \
    X(PG_UP, "eventgate_postgres_listening", "", GAUGE, SET, "1 while every wanted channel is LISTENed.")              \
    X(PG_PUBLISHING, "eventgate_postgres_publishing", "", GAUGE, SET, "1 while the publishing connection is up.")      \
    X(PG_SESSIONS, "eventgate_postgres_listen_sessions_total", "", COUNTER, SET,                                       \
      "LISTEN sessions begun; every one after the first is a gap for the subscribers.")                                \
    X(PG_FAILURES, "eventgate_postgres_failures_total", "", COUNTER, SET,                                              \
      "Connections to PostgreSQL that failed or were lost.")                                                           \
    X(PG_QUEUE, "eventgate_postgres_notification_queue_ppm", "", GAUGE, SET,                                           \
      "pg_notification_queue_usage() in millionths; at 1,000,000 every NOTIFY in the cluster fails.")                  \
    X(PG_CHANNELS, "eventgate_channels", "", GAUGE, SET, "Channels LISTENed.")                                         \
    X(NOTIFICATIONS, "eventgate_notifications_total", "", COUNTER, SET, "Notifications received from PostgreSQL.")     \
    X(NOTIFICATIONS_STRAY, "eventgate_notifications_stray_total", "", COUNTER, SET,                                    \
      "Notifications received for a channel that is being UNLISTENed, and ignored.")                                   \
    X(NOTIFICATIONS_LOST, "eventgate_notifications_lost_total", "", COUNTER, SET,                                      \
      "Notifications that could not be kept for lack of memory; subscribers were told by a gap.")                      \
    X(FEED_DROPPED, "eventgate_feed_dropped_total", "", COUNTER, SET,                                                  \
      "Events dropped before a late worker took them; its subscribers were told by a gap.")                            \
    X(JOURNAL_EVENTS, "eventgate_journal_events", "", GAUGE, SET, "Events held in the journals of all workers.")       \
    X(JOURNAL_BYTES, "eventgate_journal_bytes", "", GAUGE, SET,                                                        \
      "Bytes of events that the journals of all workers refer to; shared events count once for each worker.")          \
    X(PUBLISHED, "eventgate_published_total", "result=\"committed\"", COUNTER, SET, "Live items of POSTs, by result.") \
    X(PUBLISH_REFUSED, "eventgate_published_total", "result=\"refused\"", COUNTER, SET,                                \
      "Live items of POSTs, by result.")                                                                               \
    X(PUBLISH_UNAVAILABLE, "eventgate_published_total", "result=\"unavailable\"", COUNTER, SET,                        \
      "Live items of POSTs, by result.")                                                                               \
    X(PUBLISH_UNKNOWN, "eventgate_published_total", "result=\"unknown\"", COUNTER, SET,                                \
      "Live items of POSTs, by result.")                                                                               \
    X(PUBLISH_TRANSACTIONS, "eventgate_publish_transactions_total", "", COUNTER, SET,                                  \
      "Transactions that published items of POSTs.")                                                                   \
    X(PUBLISH_QUEUED, "eventgate_publish_queue_items", "", GAUGE, SET, "Items waiting to be published or under way.")  \
    X(LOG_READING, "eventgate_log_reading", "", GAUGE, SET, "1 while the log of durable events is being read.")        \
    X(LOG_APPENDING, "eventgate_log_appending", "", GAUGE, SET, "1 while the appending connection is up.")             \
    X(LOG_POSITION, "eventgate_log_position", "", GAUGE, SET, "Position up to which the log has been read.")           \
    X(LOG_BREAKS, "eventgate_log_breaks_total", "", COUNTER, SET,                                                      \
      "Times that the log had lost events that were delivered (failover, restore); subscribers were told by a gap.")   \
    X(LOG_READS, "eventgate_log_reads_total", "kind=\"end\"", COUNTER, SET,                                            \
      "Reads of the log: at its end, and pages for those who are behind the journal.")                                 \
    X(LOG_PAGES, "eventgate_log_reads_total", "kind=\"page\"", COUNTER, SET,                                           \
      "Reads of the log: at its end, and pages for those who are behind the journal.")                                 \
    X(LOG_ROWS, "eventgate_log_rows_total", "kind=\"end\"", COUNTER, SET, "Rows that these reads have returned.")      \
    X(LOG_PAGE_ROWS, "eventgate_log_rows_total", "kind=\"page\"", COUNTER, SET,                                        \
      "Rows that these reads have returned.")                                                                          \
    X(LOG_PAGES_SHARED, "eventgate_log_pages_shared_total", "", COUNTER, SET,                                          \
      "Pages that were answered with one that had been read for somebody else.")                                       \
    X(LOG_PAGES_KEPT, "eventgate_log_pages_kept_bytes", "", GAUGE, SET,                                                \
      "Bytes of the pages that are kept for sharing.")                                                                 \
    X(LOG_PAGES_WAITING, "eventgate_log_pages_waiting", "", GAUGE, SET, "Pages asked for and not read yet.")           \
    X(LOG_CATCHING_UP, "eventgate_log_catching_up", "", GAUGE, SET,                                                    \
      "Subscriptions that are being fed from the log, since they are behind the journal.")                             \
    X(LOG_CAUGHT_UP, "eventgate_log_catch_ups_total", "", COUNTER, SET,                                                \
      "Subscriptions that were fed from the log until they met the journal.")                                          \
    X(LOG_MAINTAINED, "eventgate_log_maintenance_total", "", COUNTER, SET,                                             \
      "Times that this gateway looked after the log's partitions.")                                                    \
    X(REVOCATIONS_READING, "eventgate_revocations_reading", "", GAUGE, SET,                                            \
      "1 while the revocations of tokens are being read.")                                                             \
    X(APPENDED, "eventgate_appended_total", "result=\"committed\"", COUNTER, SET,                                      \
      "Durable items of POSTs, by result.")                                                                            \
    X(APPEND_REPLAYED, "eventgate_appended_total", "result=\"replayed\"", COUNTER, SET,                                \
      "Durable items of POSTs, by result.")                                                                            \
    X(APPEND_CONFLICT, "eventgate_appended_total", "result=\"conflict\"", COUNTER, SET,                                \
      "Durable items of POSTs, by result.")                                                                            \
    X(APPEND_WITHHELD, "eventgate_appended_total", "result=\"withheld\"", COUNTER, SET,                                \
      "Durable items of POSTs, by result.")                                                                            \
    X(APPEND_REFUSED, "eventgate_appended_total", "result=\"refused\"", COUNTER, SET,                                  \
      "Durable items of POSTs, by result.")                                                                            \
    X(APPEND_UNAVAILABLE, "eventgate_appended_total", "result=\"unavailable\"", COUNTER, SET,                          \
      "Durable items of POSTs, by result.")                                                                            \
    X(APPEND_UNKNOWN, "eventgate_appended_total", "result=\"unknown\"", COUNTER, SET,                                  \
      "Durable items of POSTs, by result.")                                                                            \
    X(APPEND_TRANSACTIONS, "eventgate_append_transactions_total", "", COUNTER, SET,                                    \
      "Transactions that appended durable items of POSTs.")                                                            \
    X(APPEND_QUEUED, "eventgate_append_queue_items", "", GAUGE, SET,                                                   \
      "Durable items waiting to be appended or under way.")

enum eg_metric {
#define X(id, name, labels, kind, scope, help) EG_METRIC_##id,
    EG_METRICS_TABLE(X)
#undef X
        EG_METRIC_COUNT
};

struct eg_metrics; /* one block */

/* A new block, known to eg_metrics_render() until it is freed. `set` is copied, NULL for none. NULL: out of memory. */
struct eg_metrics *eg_metrics_new(const char *set);
void eg_metrics_free(struct eg_metrics *metrics);

/* Adds `amount` (negative only for gauges). Any thread; cheapest on the block's own. */
void eg_metrics_add(struct eg_metrics *metrics, enum eg_metric metric, int64_t amount);

/* Sets a gauge. */
void eg_metrics_set(struct eg_metrics *metrics, enum eg_metric metric, int64_t value);

/* The sum of one metric over all blocks. Any thread; takes a lock. */
int64_t eg_metrics_sum(enum eg_metric metric);

/* Appends the Prometheus text format (version 0.0.4) of all blocks. Any thread; takes a lock. */
void eg_metrics_render(struct eg_buffer *buffer);

#endif
