/* The state of a session, as a control plane answers it, of any bytes. */

#include <stdlib.h>

#include "wf_control.h"
#include "wf_json.h"
#include "wf_state.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    wf_buf_t            key = WF_BUF_INIT;
    wf_buf_t            json = WF_BUF_INIT;
    wf_buf_t            error = WF_BUF_INIT;
    const char         *reason;
    wf_buf_t            body = WF_BUF_INIT;
    wf_slice_t          text;
    wf_state_t          state;
    wf_json_error_t     json_error;
    wf_state_iter_t     it;
    wf_state_entry_t    entry;
    wf_state_secrets_t  secrets;

    text.data = (const char *) data;
    text.len = size;

    secrets.n = 0;

    entry.key = wf_slice("k");
    entry.json = wf_slice("1");

    if (wf_state_read(&state, text, wf_slice("s"), &secrets, &error) == 0) {

        wf_state_iter_init(&it, &state);

        while (wf_state_next(&it, &key, &json) != 0) { /* void */ }

        /* what was read can be written, and read again */

        wf_state_write(&body, &state, &entry, 1, wf_slice("s"), wf_slice("t"),
                       &secrets);

        if (wf_json_check((wf_slice_t) { body.data, body.len }, NULL,
                          &json_error)
            != 0)
        {
            abort();
        }

        wf_state_free(&state);

        if (wf_state_read(&state, (wf_slice_t) { body.data, body.len },
                          wf_slice("s"), &secrets, &error)
            != 0)
        {
            abort();
        }
    }

    wf_state_free(&state);
    wf_buf_free(&body);
    wf_buf_free(&error);

    (void) wf_control_namespace(&body, text, &reason);
    (void) wf_control_queue(&body, text, &error);

    wf_buf_free(&body);
    wf_buf_free(&error);
    wf_buf_free(&key);
    wf_buf_free(&json);

    return 0;
}
