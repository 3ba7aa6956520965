/* Is it UTF-8? Pure functions; any thread. */
#ifndef EG_UTF8_H
#define EG_UTF8_H

#include <stdbool.h>

#include "eventgate/common.h"

/* Is `data` valid UTF-8 (RFC 3629: no overlong forms, surrogates, or code points over U+10FFFF)? NUL bytes are valid.
 */
bool eg_utf8_valid(const char *data, size_t length);

/* How many bytes at the start of `data` are valid UTF-8. */
size_t eg_utf8_valid_prefix(const char *data, size_t length);

#endif
