/*
 * A task as it stands in Redis: a line of fields and, behind it, the parts that
 * its last field names with their lengths; see scripts/include/task.lua.
 */

#include "ngx_workflow_task.h"

#include <ngx_md5.h>


#define NGX_WORKFLOW_RECORD_FIELDS  11
#define NGX_WORKFLOW_RECORD_DIGEST  8       /* bytes of it that are kept */


typedef struct {
    const char  *name;
    ngx_str_t   *text;
} ngx_workflow_part_t;


static void ngx_workflow_record_parts(wf_buf_t *b, ngx_workflow_part_t *parts,
    ngx_uint_t n);
static ngx_str_t *ngx_workflow_record_part(ngx_workflow_record_t *record,
    u_char *name, size_t len);


ngx_int_t
ngx_workflow_record_parse(ngx_str_t *text, ngx_workflow_record_t *record)
{
    u_char      *p, *last, *end, *rest, *equals;
    ngx_int_t    n;
    ngx_str_t   *part, parts, skipped, *fields[NGX_WORKFLOW_RECORD_FIELDS];
    ngx_uint_t   i;

    ngx_memzero(record, sizeof(ngx_workflow_record_t));

    fields[0] = &record->state;
    fields[1] = &record->entry;
    fields[2] = &skipped;      /* worker */
    fields[3] = &record->claim;
    fields[4] = &record->attempts;
    fields[5] = &record->streamed;
    fields[6] = &record->marks;
    fields[7] = &record->updated;
    fields[8] = &record->created;
    fields[9] = &skipped;      /* digest */
    fields[10] = &parts;

    end = text->data + text->len;
    last = memchr(text->data, '\n', text->len);

    if (last == NULL) {
        return NGX_ERROR;
    }

    rest = last + 1;
    p = text->data;

    for (i = 0; i < NGX_WORKFLOW_RECORD_FIELDS; i++) {

        if (p > last) {
            return NGX_ERROR;
        }

        fields[i]->data = p;

        p = memchr(p, ' ', last - p);
        p = p ? p : last;

        fields[i]->len = p++ - fields[i]->data;
    }

    record->origin.data = record->created.data;
    record->origin.len = parts.data - 1 - record->created.data;

    if (parts.len == 1 && parts.data[0] == '-') {
        return NGX_OK;
    }

    for (p = parts.data; p < last; p += parts.len + 1) {

        parts.data = p;
        p = memchr(p, ',', last - p);
        parts.len = (p ? p : last) - parts.data;
        p = parts.data;

        equals = memchr(p, '=', parts.len);
        if (equals == NULL) {
            return NGX_ERROR;
        }

        n = ngx_atoi(equals + 1, p + parts.len - equals - 1);

        if (n == NGX_ERROR || n > end - rest) {
            return NGX_ERROR;
        }

        part = ngx_workflow_record_part(record, p, equals - p);

        if (part) {
            part->data = rest;
            part->len = n;
        }

        rest += n;
    }

    return NGX_OK;
}


ngx_int_t
ngx_workflow_record_task(ngx_workflow_task_t *task)
{
    off_t                  updated;
    ngx_int_t              attempts, streamed;
    ngx_workflow_record_t  record;

    if (ngx_workflow_record_parse(&task->record, &record) != NGX_OK) {
        return NGX_ERROR;
    }

    attempts = ngx_atoi(record.attempts.data, record.attempts.len);
    streamed = ngx_atoi(record.streamed.data, record.streamed.len);
    updated = ngx_atoof(record.updated.data, record.updated.len);

    if (attempts == NGX_ERROR || streamed == NGX_ERROR || updated == NGX_ERROR)
    {
        return NGX_ERROR;
    }

    task->entry = record.entry;
    task->claim_text = record.claim;
    task->attempt = attempts;
    task->streamed = streamed;
    task->updated = updated;
    task->marked |= record.marks.len != 1 || record.marks.data[0] != '-';
    task->reply = record.reply;
    task->origin = record.origin;

    if (record.session.len <= NGX_WORKFLOW_MAX_ID) {
        task->session = record.session;
    }

    return NGX_OK;
}


static ngx_str_t *
ngx_workflow_record_part(ngx_workflow_record_t *record, u_char *name,
    size_t len)
{
    if (len == 7 && ngx_memcmp(name, "session", 7) == 0) {
        return &record->session;
    }

    if (len == 5 && ngx_memcmp(name, "reply", 5) == 0) {
        return &record->reply;
    }

    if (len == 6 && ngx_memcmp(name, "result", 6) == 0) {
        return &record->result;
    }

    if (len == 5 && ngx_memcmp(name, "error", 5) == 0) {
        return &record->error;
    }

    /* what only scripts read */

    return NULL;
}


/* What the record of a new task ends with. */

void
ngx_workflow_record_new(wf_buf_t *b, ngx_str_t *input, ngx_str_t *session,
    ngx_str_t *reply)
{
    u_char      *hex, digest[16];
    ngx_md5_t    md5;

    ngx_workflow_part_t  parts[] = {
        { "session=", session },
        { "reply=", reply }
    };

    ngx_md5_init(&md5);
    ngx_md5_update(&md5, input->data, input->len);
    ngx_md5_final(digest, &md5);

    hex = (u_char *) wf_buf_reserve(b, 2 * NGX_WORKFLOW_RECORD_DIGEST);

    if (hex) {
        (void) ngx_hex_dump(hex, digest, NGX_WORKFLOW_RECORD_DIGEST);
        b->len += 2 * NGX_WORKFLOW_RECORD_DIGEST;
    }

    ngx_workflow_record_parts(b, parts, 2);
}


/* That of a task that has ended. */

void
ngx_workflow_record_end(wf_buf_t *b, ngx_workflow_task_t *task,
    ngx_workflow_end_t *end, ngx_str_t *worker, ngx_uint_t streamed,
    off_t updated)
{
    ngx_workflow_part_t  parts[] = {
        { "session=", &task->session },
        { "result=", &end->result },
        { "error=", &end->error }
    };

    wf_buf_adds(b, end->state);
    wf_buf_addc(b, ' ');
    wf_buf_add(b, task->entry.data, task->entry.len);
    wf_buf_addc(b, ' ');
    wf_buf_add(b, worker->data, worker->len);
    wf_buf_addc(b, ' ');
    wf_buf_add(b, task->claim_text.data, task->claim_text.len);
    wf_buf_addc(b, ' ');
    wf_buf_addu(b, task->attempt);
    wf_buf_addc(b, ' ');
    wf_buf_addu(b, streamed);
    wf_buf_adds(b, " - ");
    wf_buf_addu(b, updated);
    wf_buf_addc(b, ' ');
    wf_buf_add(b, task->origin.data, task->origin.len);

    ngx_workflow_record_parts(b, parts, 3);
}


static void
ngx_workflow_record_parts(wf_buf_t *b, ngx_workflow_part_t *parts,
    ngx_uint_t n)
{
    char        comma;
    ngx_uint_t  i;

    comma = ' ';

    for (i = 0; i < n; i++) {
        if (parts[i].text->len) {
            wf_buf_addc(b, comma);
            wf_buf_adds(b, parts[i].name);
            wf_buf_addu(b, parts[i].text->len);
            comma = ',';
        }
    }

    wf_buf_adds(b, comma == ' ' ? " -\n" : "\n");

    for (i = 0; i < n; i++) {
        wf_buf_add(b, parts[i].text->data, parts[i].text->len);
    }
}
