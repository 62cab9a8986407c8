-- Take a new task into the queue.
--
-- KEYS  stream, task, events, bell, timers, seen
-- ARGV  task_id, session_id ("" none), input, limit of the stream (0 none),
--       seconds to remember the message (0: it has no id of its own),
--       "service\ntask_id" of the task that sends it ("" none),
--       1: only if the service has been here,
--       1: the worker claims next, so that no other need be woken
-- returns {"accepted" | "known" | "conflict" | "full" | "unknown",
--          outstanding tasks},
--         or, of a task that another one sends,
--         {"ended", outstanding tasks, state, result | "", error | ""}
--
-- A known task is not queued again; "conflict" if it had another input.

local stream, key, events, bell, timers, seen = unpack(KEYS)
local id, session, input = ARGV[1], ARGV[2], ARGV[3]
local limit, remember = tonumber(ARGV[4]), tonumber(ARGV[5])
local reply, only, claims = ARGV[6], ARGV[7] == '1', ARGV[8] == '1'

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

redis.call('SET', key, write_task({
    state = 'queued', entry = entry, worker = '-', claim = '0', attempts = '0',
    streamed = '0', updated = '-', origin = stamp .. ' ' .. digest,
    session = session ~= '' and session, reply = reply ~= '' and reply,

    -- those that were there before it stay
    events = redis.call('PERSIST', events) == 1
}))

if not claims then
    ring(bell)
end

queued = queued + 1

return {'accepted', outstanding()}
