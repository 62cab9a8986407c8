#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "wf_http.h"
#include "wf_json.h"


/* Connections that are kept beyond this number are closed. */

#define WF_HTTP_MAX_IDLE  16


struct wf_http_s {
    const wf_http_conf_t  *conf;
    struct curl_slist     *headers;

    pthread_mutex_t        lock;
    CURL                  *idle[WF_HTTP_MAX_IDLE];
    unsigned               nidle;
};


typedef struct {
    wf_buf_t              *answer;
    size_t                 max;
    int                    large;
} wf_http_sink_t;


static CURL *wf_http_take(wf_http_t *http);
static void wf_http_give(wf_http_t *http, CURL *curl);
static CURL *wf_http_handle(wf_http_t *http);
static int wf_http_blobs(const wf_http_conf_t *conf, CURL *curl);
static int wf_http_leaving(void *ctx, curl_off_t dltotal, curl_off_t dlnow,
    curl_off_t ultotal, curl_off_t ulnow);
static size_t wf_http_write(char *data, size_t size, size_t n, void *ctx);
static void wf_http_refused(wf_http_exchange_t *x);
static void wf_http_printable(char *text);


wf_http_t *
wf_http_create(const wf_http_conf_t *conf)
{
    wf_http_t          *http;
    struct curl_slist  *list;

    http = calloc(1, sizeof(wf_http_t));
    if (http == NULL) {
        return NULL;
    }

    http->conf = conf;

    if (pthread_mutex_init(&http->lock, NULL) != 0) {
        free(http);
        return NULL;
    }

    /* a body follows at once, without asking for "100 Continue" */

    http->headers = curl_slist_append(NULL, "Content-Type: application/json");
    list = http->headers ? curl_slist_append(http->headers, "Expect:") : NULL;

    if (list == NULL) {
        wf_http_free(http);
        return NULL;
    }

    return http;
}


void
wf_http_free(wf_http_t *http)
{
    while (http->nidle) {
        curl_easy_cleanup(http->idle[--http->nidle]);
    }

    curl_slist_free_all(http->headers);
    (void) pthread_mutex_destroy(&http->lock);
    free(http);
}


int
wf_http_request(wf_http_t *http, wf_http_exchange_t *x)
{
    CURL            *curl;
    wf_buf_t         url = WF_BUF_INIT;
    CURLcode         rc;
    wf_http_sink_t   sink;
    char             error[CURL_ERROR_SIZE];

    x->status = 0;
    x->error[0] = '\0';
    error[0] = '\0';

    wf_buf_adds(&url, http->conf->url);
    wf_buf_adds(&url, x->path);
    wf_buf_addc(&url, '\0');

    sink.answer = &x->answer;
    sink.max = http->conf->max_answer;
    sink.large = 0;

    curl = url.failed ? NULL : wf_http_take(http);

    if (curl == NULL
        || curl_easy_setopt(curl, CURLOPT_URL, url.data) != CURLE_OK
        || curl_easy_setopt(curl, CURLOPT_WRITEDATA, &sink) != CURLE_OK
        || curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error) != CURLE_OK)
    {
        rc = CURLE_OUT_OF_MEMORY;

    } else if (wf_http_leaving((void *) http->conf, 0, 0, 0, 0)) {
        rc = CURLE_ABORTED_BY_CALLBACK;

    } else if (x->body.data) {
        (void) curl_easy_setopt(curl, CURLOPT_POST, 1L);
        (void) curl_easy_setopt(curl, CURLOPT_POSTFIELDS, x->body.data);
        (void) curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
                                (curl_off_t) x->body.len);
        rc = curl_easy_perform(curl);

    } else {
        (void) curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
        rc = curl_easy_perform(curl);
    }

    wf_buf_free(&url);

    if (rc == CURLE_OK) {
        (void) curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &x->status);

        if (x->answer.failed) {
            rc = CURLE_OUT_OF_MEMORY;
        }
    }

    if (curl) {
        (void) curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
        wf_http_give(http, curl);
    }

    if (sink.large) {
        (void) snprintf(x->error, sizeof(x->error),
                        "the answer has more than %zu bytes", sink.max);
        return -1;
    }

    if (rc != CURLE_OK) {
        (void) snprintf(x->error, sizeof(x->error), "%s",
                        error[0] ? error : curl_easy_strerror(rc));
        wf_http_printable(x->error);
        return -1;
    }

    if (x->status < 200 || x->status > 299) {
        wf_http_refused(x);
        wf_http_printable(x->error);
        return -1;
    }

    return 0;
}


/* For a log: what a peer says must not look like lines of it. */

static void
wf_http_printable(char *text)
{
    for ( /* void */ ; *text; text++) {
        if (*text < ' ' || *text > '~') {
            *text = '?';
        }
    }
}


/* What FastAPI says of an error is short: {"detail": "Session not found"}. */

static void
wf_http_refused(wf_http_exchange_t *x)
{
    int              n;
    wf_buf_t         text = WF_BUF_INIT;
    wf_slice_t       answer, detail;
    wf_json_error_t  error;

    answer.data = x->answer.data;
    answer.len = x->answer.len;

    if (wf_json_check(answer, &answer, &error) == 0
        && wf_json_type(answer) == WF_JSON_OBJECT
        && wf_json_get(answer, "detail", &detail)
        && wf_json_type(detail) == WF_JSON_STRING)
    {
        wf_json_string(&text, detail);
    }

    n = text.failed || text.len > 128 ? 0 : (int) text.len;

    (void) snprintf(x->error, sizeof(x->error), "it answered %ld%s%.*s",
                    x->status, n ? ", " : "", n, n ? text.data : "");

    wf_buf_free(&text);
}


