/*
 * A pad is a list of chunks, filled from front to back, nothing given back before its end. Each block has its size in
 * front of it.
 */
#include "eventgate/scratch.h"

#include <setjmp.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES 32768

struct chunk {
    struct chunk *next; /* older */
    size_t size, used;
    alignas(max_align_t) char bytes[];
};

struct block {
    size_t size;
    alignas(max_align_t) char bytes[];
};

struct pad {
    struct chunk *chunks;
    size_t left; /* what further chunks may have */
    jmp_buf exhausted;
};

static _Thread_local struct pad *pad; /* NULL outside of a run */

static void add_chunk(size_t needed)
{
    size_t size = needed > CHUNK_BYTES ? needed : CHUNK_BYTES;
    struct chunk *chunk = size <= pad->left ? malloc(sizeof(*chunk) + size) : NULL;
    if (!chunk)
        longjmp(pad->exhausted, 1);
    chunk->next = pad->chunks;
    chunk->size = size;
    chunk->used = 0;
    pad->chunks = chunk;
    pad->left -= size;
}

static void *pad_alloc(size_t size)
{
    size_t align = alignof(max_align_t);
    if (size > SIZE_MAX / 2)
        longjmp(pad->exhausted, 1);
    size_t needed = sizeof(struct block) + (size + align - 1) / align * align;
    if (!pad->chunks || pad->chunks->size - pad->chunks->used < needed)
        add_chunk(needed);
    struct block *block = (struct block *)(void *)(pad->chunks->bytes + pad->chunks->used);
    pad->chunks->used += needed;
    block->size = size;
    return block->bytes;
}

static bool is_in_pad(const void *memory)
{
    for (const struct chunk *chunk = pad ? pad->chunks : NULL; chunk; chunk = chunk->next)
        if ((const char *)memory >= chunk->bytes && (const char *)memory < chunk->bytes + chunk->size)
            return true;
    return false;
}

void *eg_scratch_alloc(size_t size)
{
    return pad ? pad_alloc(size) : malloc(size);
}

void *eg_scratch_realloc(void *memory, size_t size)
{
    if (!memory)
        return eg_scratch_alloc(size);
    if (!is_in_pad(memory))
        return realloc(memory, size);
    const struct block *block = EG_CONTAINER_OF(memory, struct block, bytes);
    void *copy = pad_alloc(size);
    memcpy(copy, memory, size < block->size ? size : block->size);
    return copy;
}

void eg_scratch_free(void *memory)
{
    if (!is_in_pad(memory))
        free(memory);
}

bool eg_scratch_run(size_t max_bytes, void (*work)(void *context), void *context)
{
    struct pad own = {.left = max_bytes};
    volatile bool done = false;
    pad = &own;
    if (setjmp(own.exhausted) == 0) {
        work(context);
        done = true;
    }
    pad = NULL;
    while (own.chunks) {
        struct chunk *next = own.chunks->next;
        free(own.chunks);
        own.chunks = next;
    }
    return done;
}
