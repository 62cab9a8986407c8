#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "wf_json.h"
#include "wf_lax.h"
#include "wf_state.h"


#define WF_STATE_HMAC_LEN  64        /* hexadecimal digits */


static int wf_state_verify(const wf_state_t *state, wf_slice_t context,
    wf_slice_t session_id, const wf_state_secrets_t *secrets,
    wf_buf_t *error);
static int wf_state_globals(wf_state_t *state, wf_slice_t context,
    wf_buf_t *error);
static int wf_state_sign(char *hex, wf_slice_t session_id, wf_slice_t context,
    wf_slice_t secret);
static int wf_state_refuse(wf_buf_t *error, const char *reason);
static void wf_state_write_globals(wf_buf_t *b, const wf_state_t *state,
    const wf_state_entry_t *entries, size_t n);
static int wf_state_is_set(const wf_state_entry_t *entries, size_t n,
    wf_slice_t key);


int
wf_state_read(wf_state_t *state, wf_slice_t answer, wf_slice_t session_id,
    const wf_state_secrets_t *secrets, wf_buf_t *error)
{
    int              rc;
    wf_slice_t       value, text, context;
    wf_json_error_t  json_error;

    memset(state, 0, sizeof(wf_state_t));

    rc = wf_lax_find(answer, session_id, &value);

    if (rc == -1) {
        return wf_state_refuse(error, "the answer is not a JSON object");
    }

    if (rc == 0 || wf_slice_eq(value, "null")) {
        return 0;
    }

    rc = wf_json_check(value, &value, &json_error);

    if (rc == -2) {
        return -2;
    }

    if (rc != 0 || wf_json_type(value) != WF_JSON_STRING) {
        return wf_state_refuse(error, "it is not a string");
    }

    wf_json_string(&state->text, value);

    if (state->text.failed) {
        return -2;
    }

    text.data = state->text.data;
    text.len = state->text.len;

    rc = wf_lax_get(text, "state", &context);

    if (rc == -1) {
        return wf_state_refuse(error, "it is not a WorkflowState");
    }

    if (rc == 0) {
        context = wf_slice("{}");
    }

    rc = wf_state_verify(state, context, session_id, secrets, error);

    return rc == 0 ? wf_state_globals(state, context, error) : rc;
}


void
wf_state_free(wf_state_t *state)
{
    wf_buf_free(&state->text);
}


/* Whoever can write to the control plane cannot write what is read here. */

static int
wf_state_verify(const wf_state_t *state, wf_slice_t context,
    wf_slice_t session_id, const wf_state_secrets_t *secrets, wf_buf_t *error)
{
    int         same;
    char        hex[WF_STATE_HMAC_LEN];
    size_t      i;
    wf_slice_t  text, hmac;

    if (secrets->n == 0) {
        return 0;
    }

    text.data = state->text.data;
    text.len = state->text.len;

    if (wf_lax_get(text, "hmac", &hmac) != 1) {
        return wf_state_refuse(error, "it is not signed, and a "
                               "\"hash_secret_file\" is configured");
    }

    if (hmac.len != WF_STATE_HMAC_LEN + 2) {
        return wf_state_refuse(error, "its \"hmac\" is not one");
    }

    same = 0;

    for (i = 0; i < secrets->n; i++) {

        if (wf_state_sign(hex, session_id, context, secrets->secrets[i])
            != 0)
        {
            return -2;
        }

        same |= CRYPTO_memcmp(hex, hmac.data + 1, WF_STATE_HMAC_LEN) == 0;
    }

    return same ? 0 : wf_state_refuse(error, "its \"hmac\" is that of another "
                                      "state or of another secret");
}


static int
wf_state_sign(char *hex, wf_slice_t session_id, wf_slice_t context,
    wf_slice_t secret)
{
    size_t             i;
    unsigned           len;
    wf_buf_t           text = WF_BUF_INIT;
    unsigned char     *rc, md[EVP_MAX_MD_SIZE];
    static const char  digits[] = "0123456789abcdef";

    wf_buf_add(&text, session_id.data, session_id.len);
    wf_buf_addc(&text, '\n');
    wf_buf_add(&text, context.data, context.len);

    rc = text.failed ? NULL
                     : HMAC(EVP_sha256(), secret.data, (int) secret.len,
                            (unsigned char *) text.data, text.len, md, &len);
    wf_buf_free(&text);

    if (rc == NULL) {
        return -1;
    }

    for (i = 0; i < WF_STATE_HMAC_LEN / 2; i++) {
        *hex++ = digits[md[i] >> 4];
        *hex++ = digits[md[i] & 0x0f];
    }

    return 0;
}


/*
 * "globals" until llama_index 0.12.42; later "state", with a "state_data" whose
 * "_data" is the same.  A typed state, of a model of the workflow's own, is no
 * set of keys.
 */

