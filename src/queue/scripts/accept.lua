-- Take a new task into the queue.
--
-- KEYS  stream, task, events, bell, timers, seen, leases, session
-- ARGV  task_id, session_id ("" none), input, limit of the stream (0 none),
--       seconds to remember the message (0: it has no id of its own),
--       "service\ntask_id" of the task that sends it ("" none),
--       1: only if the service has been here,
--       the worker that claims the task at once, so that no other need be
--       woken ("" none), milliseconds of its lease, 1: sessions are kept here
-- returns {"accepted" | "known" | "conflict" | "full" | "unknown",
--          outstanding tasks},
--         or, claimed at once, {"accepted", outstanding tasks, its claim as
--         claim.lua has it},
--         or, of a task that another one sends,
--         {"ended", outstanding tasks, state, result | "", error | ""}
--
-- A known task is not queued again; "conflict" if it had another input.  A
-- worker that is given no claim, as another task was first, repeats what it has
-- claimed, see claim.lua.

local stream, key, events, bell, timers, seen, leases, kept = unpack(KEYS)
local id, session, input = ARGV[1], ARGV[2], ARGV[3]
local limit, remember = tonumber(ARGV[4]), tonumber(ARGV[5])
local reply, only, worker = ARGV[6], ARGV[7] == '1', ARGV[8]
local lease, sessions = ARGV[9], ARGV[10] == '1'

-- include clock
-- include task
-- include ring

local queued = redis.call('XLEN', stream)

local function outstanding()
    return queued + redis.call('ZCARD', timers)
end

local digest = string.sub(redis.sha1hex(input), 1, 16)
local known = task_at(key)

if known then
    -- a task that was refused has no digest
    local before = string.match(known.origin, ' (%S+)$')

    if before ~= digest and before ~= '-' then
        return {'conflict', outstanding()}
    end

    if reply ~= '' then
        if not is_alive(known) then
            return {'ended', outstanding(), known.state, known.result or '',
                    known.error or ''}
        end

        if not known.reply then
            known.reply = reply
            redis.call('SET', key, write_task(known))
        end
    end

    return {'known', outstanding()}
end

if only and redis.call('EXISTS', stream) == 0 then
    return {'unknown', outstanding()}
end

if remember > 0 and redis.call('EXISTS', seen) == 1 then
    return {'known', outstanding()}
end

if limit > 0 and queued >= limit then
    return {'full', outstanding()}
end

if remember > 0 then
    redis.call('SET', seen, id, 'EX', remember)
end

local entry = redis.call('XADD', stream, '*', 'task', id, 'input', input)

local task = {
    state = 'queued', entry = entry, worker = '-', claim = '0', attempts = '0',
    streamed = '0', updated = '-', origin = stamp .. ' ' .. digest,
    session = session ~= '' and session, reply = reply ~= '' and reply,

    -- those that were there before it stay
    events = redis.call('PERSIST', events) == 1
}

-- Whether it is the first one that is still to be claimed.

local function is_next()
    local streams = redis.pcall('XREADGROUP', 'GROUP', 'workers', worker,
                                'COUNT', 1, 'STREAMS', stream, '>')

    return streams and not streams.err and streams[1][2][1][1] == entry
end

local claimed = worker ~= '' and is_next()

if claimed then
    task.state, task.worker, task.updated = 'running', worker, stamp
    task.claim, task.attempts = '1', '1'
end

local record = write_task(task)

redis.call('SET', key, record)

queued = queued + 1

if not claimed then
    if worker == '' then
        ring(bell)
    end

    return {'accepted', outstanding()}
end

redis.call('ZADD', leases, string.format('%.0f', now + lease), id)

local claim = {id, record, input}

if task.events or sessions and task.session then
    local before = task.events and redis.pcall('LRANGE', events, 0, 63) or {}
    local values = sessions and task.session and redis.pcall('HGETALL', kept)
                   or {}

    claim[4], claim[5] = '', before.err and {} or before
    claim[6], claim[7] = '', values.err and {} or values
end

return {'accepted', outstanding(), claim}
