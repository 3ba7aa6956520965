/*
 * Whose memory the libraries use.
 *
 * cjose and jansson don't bear a failed allocation, hence the scratch pad (see token.c). OpenSSL does, but doesn't
 * always say so, and a signature that couldn't be looked at must not read as a bad one: its allocations are its own,
 * and those that fail are remembered.
 */
#include <openssl/crypto.h>
#include <stdlib.h>

#include "eventgate/scratch.h"
#include "eventgate/token_internal.h"

static _Thread_local bool failed;

static void *remembered(void *memory)
{
    failed = failed || !memory;
    return memory;
}

static void *allocate(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return size > 0 ? remembered(malloc(size)) : NULL;
}

static void give_back(void *memory, const char *file, int line)
{
    (void)file, (void)line;
    free(memory);
}

static void *reallocate(void *memory, size_t size, const char *file, int line)
{
    if (size > 0)
        return remembered(realloc(memory, size));
    give_back(memory, file, line);
    return NULL;
}

/* Before there are threads, and before OpenSSL has allocated anything. cjose hands the pad on to OpenSSL, whose memory
 * outlives a token: so ours comes second. */
__attribute__((constructor)) static void lend_memory(void)
{
    cjose_set_alloc_funcs(eg_scratch_alloc, eg_scratch_realloc, eg_scratch_free);
    CRYPTO_set_mem_functions(allocate, reallocate, give_back);
    /* Nor does exit() take OpenSSL apart: libpq may still be in it, in the thread of an attempt to connect. */
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
}

void eg_token_memory_begin(void)
{
    failed = false;
}

bool eg_token_memory_failed(void)
{
    return failed;
}
