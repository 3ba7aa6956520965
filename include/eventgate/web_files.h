/*
 * The files of gateway/web/ as they are compiled into the program. The table is made at build time (gateway/web/embed);
 * constant.
 */
#ifndef EG_WEB_FILES_H
#define EG_WEB_FILES_H

#include <stddef.h>

struct eg_web_file {
    const char *path;       /* of its URL: "/eventgate.js" */
    const char *media_type; /* "text/javascript; charset=utf-8" */
    const char *etag;       /* strong, with its quotes: of the content's SHA-256 */
    const unsigned char *data;
    size_t length; /* bytes */
};

extern const struct eg_web_file eg_web_files[];
extern const size_t eg_web_file_count;

#endif
