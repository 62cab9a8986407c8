/*
 * HTTP to one control plane, by libcurl: a request blocks the thread that makes
 * it until it is answered or its time is over.  Connections are kept for the
 * next request.
 *
 * The URL is given once; requests name a path below it, redirects are not
 * followed, and proxies of the environment are not used, so nothing that comes
 * with a task chooses where is connected to.
 *
 * Threads: wf_http_request() may be called by any number of threads at once.
 * curl_global_init() is the caller's, once, before the first thread.
 */

#ifndef WF_HTTP_H_INCLUDED_
#define WF_HTTP_H_INCLUDED_


#include <signal.h>

#include "wf_buf.h"


typedef struct wf_http_s  wf_http_t;

/* Kept by reference; strings are NUL-terminated. */

typedef struct {
    const char  *url;          /* "http://host:port/path", no slash behind */
    uint32_t     timeout;      /* of a request, in milliseconds */
    size_t       max_answer;   /* bytes of a body, larger ones are refused */

    /* requests fail soon when it is not 0, at most a second later; NULL: they
     * do not */
    const volatile sig_atomic_t  *leaving;

    /* of https */
    const char  *ca_file;      /* NULL: those that libcurl knows */
    wf_slice_t   cert;         /* in PEM, with its chain; data NULL: none */
    wf_slice_t   key;
    int          verify;
} wf_http_conf_t;

typedef struct {
    const char  *path;         /* "/services/register" */
    wf_slice_t   body;         /* JSON to POST; data NULL: GET */

    long         status;       /* 0: no answer */
    wf_buf_t     answer;       /* the caller's to free */
    char         error[256];   /* why it has failed, "" if it has not */
} wf_http_exchange_t;


/* NULL: no memory. */
wf_http_t *wf_http_create(const wf_http_conf_t *conf);

/* Only when no thread makes a request any more. */
void wf_http_free(wf_http_t *http);

/* 0: answered with 2xx; -1: not answered, or with another status. */
int wf_http_request(wf_http_t *http, wf_http_exchange_t *x);

/* Append text as a part of a path or a query: all but unreserved characters
 * become %XX. */
void wf_http_escape(wf_buf_t *b, const char *text, size_t len);


#endif /* WF_HTTP_H_INCLUDED_ */
