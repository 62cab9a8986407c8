/* Where Redis is: redis://, rediss:// and unix: URLs. */

#include "ngx_workflow_redis.h"


#define NGX_WORKFLOW_ENCODE                                                   \
    "in a password write \"/\" as %2F, \"@\" as %40 and \"%\" as %25"


static char *ngx_workflow_url_host(ngx_pool_t *pool, ngx_url_t *u,
    ngx_str_t *url);
static char *ngx_workflow_url_unix(ngx_pool_t *pool,
    ngx_workflow_redis_conf_t *redis, u_char *p, u_char *last);
static char *ngx_workflow_url_database(ngx_workflow_redis_conf_t *redis,
    u_char *p, u_char *last);
static ngx_int_t ngx_workflow_url_decode(ngx_pool_t *pool, ngx_str_t *dst,
    u_char *p, u_char *last);


char *
ngx_workflow_url(ngx_pool_t *pool, ngx_workflow_redis_conf_t *redis,
    ngx_str_t *url)
{
    u_char     *p, *last, *at, *colon, *slash;
    ngx_url_t   u;

    p = url->data;
    last = p + url->len;

    if (ngx_strncmp(p, "unix:", 5) == 0) {
        return ngx_workflow_url_unix(pool, redis, p + 5, last);
    }

    if (ngx_strncmp(p, "rediss://", 9) == 0) {
        p += 9;
        redis->tls = 1;

    } else if (ngx_strncmp(p, "redis://", 8) == 0) {
        p += 8;

    } else {
        return "it begins with none of \"redis://\", \"rediss://\" and "
               "\"unix:\"";
    }

    /* a password may contain "/" and "@" only encoded */

    slash = ngx_strlchr(p, last, '/');
    if (slash == NULL) {
        slash = last;
    }

    at = ngx_strlchr(p, slash, '@');

    if (at) {
        colon = ngx_strlchr(p, at, ':');

        if (ngx_workflow_url_decode(pool, &redis->username, p,
                                         colon ? colon : at)
            != NGX_OK
            || (colon
                && ngx_workflow_url_decode(pool, &redis->password,
                                                colon + 1, at)
                   != NGX_OK))
        {
            return "its user or password has a bad %XX (" NGX_WORKFLOW_ENCODE
                   ")";
        }

        if (redis->password.len == 0) {
            return "it names a user without a password (\"redis://user:"
                   "password@127.0.0.1\")";
        }

        p = at + 1;
    }

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url.data = p;
    u.url.len = slash - p;
    u.default_port = 6379;

    if (u.url.len == 0) {
        return "it has no host";
    }

    if (ngx_parse_url(pool, &u) != NGX_OK) {
        return ngx_workflow_url_host(pool, &u, url);
    }

    redis->addrs = u.addrs;
    redis->naddrs = u.naddrs;
    redis->host = u.host;

    /* for the log, without the password */

    redis->url.len = u.url.len;
    redis->url.data = u.url.data;

    return ngx_workflow_url_database(redis, slash < last ? slash + 1
                                                              : last, last);
}


static char *
ngx_workflow_url_host(ngx_pool_t *pool, ngx_url_t *u, ngx_str_t *url)
{
    char        *text;
    size_t       len;
    const char  *err, *encode;

    err = u->err ? u->err : "no memory";

    /* a "/" or "@" in a password moves where the host begins */

    encode = ngx_strlchr(url->data, url->data + url->len, '@')
             ? "; " NGX_WORKFLOW_ENCODE : "";

    len = sizeof("its address is wrong ()") + ngx_strlen(err)
          + ngx_strlen(encode);

    text = ngx_pnalloc(pool, len);
    if (text == NULL) {
        return NGX_CONF_ERROR;
    }

    (void) ngx_sprintf((u_char *) text, "its address is wrong (%s%s)%Z", err,
                       encode);

    return text;
}


static char *
ngx_workflow_url_unix(ngx_pool_t *pool, ngx_workflow_redis_conf_t *redis,
    u_char *p, u_char *last)
{
    u_char  *question;

    question = ngx_strlchr(p, last, '?');

    redis->path.len = (question ? question : last) - p;

    if (redis->path.len == 0 || p[0] != '/') {
        return "it has no absolute path behind \"unix:\" (\"unix:/run/redis/"
               "redis.sock\")";
    }

    if (redis->path.len >= sizeof(((struct sockaddr_un *) 0)->sun_path)) {
        return "its path is too long for a unix socket";
    }

    redis->path.data = ngx_pnalloc(pool, redis->path.len + 1);
    if (redis->path.data == NULL) {
        return NGX_CONF_ERROR;
    }

    (void) ngx_cpystrn(redis->path.data, p, redis->path.len + 1);

    redis->url = redis->path;

    if (question == NULL) {
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(question, "?db=", 4) != 0) {
        return "it has something else than \"?db=NUMBER\" behind its path";
    }

    return ngx_workflow_url_database(redis, question + 4, last);
}


static char *
ngx_workflow_url_database(ngx_workflow_redis_conf_t *redis, u_char *p,
    u_char *last)
{
    ngx_int_t  n;

    if (p == last) {
        return NGX_CONF_OK;
    }

    n = ngx_atoi(p, last - p);
    if (n == NGX_ERROR) {
        return "its database is not a number";
    }

    redis->database = n;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_workflow_url_decode(ngx_pool_t *pool, ngx_str_t *dst, u_char *p,
    u_char *last)
{
    u_char     *d;
    ngx_int_t   c;

    dst->len = 0;

    if (p == last) {
        return NGX_OK;
    }

    dst->data = ngx_pnalloc(pool, last - p);
    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    d = dst->data;

    while (p < last) {

        if (*p != '%') {
            *d++ = *p++;
            continue;
        }

        if (last - p < 3) {
            return NGX_ERROR;
        }

        c = ngx_hextoi(p + 1, 2);
        if (c == NGX_ERROR) {
            return NGX_ERROR;
        }

        *d++ = (u_char) c;
        p += 3;
    }

    dst->len = d - dst->data;

    return NGX_OK;
}
