/*
 * What services and a control plane say to each other about services and
 * queues: ServiceDefinition, ControlPlaneConfig, the queue's configuration.
 */

#ifndef WF_CONTROL_H_INCLUDED_
#define WF_CONTROL_H_INCLUDED_


#include "wf_buf.h"


/* A ServiceDefinition; host with data NULL and port 0: null. */
void wf_control_service(wf_buf_t *b, wf_slice_t name, wf_slice_t description,
    wf_slice_t host, unsigned port);

/* "/services/deregister?service_name=NAME", NUL-terminated. */
void wf_control_deregister(wf_buf_t *b, wf_slice_t name);

/* "/sessions/ID/state", NUL-terminated. */
void wf_control_session(wf_buf_t *b, wf_slice_t id);

/* Append the topic_namespace of a ControlPlaneConfig, 1 to 128 letters, digits,
 * "_", "-" and ".".  -1: *error, a constant, says why there is none. */
int wf_control_namespace(wf_buf_t *b, wf_slice_t config, const char **error);

/*
 * Append the URL of a queue's configuration, as
 * {"RedisMessageQueueConfig": {"url": "redis://localhost:6379", ...}}; host and
 * port go before url, as in the reference.  -1: *error says why there is none;
 * -2: no memory.
 */
int wf_control_queue(wf_buf_t *b, wf_slice_t config, wf_buf_t *error);


#endif /* WF_CONTROL_H_INCLUDED_ */
