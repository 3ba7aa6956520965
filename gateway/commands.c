/*
 * The table of commands.
 */
#include "eventgate/command.h"

#include <string.h>

#include "eventgate/client_commands.h"
#include "eventgate/common.h"
#include "eventgate/doctor_command.h"
#include "eventgate/schema_command.h"

static const struct eg_command commands[] = {
    {"schema", eg_schema_command},   {"doctor", eg_doctor_command},           {"tail", eg_tail_command},
    {"publish", eg_publish_command}, {"healthcheck", eg_healthcheck_command},
};

const struct eg_command *eg_command_find(const char *name)
{
    for (size_t i = 0; i < EG_ARRAY_LENGTH(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}
