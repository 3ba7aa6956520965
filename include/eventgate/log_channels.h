/*
 * The durable channels of a set that had events while this gateway ran, for the log's reader. Postgres thread.
 *
 * Every row that is read asks for its channel, so one that is known costs a look-up, and one of another set the
 * patterns. Bounded by max_channels: beyond, those longest without an event are forgotten, as soon as no event of
 * theirs is left in any journal.
 */
#ifndef EG_LOG_CHANNELS_H
#define EG_LOG_CHANNELS_H

#include "eventgate/channel.h"
#include "eventgate/config.h"
#include "eventgate/feed.h"

struct eg_log_channels;

/* `set` and `listing` (which has them, too) are borrowed. NULL: out of memory. */
struct eg_log_channels *eg_log_channels_new(const struct eg_config_set *set, uint32_t workers,
                                            struct eg_channel_table *listing, struct eg_feed_sink sink);
/* The same durable channels, but other bounds; `set` (borrowed) is used from now on. */
void eg_log_channels_configure(struct eg_log_channels *channels, const struct eg_config_set *set);
void eg_log_channels_free(struct eg_log_channels *channels);

/*
 * The channel of that name in `ret_channel` (borrowed until the next call), or NULL: not one of the set. A new one is
 * announced to all workers (EG_FEED_LISTENED), a forgotten one taken back (EG_FEED_UNLISTENED); `before` is called
 * before either, to feed what has to come first. 0 or -ENOMEM.
 */
int eg_log_channels_find(struct eg_log_channels *channels, struct eg_bytes name, void (*before)(void *context),
                         void *context, struct eg_channel **ret_channel) EG_MUST_CHECK;

#endif
