-- End a running task: its last streamed events, its result, its removal from
-- the queue and completed_task, all at once and only once.
--
-- KEYS  stream, task, events, timers, leases, dead, session (if there is one)
-- ARGV  task_id, worker, claim,
--       state ("completed" | "failed" | "cancelled" | "dead"),
--       result (JSON, "" none), error ("" none), seconds to keep the result,
--       channel, completed_task ("" publish none), input,
--       seconds to keep the session, number of its keys that were set,
--       prefix of the keys of the service whose task has sent this one ("" none
--       has), that task's id, the event for it, channel of workers
--       ("<namespace>:worker:"), that service,
--       key, value..., index of the first message, streamed message...
-- returns {1, outstanding tasks}, or {0, outstanding tasks}: the task is not
--         this worker's any more
--
-- A dead task's input and error go to the dead-letter stream.

local stream, task, events, timers, leases, dead, session = unpack(KEYS)
local id, worker, claim, state = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local result, failure, keep = ARGV[5], ARGV[6], tonumber(ARGV[7])
local channel, completed, input = ARGV[8], ARGV[9], ARGV[10]
local session_ttl, nset = tonumber(ARGV[11]), tonumber(ARGV[12])
local parent = ARGV[13]
local last_set = 17 + 2 * nset
local first = last_set + 2
local index = tonumber(ARGV[last_set + 1])

-- include give
-- include reply

local function outstanding()
    return redis.call('XLEN', stream) + redis.call('ZCARD', timers)
end

local known = redis.call('HMGET', task, 'state', 'worker', 'claim', 'streamed',
                         'entry', 'attempts', 'session', 'created')

if known[2] ~= worker or known[3] ~= claim then
    return {0, outstanding()}
end

if known[1] ~= 'running' then
    -- this very call, a second time
    return {known[1] == state and 1 or 0, outstanding()}
end

local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
local streamed = tonumber(known[4])

if index > streamed and #ARGV >= first then
    return redis.error_reply('GAP events before these have not come yet')
end

-- A first write that Redis allows when it is out of memory allows those behind
-- it; and nothing is published before something was written, so that a refusal
-- leaves nothing half done.

redis.call('ZREM', leases, id)

for i = first, #ARGV do
    -- the last one, a StopEvent, has the first index that is free
    if index == streamed or i == #ARGV then
        redis.call('PUBLISH', channel, ARGV[i])
        streamed = streamed + 1
    end

    index = index + 1
end

redis.call('HSET', task, 'state', state, 'streamed', streamed, 'updated', now)
redis.call('HDEL', task, 'saved', 'error', 'cancel', 'expired', 'resume')

if result ~= '' then
    redis.call('HSET', task, 'result', result)
end

if failure ~= '' then
    redis.call('HSET', task, 'error', failure)
end

if state == 'dead' then
    redis.call('XADD', dead, 'MAXLEN', '~', 10000, '*', 'task', id,
               'session', known[7] or '', 'input', input, 'error', failure,
               'attempts', known[6], 'created', known[8], 'updated', now)
end

-- tasks of a session that run at a time overwrite each other key by key

for i = 18, last_set, 2 do
    redis.call('HSET', session, ARGV[i], ARGV[i + 1])
end

if session then
    redis.call('EXPIRE', session, session_ttl)
end

redis.call('EXPIRE', task, keep)
redis.call('DEL', events)
redis.call('XACK', stream, 'workers', known[5])
redis.call('XDEL', stream, known[5])

if completed ~= '' then
    redis.call('PUBLISH', channel, completed)
end

if parent ~= '' then
    reply_to(parent, ARGV[14], ARGV[15], ARGV[16], ARGV[17])
end

return {1, outstanding()}
