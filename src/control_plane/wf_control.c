#include "wf_control.h"
#include "wf_http.h"
#include "wf_json.h"


#define WF_MAX_NAMESPACE  128


static int wf_control_redis(wf_buf_t *b, wf_slice_t redis, wf_buf_t *error);
static int wf_control_text(wf_slice_t object, const char *key,
    wf_slice_t *value);
static int wf_control_is_name(const char *text, size_t len);
static void wf_control_part(wf_buf_t *b, wf_slice_t string);


void
wf_control_service(wf_buf_t *b, wf_slice_t name, wf_slice_t description,
    wf_slice_t host, unsigned port)
{
    wf_buf_adds(b, "{\"service_name\": ");
    wf_json_quote(b, name.data, name.len);
    wf_buf_adds(b, ", \"description\": ");
    wf_json_quote(b, description.data, description.len);
    wf_buf_adds(b, ", \"prompt\": [], \"host\": ");

    if (host.data) {
        wf_json_quote(b, host.data, host.len);

    } else {
        wf_buf_adds(b, "null");
    }

    wf_buf_adds(b, ", \"port\": ");

    if (port) {
        wf_buf_addu(b, port);

    } else {
        wf_buf_adds(b, "null");
    }

    wf_buf_adds(b, "}");
}


void
wf_control_deregister(wf_buf_t *b, wf_slice_t name)
{
    wf_buf_adds(b, "/services/deregister?service_name=");
    wf_http_escape(b, name.data, name.len);
    wf_buf_addc(b, '\0');
}


void
wf_control_session(wf_buf_t *b, wf_slice_t id)
{
    wf_buf_adds(b, "/sessions/");
    wf_http_escape(b, id.data, id.len);
    wf_buf_adds(b, "/state");
    wf_buf_addc(b, '\0');
}


int
wf_control_namespace(wf_buf_t *b, wf_slice_t config, const char **error)
{
    size_t           start;
    wf_slice_t       value;
    wf_json_error_t  json_error;

    if (wf_json_check(config, &config, &json_error) != 0
        || wf_json_type(config) != WF_JSON_OBJECT)
    {
        *error = "its answer is not a JSON object";
        return -1;
    }

    if (!wf_control_text(config, "topic_namespace", &value)) {
        *error = "its answer has no \"topic_namespace\"";
        return -1;
    }

    start = b->len;
    wf_json_string(b, value);

    if (b->failed) {
        *error = "no memory";
        return -1;
    }

    if (!wf_control_is_name(b->data + start, b->len - start)) {
        *error = "its topic namespace has other characters than letters, "
                 "digits, \"_\", \"-\" and \".\", or more than 128";
        return -1;
    }

    return 0;
}


static int
wf_control_is_name(const char *text, size_t len)
{
    char    c;
    size_t  i;

    for (i = 0; i < len; i++) {
        c = text[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.'))
        {
            return 0;
        }
    }

    return len <= WF_MAX_NAMESPACE;
}


int
wf_control_queue(wf_buf_t *b, wf_slice_t config, wf_buf_t *error)
{
    wf_slice_t       redis;
    wf_json_iter_t   it;
    wf_slice_t       key, value;
    wf_json_error_t  json_error;

    if (wf_json_check(config, &config, &json_error) != 0
        || wf_json_type(config) != WF_JSON_OBJECT)
    {
        wf_buf_adds(error, "the answer is not a JSON object");
        return error->failed ? -2 : -1;
    }

    if (wf_json_get(config, "RedisMessageQueueConfig", &redis)
        && wf_json_type(redis) == WF_JSON_OBJECT)
    {
        return wf_control_redis(b, redis, error);
    }

    wf_buf_adds(error, "it has no Redis as its queue");

    wf_json_iter_init(&it, config);

    if (wf_json_next(&it, &key, &value)) {
        wf_buf_adds(error, ", but ");
        wf_buf_add(error, key.data, key.len);
    }

    return error->failed ? -2 : -1;
}


static int
wf_control_redis(wf_buf_t *b, wf_slice_t redis, wf_buf_t *error)
{
    wf_slice_t  host, port, user, url;

    if (wf_control_text(redis, "host", &host)
        && wf_json_get(redis, "port", &port)
        && wf_json_type(port) == WF_JSON_INTEGER)
    {
        wf_buf_adds(b, wf_json_get(redis, "ssl", &url)
                       && wf_json_type(url) == WF_JSON_TRUE
                       ? "rediss://" : "redis://");

        if (wf_control_text(redis, "password", &url)) {

            if (wf_control_text(redis, "username", &user)) {
                wf_control_part(b, user);
            }

            wf_buf_addc(b, ':');
            wf_control_part(b, url);
            wf_buf_addc(b, '@');
        }

        wf_json_string(b, host);
        wf_buf_addc(b, ':');
        wf_buf_add(b, port.data, port.len);

        if (wf_json_get(redis, "db", &url)
            && wf_json_type(url) == WF_JSON_INTEGER)
        {
            wf_buf_addc(b, '/');
            wf_buf_add(b, url.data, url.len);
        }

        return b->failed ? -2 : 0;
    }

    if (!wf_control_text(redis, "url", &url)) {
        wf_buf_adds(error, "its RedisMessageQueueConfig has neither \"url\" "
                    "nor \"host\" and \"port\"");
        return error->failed ? -2 : -1;
    }

    wf_json_string(b, url);

    return b->failed ? -2 : 0;
}


/* A string that is there and not empty. */

static int
wf_control_text(wf_slice_t object, const char *key, wf_slice_t *value)
{
    return wf_json_get(object, key, value)
           && wf_json_type(*value) == WF_JSON_STRING
           && value->len > sizeof("\"\"") - 1;
}


/* A string as a part of a URL. */

static void
wf_control_part(wf_buf_t *b, wf_slice_t string)
{
    wf_buf_t  text = WF_BUF_INIT;

    wf_json_string(&text, string);

    if (text.failed) {
        b->failed = 1;

    } else {
        wf_http_escape(b, text.data, text.len);
    }

    wf_buf_free(&text);
}
