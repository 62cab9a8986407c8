/* An event taken apart and dumped again stays a JSON object. */

#include <stdlib.h>
#include <string.h>

#include "wf_json.h"
#include "wf_message.h"
#include "wf_publish.h"


#define CHECK(cond)  do { if (!(cond)) { abort(); } } while (0)


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
static void check_dumps(wf_slice_t fields);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int              rc;
    wf_buf_t         text = WF_BUF_INIT, detail = WF_BUF_INIT;
    wf_buf_t         reason = WF_BUF_INIT;
    wf_slice_t       body, type;
    wf_message_t     m;
    wf_json_error_t  err;

    wf_buf_adds(&text, "{\"action\":\"send_event\",\"data\":{\"task_id\":\"t\","
                       "\"input\":");
    wf_json_quote(&text, (const char *) data, size);
    wf_buf_adds(&text, "}}");

    body.data = text.data;
    body.len = text.len;
    type.data = NULL;
    type.len = 0;

    rc = wf_message_parse(&m, body, type, wf_slice("s"), &detail, &reason);
    CHECK(rc == 0 || rc == -1);

    if (rc == 0) {
        CHECK(m.event.len > 0);
        CHECK(wf_json_check(m.input, NULL, &err) == 0);

        check_dumps(m.input);

        wf_message_unknown_event(&m, wf_slice("w"), wf_slice("A"), &detail,
                                 &reason);

        body.data = detail.data;
        body.len = detail.len;
        CHECK(wf_json_check(body, NULL, &err) == 0);
        CHECK(reason.len < 500);
    }

    wf_message_free(&m);
    wf_buf_free(&text);
    wf_buf_free(&detail);
    wf_buf_free(&reason);

    return 0;
}


static void
check_dumps(wf_slice_t fields)
{
    size_t              i, n, more;
    wf_buf_t            b = WF_BUF_INIT;
    wf_slice_t          dump, key, value, data;
    wf_json_iter_t      it;
    wf_json_error_t     err;
    static const char  *types[] = {
        "Event", "StartEvent", "StopEvent", "InputRequiredEvent",
        "llama_index.core.workflow.events.HumanResponseEvent", "my.Event"
    };

    wf_json_iter_init(&it, fields);

    for (n = 0; wf_json_next(&it, &key, &value); n++) { /* void */ }

    for (i = 0; i < sizeof(types) / sizeof(char *); i++) {
        wf_event_dump(&b, types[i], fields);

        dump.data = b.data;
        dump.len = b.len;

        /* "_data" may take the deepest value one level too far */

        if (wf_json_check(dump, NULL, &err) != 0) {
            CHECK(strncmp(err.reason, "Nesting", 7) == 0);
            wf_buf_free(&b);
            continue;
        }

        more = 0;
        wf_json_iter_init(&it, dump);

        while (wf_json_next(&it, &key, &value)) {
            more++;
        }

        if (i < 5 && wf_json_get(dump, "_data", &data)) {
            more--;
            wf_json_iter_init(&it, data);

            while (wf_json_next(&it, &key, &value)) {
                more++;
            }
        }

        /* a StopEvent has a result, given or not */

        CHECK(more == n
              || (i == 2 && more == n + 1
                  && !wf_json_get(fields, "result", &value)));

        wf_buf_free(&b);
    }
}
