-- Take a new task into the queue.
--
-- KEYS  stream, task, events, bell, timers, seen, leases, session
-- ARGV  task_id, input, its record from the digest on, limit of the stream (0
--       none), seconds to remember the message (0: it has no id of its own),
--       "service\ntask_id" of the task that sends it ("" none),
--       1: only if the service has been here,
--       the worker that claims the task at once ("" none: one is woken; "-":
--       the worker claims next, no other need be woken),
--       milliseconds of its lease,
--       1: the session is kept here
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

local stream, key, events, bell, timers, seen, leases, session = unpack(KEYS)
local id, input, rest, limit, remember, reply, only, worker, lease, kept
    = unpack(ARGV)

limit, remember = tonumber(limit), tonumber(remember)

local queued = redis.call('XLEN', stream)

local function outstanding()
    return queued + redis.call('ZCARD', timers)
end

local text = redis.call('MGET', key)[1]

if text then
-- include task

    local known = read_task(text)
    local before = known and string.match(known.origin, ' (%S+)$')

    -- a task that was refused has no digest
    if known and before ~= '-' and before ~= string.match(rest, '^%S+') then
        return {'conflict', outstanding()}
    end

    if known and reply ~= '' then
        if not is_alive(known) then
            return {'ended', outstanding(), known.state, known.result or '',
                    known.error or ''}
        end

        if not known.reply then
            known.reply = reply
            redis.call('SET', key, write_task(known))
        end
    end

    if known then
        return {'known', outstanding()}
    end
end

if only == '1' and redis.call('EXISTS', stream) == 0 then
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

-- include next

local entry = redis.call('XADD', stream, '*', 'task', id, 'input', input)

queued = queued + 1

-- those that were there before it stay
local early = redis.call('PERSIST', events) == 1

local function write(state, updated)
    local record = state .. ' 0 ' .. (early and 'events ' or '- ') .. updated
                   .. ' ' .. string.match(entry, '^%d+') .. ' ' .. rest

    redis.call('SET', key, record)

    return record
end

local claims = worker ~= '' and worker ~= '-'

if not claims or not is_next(stream, leases, worker, entry, queued == 1) then
    write('queued ' .. entry .. ' - 0 0', '-')

    if worker == '' and redis.call('LLEN', bell) == 0 then
        redis.call('RPUSH', bell, 1)
    end

    return {'accepted', outstanding()}
end

-- include clock

local record = write('running ' .. entry .. ' ' .. worker .. ' 1 1', stamp)
local claim = {id, record, input}

redis.call('ZADD', leases, string.format('%.0f', now + lease), id)

if early or kept == '1' then
    local before = early and redis.pcall('LRANGE', events, 0, 63) or {}
    local values = kept == '1' and redis.pcall('HGETALL', session) or {}

    claim[4], claim[5] = '', before.err and {} or before
    claim[6], claim[7] = '', values.err and {} or values
end

return {'accepted', outstanding(), claim}
