/*
 * The rows of a result.
 */
#include <libpq-fe.h>
#include <string.h>

#include "eventgate/connection.h"

size_t eg_result_count(const struct eg_result *result)
{
    return (size_t)PQntuples(result->rows);
}

size_t eg_result_columns(const struct eg_result *result)
{
    return (size_t)PQnfields(result->rows);
}

const char *eg_result_column_name(const struct eg_result *result, size_t column)
{
    return PQfname(result->rows, (int)column);
}

struct eg_bytes eg_result_bytes(const struct eg_result *result, size_t row, size_t column)
{
    if (PQgetisnull(result->rows, (int)row, (int)column))
        return (struct eg_bytes){NULL, 0};
    return (struct eg_bytes){PQgetvalue(result->rows, (int)row, (int)column),
                             (size_t)PQgetlength(result->rows, (int)row, (int)column)};
}

int64_t eg_result_integer(const struct eg_result *result, size_t row, size_t column)
{
    struct eg_bytes bytes = eg_result_bytes(result, row, column);
    if (bytes.length == 0)
        return 0;
    uint64_t value = (unsigned char)bytes.data[0] & 0x80 ? UINT64_MAX : 0; /* the sign goes on to the left */
    for (size_t i = 0; i < bytes.length; i++)
        value = value << 8 | (unsigned char)bytes.data[i];
    return (int64_t)value;
}
