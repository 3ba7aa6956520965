/*
 * The files of gateway/web/ as they are compiled into the program. The table is made at build time (gateway/web/embed);
 * constant.
 */
#ifndef EG_WEB_FILES_H
#define EG_WEB_FILES_H

#include <stddef.h>

/* The bytes that are sent. */
struct eg_web_body {
    const char *etag; /* strong, with its quotes: of the file's SHA-256 and the coding */
    const unsigned char *data;
    size_t length; /* bytes */
};

struct eg_web_file {
    const char *path;       /* of its URL: "/eventgate.js" */
    const char *media_type; /* "text/javascript; charset=utf-8" */
    struct eg_web_body plain, gzip;
};

extern const struct eg_web_file eg_web_files[];
extern const size_t eg_web_file_count;

#endif
