-- End running tasks: of each its last streamed events, its result, its removal
-- from the queue and completed_task, all at once and only once.
--
-- KEYS  stream, timers, leases, dead
-- ARGV  prefix of the service's keys, worker, seconds to keep results,
--       seconds to keep sessions, channel of workers ("<namespace>:worker:"),
--       then for each task
--       task_id, claim, state ("completed" | "failed" | "cancelled" | "dead"),
--       result (JSON, "" none), error ("" none), channel,
--       completed_task ("" publish none), input (of a dead one),
--       session ("" none is kept here), number of its keys that were set,
--       prefix of the keys of the service whose task has sent this one ("" none
--       has), that service, that task's id, the event for it,
--       index of the first message, number of messages,
--       key, value..., message...
-- returns {outstanding tasks, for each task 1, or 0: it is not this worker's
--         any more...}
--
-- A dead task's input and error go to the dead-letter stream.

local stream, timers, leases, dead = unpack(KEYS)
local prefix, worker, keep, session_ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local channel_of_workers = ARGV[5]

-- include give
-- include reply

local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
local answers, ends, ids, entries = {0}, {}, {}, {}
local at = 6

while at <= #ARGV do
    local id, claim, state = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local index, n = tonumber(ARGV[at + 14]), tonumber(ARGV[at + 15])
    local set = at + 16
    local first = set + 2 * tonumber(ARGV[at + 9])
    local task = prefix .. 'task:' .. id
    local known = redis.call('HMGET', task, 'state', 'worker', 'claim',
                             'streamed', 'entry', 'saved', 'error', 'cancel',
                             'expired', 'resume', 'events')
    local mine = known[2] == worker and known[3] == claim

    if mine and known[1] == 'running' then
        local streamed = tonumber(known[4])

        if index > streamed and n > 0 then
            return redis.error_reply('GAP events before these have not come '
                                     .. 'yet')
        end

        ends[#ends + 1] = {
            at = at, task = task, known = known, set = set, first = first,
            last = first + n - 1, index = index, streamed = streamed
        }
        ids[#ids + 1] = id
    end

    -- this very call may be made a second time

    if mine and (known[1] == 'running' or known[1] == state) then
        answers[#answers + 1] = 1
        entries[#entries + 1] = known[5]
    else
        answers[#answers + 1] = 0
    end

    at = first + n
end

-- A first write that Redis allows when it is out of memory allows those behind
-- it; and nothing is published before something was written, so that a refusal
-- leaves nothing half done.

if #ids > 0 then
    redis.call('ZREM', leases, unpack(ids))
end

for _, e in ipairs(ends) do
    local id, _, state, result, failure, channel, completed, input, session
        = unpack(ARGV, e.at, e.at + 8)
    local task, known, index, streamed = e.task, e.known, e.index, e.streamed

    for i = e.first, e.last do
        -- the last one, a StopEvent, has the first index that is free
        if index == streamed or i == e.last then
            redis.call('PUBLISH', channel, ARGV[i])
            streamed = streamed + 1
        end

        index = index + 1
    end

    if known[6] or known[7] or known[8] or known[9] or known[10] then
        redis.call('HDEL', task, 'saved', 'error', 'cancel', 'expired',
                   'resume')
    end

    local fields = {'state', state, 'streamed', streamed, 'updated', now}

    if result ~= '' then
        fields[7], fields[8] = 'result', result
    end

    if failure ~= '' then
        fields[#fields + 1] = 'error'
        fields[#fields + 1] = failure
    end

    redis.call('HSET', task, unpack(fields))

    if state == 'dead' then
        local more = redis.call('HMGET', task, 'session', 'attempts',
                                'created')

        redis.call('XADD', dead, 'MAXLEN', '~', 10000, '*', 'task', id,
                   'session', more[1] or '', 'input', input, 'error', failure,
                   'attempts', more[2], 'created', more[3], 'updated', now)
    end

    -- tasks of a session that run at a time overwrite each other key by key

    if session ~= '' then
        local key = prefix .. 'session:' .. session

        for i = e.set, e.first - 1, 2 do
            redis.call('HSET', key, ARGV[i], ARGV[i + 1])
        end

        redis.call('EXPIRE', key, session_ttl)
    end

    redis.call('EXPIRE', task, keep)

    if known[11] then
        redis.call('DEL', prefix .. 'events:' .. id)
    end

    if completed ~= '' then
        redis.call('PUBLISH', channel, completed)
    end

end

-- to those that have not ended, here or before

for _, e in ipairs(ends) do
    local parent, service, id, event = unpack(ARGV, e.at + 10, e.at + 13)

    if parent ~= '' then
        reply_to(parent, id, event, channel_of_workers, service)
    end
end

if #entries > 0 then
    redis.call('XACK', stream, 'workers', unpack(entries))
    redis.call('XDEL', stream, unpack(entries))
end

answers[1] = redis.call('XLEN', stream) + redis.call('ZCARD', timers)

return answers
