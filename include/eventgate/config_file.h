/*
 * The configuration's INI file. The only module that knows inih.
 *
 * An indented line continues the value above it; a list goes on only behind a comma. What inih would cut or drop in
 * silence is refused: long lines, inline comments, zero bytes, and what follows the `]` of a section.
 */
#ifndef EG_CONFIG_FILE_H
#define EG_CONFIG_FILE_H

#include "eventgate/common.h"
#include "eventgate/config.h"

/* Files above this are refused. */
#define EG_CONFIG_FILE_MAX_BYTES (16u << 20)

/*
 * Sets what the file says in `config`, which has its defaults, and keeps its name there. 0, -ENOMEM, or -EINVAL with a
 * sentence that names file, line, section and key; `config` is then half set. Reads a file: never on a loop.
 */
int eg_config_file_read(struct eg_config *config, const char *name, struct eg_error *ret_error) EG_MUST_CHECK;

/* The same from memory; `name` stands for the file in sentences. */
int eg_config_file_parse(struct eg_config *config, const char *name, const char *text, size_t length,
                         struct eg_error *ret_error) EG_MUST_CHECK;

#endif
