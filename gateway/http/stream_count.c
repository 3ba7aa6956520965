/*
 * What streams have sent, in numbers.
 */
#include "eventgate/stream_internal.h"

/* By transport. */
static const enum eg_metric sent_events[] = {EG_METRIC_SENT_SSE, EG_METRIC_SENT_NDJSON};
static const enum eg_metric sent_bytes[] = {EG_METRIC_SENT_BYTES_SSE, EG_METRIC_SENT_BYTES_NDJSON};

void eg_stream_count_sent(struct eg_stream *stream, size_t bytes, size_t frames)
{
    struct eg_metrics *metrics = eg_stream_worker(stream)->metrics;
    if (bytes == 0)
        return;
    stream->moved_ms = eg_loop_now_ms(eg_stream_worker(stream)->loop);
    eg_metrics_add(metrics, sent_bytes[stream->format.transport], (int64_t)bytes);
    if (frames > 0)
        eg_metrics_add(metrics, sent_events[stream->format.transport], (int64_t)frames);
}

void eg_stream_count_time(struct eg_stream *stream, uint64_t arrived_us, size_t frames)
{
    if (arrived_us >= stream->prompt_us)
        eg_delivery_times_note(&stream->set->delivery_times, stream->set->metrics, arrived_us, frames);
}
