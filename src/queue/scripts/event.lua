-- Take an event for a task; wake the task if it waits.
--
-- KEYS  stream, task, events, bell, timers, seen
-- ARGV  task_id, event, seconds to remember the message (0: it has no id),
--       seconds to keep events of a task that is not known yet (0: refuse
--       them), most events kept, channel of workers ("<namespace>:worker:"),
--       service
-- returns "accepted" | "kept" | "known" | "unknown" | "ended" |
--         "crowded": too many events wait for the task

local stream, task, events, bell, timers, seen = unpack(KEYS)
local id, event, remember = ARGV[1], ARGV[2], tonumber(ARGV[3])
local keep, limit = tonumber(ARGV[4]), tonumber(ARGV[5])
local channel, service = ARGV[6], ARGV[7]

if remember > 0 and redis.call('EXISTS', seen) == 1 then
    return 'known'
end

local known = redis.call('HMGET', task, 'state', 'worker')
local state = known[1]

if not state and keep == 0 then
    return 'unknown'
end

if state and state ~= 'queued' and state ~= 'running' and state ~= 'waiting'
then
    return 'ended'
end

if redis.call('LLEN', events) >= limit then
    return 'crowded'
end

if remember > 0 then
    redis.call('SET', seen, id, 'EX', remember)
end

redis.call('RPUSH', events, event)

if not state then
    redis.call('EXPIRE', events, keep)
    return 'kept'
end

if state == 'running' then
    redis.call('PUBLISH', channel .. known[2], 'event ' .. service .. ' ' .. id)

elseif state == 'waiting' then
    local entry = redis.call('XADD', stream, '*', 'task', id,
                             'input', redis.call('HGET', task, 'input'))
    local time = redis.call('TIME')

    redis.call('HDEL', task, 'input')
    redis.call('HSET', task, 'state', 'queued', 'entry', entry, 'resume', 1,
               'updated', time[1] .. string.format('%03d',
                                                   math.floor(time[2] / 1000)))
    redis.call('ZREM', timers, id)

    if redis.call('LLEN', bell) == 0 then
        redis.call('RPUSH', bell, 1)
    end
end

return 'accepted'
