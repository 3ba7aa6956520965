/* What the load generator is told on its command line. */
#ifndef BENCH_SETTINGS_H
#define BENCH_SETTINGS_H

struct settings {
    const char *work;
    const char *server, *publish, *channel, *aims;
    unsigned streams, channels, payload, per_address, window, rate, connections, batch, seconds, warm_up;
};

/* Exits with a sentence or the usage if they are no good. */
void settings_read(int count, char **arguments, struct settings *ret_settings);

#endif