static CURL *
wf_http_take(wf_http_t *http)
{
    CURL  *curl;

    curl = NULL;

    (void) pthread_mutex_lock(&http->lock);

    if (http->nidle) {
        curl = http->idle[--http->nidle];
    }

    (void) pthread_mutex_unlock(&http->lock);

    return curl ? curl : wf_http_handle(http);
}


static void
wf_http_give(wf_http_t *http, CURL *curl)
{
    (void) pthread_mutex_lock(&http->lock);

    if (http->nidle < WF_HTTP_MAX_IDLE) {
        http->idle[http->nidle++] = curl;
        curl = NULL;
    }

    (void) pthread_mutex_unlock(&http->lock);

    if (curl) {
        curl_easy_cleanup(curl);
    }
}


static CURL *
wf_http_handle(wf_http_t *http)
{
    CURL                  *curl;
    const wf_http_conf_t  *conf;

    conf = http->conf;

    curl = curl_easy_init();
    if (curl == NULL) {
        return NULL;
    }

#define wf_http_set(option, value)                                            \
    (curl_easy_setopt(curl, CURLOPT_##option, value) == CURLE_OK)

    if (wf_http_set(NOSIGNAL, 1L)
#if (LIBCURL_VERSION_NUM >= 0x075500)
        && wf_http_set(PROTOCOLS_STR, "http,https")
#else
        && wf_http_set(PROTOCOLS, CURLPROTO_HTTP|CURLPROTO_HTTPS)
#endif
        && wf_http_set(FOLLOWLOCATION, 0L)
        && wf_http_set(PATH_AS_IS, 1L)
        && wf_http_set(PROXY, "")
        && wf_http_set(TIMEOUT_MS, (long) conf->timeout)
        && wf_http_set(CONNECTTIMEOUT_MS, (long) conf->timeout)
#if (LIBCURL_VERSION_NUM >= 0x075700)

        /* a name that is looked up in vain is not waited for */

        && wf_http_set(QUICK_EXIT, 1L)
#endif
        && wf_http_set(NOPROGRESS, 0L)
        && wf_http_set(XFERINFOFUNCTION, wf_http_leaving)
        && wf_http_set(XFERINFODATA, (void *) conf)
        && wf_http_set(TCP_KEEPALIVE, 1L)
        && wf_http_set(USERAGENT, "ngx_http_workflow_module")
        && wf_http_set(HTTPHEADER, http->headers)
        && wf_http_set(WRITEFUNCTION, wf_http_write)
        && wf_http_set(SSL_VERIFYPEER, conf->verify ? 1L : 0L)
        && wf_http_set(SSL_VERIFYHOST, conf->verify ? 2L : 0L)
        && (conf->ca_file == NULL
            || (wf_http_set(CAINFO, conf->ca_file)
                && wf_http_set(CAPATH, (char *) NULL)))
        && (conf->cert.data == NULL || wf_http_blobs(conf, curl) == 0))
    {
        return curl;
    }

#undef wf_http_set

    curl_easy_cleanup(curl);
    return NULL;
}


/* Read when the configuration was, as whoever may read keys. */

static int
wf_http_blobs(const wf_http_conf_t *conf, CURL *curl)
{
    struct curl_blob  cert, key;

    cert.data = (void *) conf->cert.data;
    cert.len = conf->cert.len;
    cert.flags = CURL_BLOB_NOCOPY;

    key.data = (void *) conf->key.data;
    key.len = conf->key.len;
    key.flags = CURL_BLOB_NOCOPY;

    return curl_easy_setopt(curl, CURLOPT_SSLCERT_BLOB, &cert) == CURLE_OK
           && curl_easy_setopt(curl, CURLOPT_SSLKEY_BLOB, &key) == CURLE_OK
           ? 0 : -1;
}


/* Called once a second at least while a request is under way; anything but 0
 * ends it. */

static int
wf_http_leaving(void *ctx, curl_off_t dltotal, curl_off_t dlnow,
    curl_off_t ultotal, curl_off_t ulnow)
{
    const wf_http_conf_t  *conf = ctx;

    (void) dltotal;
    (void) dlnow;
    (void) ultotal;
    (void) ulnow;

    return conf->leaving && __atomic_load_n(conf->leaving, __ATOMIC_RELAXED);
}


static size_t
wf_http_write(char *data, size_t size, size_t n, void *ctx)
{
    wf_http_sink_t  *sink = ctx;

    (void) size;                   /* 1, as libcurl promises */

    if (n > sink->max - sink->answer->len) {
        sink->large = 1;
        return 0;
    }

    wf_buf_add(sink->answer, data, n);

    return n;
}


void
wf_http_escape(wf_buf_t *b, const char *text, size_t len)
{
    char                  c;
    size_t                i;
    static const char     hex[] = "0123456789ABCDEF";

    for (i = 0; i < len; i++) {
        c = text[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
            || (c >= '0' && c <= '9')
            || c == '-' || c == '_' || c == '.' || c == '~')
        {
            wf_buf_addc(b, c);
            continue;
        }

        wf_buf_addc(b, '%');
        wf_buf_addc(b, hex[((unsigned char) c) >> 4]);
        wf_buf_addc(b, hex[((unsigned char) c) & 0x0f]);
    }
}
