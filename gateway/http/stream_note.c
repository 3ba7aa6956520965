/*
 * Notes.
 */
#include "eventgate/stream_note.h"

#include "eventgate/frame.h"

void eg_stream_note_done(struct eg_stream_note *note)
{
    eg_buffer_done(&note->bytes);
    note->bytes = EG_BUFFER_INIT;
    note->sent = 0;
    note->is_rest = false;
}

bool eg_stream_note_set(struct eg_stream_note *note, struct eg_buffer *plain, bool chunked, bool last)
{
    bool failed = plain->failed;
    eg_stream_note_done(note);
    if (chunked) {
        eg_frame_add_chunked(&note->bytes, plain->data, plain->length);
        if (last)
            eg_buffer_add_string(&note->bytes, "0\r\n\r\n");
        eg_buffer_done(plain);
    } else {
        note->bytes = *plain;
        *plain = EG_BUFFER_INIT;
    }
    return !failed && !note->bytes.failed;
}

bool eg_stream_note_set_rest(struct eg_stream_note *note, const char *rest, size_t length)
{
    eg_stream_note_done(note);
    eg_buffer_add(&note->bytes, rest, length);
    note->is_rest = true;
    return !note->bytes.failed;
}

bool eg_stream_note_is_empty(const struct eg_stream_note *note)
{
    return note->bytes.length == 0;
}

int eg_stream_note_send(struct eg_stream_note *note, struct eg_wire *wire, size_t *bytes)
{
    while (note->sent < note->bytes.length) {
        const struct iovec part = {note->bytes.data + note->sent, note->bytes.length - note->sent};
        ssize_t sent = eg_wire_send(wire, &part, 1);
        if (sent < 0)
            return (int)sent;
        note->sent += (size_t)sent;
        *bytes += (size_t)sent;
    }
    eg_stream_note_done(note);
    return 0;
}
