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

-- include give

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

if not state then
    redis.call('RPUSH', events, event)
    redis.call('EXPIRE', events, keep)
    return 'kept'
end

give(stream, task, events, bell, timers, id, event, known, channel, service)

return 'accepted'