static int
wf_state_globals(wf_state_t *state, wf_slice_t context, wf_buf_t *error)
{
    int              rc;
    wf_slice_t       value, type;
    wf_json_error_t  json_error;

    if (wf_lax_get(context, "state", &value) == 1
        && wf_lax_get(value, "state_data", &value) == 1)
    {
        if (wf_lax_get(context, "state", &type) == 1
            && wf_lax_get(type, "state_type", &type) == 1
            && !wf_slice_eq(type, "\"DictState\""))
        {
            return wf_state_refuse(error, "it is the typed state of a Python "
                                   "workflow");
        }

        rc = wf_lax_get(value, "_data", &value);

    } else {
        rc = wf_lax_get(context, "globals", &value);
    }

    if (rc == -1) {
        return wf_state_refuse(error, "its \"state\" is not that of a "
                               "context");
    }

    if (rc == 0) {
        return 0;
    }

    rc = wf_json_check(value, &value, &json_error);

    if (rc == -2) {
        return -2;
    }

    if (rc != 0 || wf_json_type(value) != WF_JSON_OBJECT) {
        return wf_state_refuse(error, "its keys cannot be read");
    }

    state->globals = value;

    return 0;
}


static int
wf_state_refuse(wf_buf_t *error, const char *reason)
{
    wf_buf_adds(error, reason);

    return error->failed ? -2 : -1;
}


void
wf_state_iter_init(wf_state_iter_t *it, const wf_state_t *state)
{
    it->pos = NULL;
    it->end = NULL;

    if (state->globals.data) {
        it->pos = state->globals.data + 1;
        it->end = state->globals.data + state->globals.len;
    }
}


int
wf_state_next(wf_state_iter_t *it, wf_buf_t *key, wf_buf_t *json)
{
    wf_slice_t       name, value;
    wf_json_error_t  error;

    key->len = 0;
    json->len = 0;

    if (it->pos == NULL
        || wf_lax_next(&it->pos, it->end, &name, &value) != 1)
    {
        return 0;
    }

    wf_json_string(key, name);

    if (wf_json_type(value) != WF_JSON_STRING) {
        return -1;
    }

    wf_json_string(json, value);

    if (json->failed || key->failed) {
        return 1;
    }

    value.data = json->data;
    value.len = json->len;

    return wf_json_check(value, NULL, &error) == -1 ? -1 : 1;
}


void
wf_state_write(wf_buf_t *b, const wf_state_t *state,
    const wf_state_entry_t *entries, size_t n, wf_slice_t session_id,
    wf_slice_t task_id, const wf_state_secrets_t *secrets)
{
    char        hex[WF_STATE_HMAC_LEN];
    size_t      start;
    wf_buf_t    text = WF_BUF_INIT;
    wf_slice_t  context;

    wf_buf_adds(&text, "{\"hash\":null,\"state\":");
    start = text.len;

    /* all that one or another version of from_dict() asks for */

    wf_buf_adds(&text, "{\"globals\":");
    wf_state_write_globals(&text, state, entries, n);
    wf_buf_adds(&text, ",\"streaming_queue\":\"[]\",\"queues\":{},"
                "\"stepwise\":false,\"events_buffer\":{},"
                "\"event_buffers\":{},\"in_progress\":{},"
                "\"accepted_events\":[],\"broker_log\":[],"
                "\"is_running\":false}");

    context.data = text.data + start;
    context.len = text.len - start;

    if (secrets->n && !text.failed) {

        if (wf_state_sign(hex, session_id, context, secrets->secrets[0])
            != 0)
        {
            text.failed = 1;
        }

        wf_buf_adds(&text, ",\"hmac\":\"");
        wf_buf_add(&text, hex, WF_STATE_HMAC_LEN);
        wf_buf_adds(&text, "\"");
    }

    wf_buf_adds(&text, ",\"run_kwargs\":{},\"session_id\":");
    wf_json_quote(&text, session_id.data, session_id.len);
    wf_buf_adds(&text, ",\"task_id\":");
    wf_json_quote(&text, task_id.data, task_id.len);
    wf_buf_adds(&text, "}");

    wf_buf_adds(b, "{");
    wf_json_quote(b, session_id.data, session_id.len);
    wf_buf_adds(b, ":");

    if (text.failed) {
        b->failed = 1;

    } else {
        wf_json_quote(b, text.data, text.len);
    }

    wf_buf_adds(b, "}");

    wf_buf_free(&text);
}


/* Keys that are not set stay as they are, readable here or not. */

static void
wf_state_write_globals(wf_buf_t *b, const wf_state_t *state,
    const wf_state_entry_t *entries, size_t n)
{
    size_t            i;
    const char       *comma;
    wf_slice_t        name, value;
    wf_state_iter_t   it;

    comma = "";
    wf_state_iter_init(&it, state);

    wf_buf_adds(b, "{");

    while (it.pos && wf_lax_next(&it.pos, it.end, &name, &value) == 1) {

        if (!wf_state_is_set(entries, n, name)) {
            wf_buf_adds(b, comma);
            wf_buf_add(b, name.data, name.len);
            wf_buf_adds(b, ":");
            wf_buf_add(b, value.data, value.len);
            comma = ",";
        }
    }

    for (i = 0; i < n; i++) {
        wf_buf_adds(b, comma);
        wf_json_quote(b, entries[i].key.data, entries[i].key.len);
        wf_buf_adds(b, ":");
        wf_json_quote(b, entries[i].json.data, entries[i].json.len);
        comma = ",";
    }

    wf_buf_adds(b, "}");
}


static int
wf_state_is_set(const wf_state_entry_t *entries, size_t n, wf_slice_t key)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        if (wf_json_string_eq(key, entries[i].key.data, entries[i].key.len)) {
            return 1;
        }
    }

    return 0;
}
