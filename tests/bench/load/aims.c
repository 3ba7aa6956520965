#include "aims.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct crowd_aim *aims_read(const char *path, uint32_t *ret_count)
{
    FILE *file = fopen(path, "r");
    struct crowd_aim *aims = NULL;
    char line[512], *target;
    uint32_t count = 0;
    if (!file)
        err(1, "%s", path);
    while (fgets(line, sizeof(line), file)) {
        aims = reallocarray(aims, count + 1, sizeof(*aims));
        if (!aims)
            errx(1, "out of memory");
        aims[count].events = strtoull(line, &target, 10);
        if (*target != ' ' || aims[count].events == 0)
            errx(2, "not a number and a target: %s", line);
        aims[count++].target = strndup(target + 1, strcspn(target + 1, "\n"));
    }
    fclose(file);
    if (count == 0)
        errx(2, "%s has no lines", path);
    *ret_count = count;
    return aims;
}

void aims_free(struct crowd_aim *aims, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        free(aims[i].target);
    free(aims);
}
