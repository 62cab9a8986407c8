/*
 * fanout: {"n": 5} is split into five pieces that are worked on in parallel and
 * joined again.  The result is an array in the order of sending, the squares
 * [0, 1, 4, 9, 16], whatever piece was finished first.
 */

#include <workflow_jansson.h>


#define PIECE_EVENT  "PieceEvent"
#define DONE_EVENT   "DoneEvent"

#define PIECES_MAX   1000


static wf_status_t
split(wf_run_t *run, const wf_event_t *ev)
{
    int           i, n;
    json_t       *input;
    wf_status_t   rc;

    rc = wf_event_json(run, ev, &input);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_int_field(run, input, "n", 1, PIECES_MAX, &n);
    json_decref(input);

    for (i = 0; rc == WF_OK && i < n; i++) {
        rc = wf_send_json(run, PIECE_EVENT,
                          json_pack("{sisi}", "i", i, "n", n));
    }

    return rc;
}


/* A piece takes a few milliseconds, an early one longer than a late one. */

static wf_status_t
work(wf_run_t *run, const wf_event_t *ev)
{
    int           i, n;
    json_t       *piece;
    wf_status_t   rc;

    i = 0;

    rc = wf_event_json(run, ev, &piece);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_int_field(run, piece, "n", 1, PIECES_MAX, &n);

    if (rc == WF_OK) {
        rc = wf_int_field(run, piece, "i", 0, n - 1, &i);
    }

    json_decref(piece);

    if (rc == WF_OK) {
        rc = wf_sleep(run, (uint32_t) ((n - i) % 8));
    }

    if (rc != WF_OK) {
        return rc;
    }

    return wf_send_json(run, DONE_EVENT,
                        json_pack("{sisisi}", "i", i, "n", n,
                                  "square", i * i));
}


/* Put one finished piece in its place. */

static wf_status_t
place(wf_run_t *run, const wf_event_t *ev, int n, json_t *result)
{
    int           i, square;
    json_t       *done;
    wf_status_t   rc;

    square = 0;

    rc = wf_event_json(run, ev, &done);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_int_field(run, done, "i", 0, n - 1, &i);

    if (rc == WF_OK) {
        rc = wf_int_field(run, done, "square", 0, PIECES_MAX * PIECES_MAX,
                          &square);
    }

    json_decref(done);

    if (rc != WF_OK) {
        return rc;
    }

    if (json_array_set_new(result, (size_t) i, json_integer(square)) != 0) {
        return wf_fail(run, "no memory");
    }

    return WF_OK;
}


static wf_status_t
join(wf_run_t *run, const wf_event_t *ev)
{
    int                 i, n;
    json_t             *done, *result;
    const char        **types;
    wf_status_t         rc;
    const wf_event_t  **events;

    rc = wf_event_json(run, ev, &done);
    if (rc != WF_OK) {
        return rc;
    }

    rc = wf_int_field(run, done, "n", 1, PIECES_MAX, &n);
    json_decref(done);

    if (rc != WF_OK) {
        return rc;
    }

    types = wf_alloc(run, (size_t) n * sizeof(types[0]));
    events = wf_alloc(run, (size_t) n * sizeof(events[0]));

    if (types == NULL || events == NULL) {
        return wf_fail(run, "no memory");
    }

    for (i = 0; i < n; i++) {
        types[i] = DONE_EVENT;
    }

    rc = wf_collect(run, ev, types, (size_t) n, events);

    if (rc == WF_AGAIN) {
        return WF_OK;      /* the last piece will find all of them */
    }

    if (rc != WF_OK) {
        return rc;
    }

    result = json_array();

    for (i = 0; i < n; i++) {
        (void) json_array_append_new(result, json_null());
    }

    for (i = 0; rc == WF_OK && i < n; i++) {
        rc = place(run, events[i], n, result);
    }

    if (rc != WF_OK) {
        json_decref(result);
        return rc;
    }

    return wf_stop_json(run, result);
}


static const wf_step_t  steps[] = {

    { .name = "split",
      .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(PIECE_EVENT),
      .run = split },

    { .name = "work",
      .accepts = WF_TYPES(PIECE_EVENT),
      .produces = WF_TYPES(DONE_EVENT),
      .run = work,
      .num_workers = 8 },

    { .name = "join",
      .accepts = WF_TYPES(DONE_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT),
      .run = join,
      .num_workers = 1 },
};


WF_PLUGIN(WF_WORKFLOW("fanout", "Works on pieces in parallel.", steps));
