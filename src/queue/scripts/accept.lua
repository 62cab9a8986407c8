-- Take a new task into the queue.
--
-- KEYS  stream, task, events, bell, timers, seen
-- ARGV  task_id, session_id ("" none), input, limit of the stream (0 none),
--       seconds to remember the message (0: it has no id of its own),
--       "service\ntask_id" of the task that sends it ("" none),
--       1: only if the service has been here
-- returns {"accepted" | "known" | "conflict" | "full" | "unknown",
--          outstanding tasks},
--         or, of a task that another one sends,
--         {"ended", outstanding tasks, state, result | "", error | ""}
--
-- A known task is not queued again; "conflict" if it had another input.

local stream, task, events, bell, timers, seen = unpack(KEYS)
local id, session, input = ARGV[1], ARGV[2], ARGV[3]
local limit, remember = tonumber(ARGV[4]), tonumber(ARGV[5])
local reply, only = ARGV[6], ARGV[7] == '1'

local queued = redis.call('XLEN', stream)

local function outstanding()
    return queued + redis.call('ZCARD', timers)
end

local digest = redis.sha1hex(input)
local known = redis.call('HGET', task, 'digest')

if known then
    -- a task that was refused has no digest
    if known ~= digest and known ~= '' then
        return {'conflict', outstanding()}
    end

    if reply ~= '' then
        local fields = redis.call('HMGET', task, 'state', 'result', 'error')
        local state = fields[1]

        if state ~= 'queued' and state ~= 'running' and state ~= 'waiting' then
            return {'ended', outstanding(), state, fields[2] or '',
                    fields[3] or ''}
        end

        redis.call('HSETNX', task, 'reply', reply)
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

local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))

local entry = redis.call('XADD', stream, '*', 'task', id, 'input', input)
local fields = {
    'state', 'queued', 'entry', entry, 'digest', digest, 'attempts', 0,
    'claim', 0, 'streamed', 0, 'created', now, 'updated', now
}

local function add(name, value)
    fields[#fields + 1] = name
    fields[#fields + 1] = value
end

if session ~= '' then
    add('session', session)
end

if reply ~= '' then
    add('reply', reply)
end

-- events that were there before it

if redis.call('PERSIST', events) == 1 then
    add('events', 1)
end

redis.call('HSET', task, unpack(fields))

if redis.call('LLEN', bell) == 0 then
    redis.call('RPUSH', bell, 1)
end

queued = queued + 1

return {'accepted', outstanding()}
