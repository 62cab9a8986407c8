-- Take an event for a task; wake the task if it waits.
--
-- KEYS  stream, task, events, bell, timers, seen
-- ARGV  task_id, event, seconds to remember the message (0: it has no id),
--       seconds to keep events of a task that is not known yet (0: refuse
--       them), most events kept, channel of workers ("<namespace>:worker:"),
--       service, 1: the worker claims next
-- returns "accepted" | "kept" | "known" | "unknown" | "ended" |
--         "crowded": too many events wait for the task

local stream, key, events, bell, timers, seen = unpack(KEYS)
local id, event, remember = ARGV[1], ARGV[2], tonumber(ARGV[3])
local keep, limit = tonumber(ARGV[4]), tonumber(ARGV[5])
local channel, service, claims = ARGV[6], ARGV[7], ARGV[8] == '1'

-- include clock
-- include task
-- include ring
-- include requeue
-- include give

if remember > 0 and redis.call('EXISTS', seen) == 1 then
    return 'known'
end

local task = task_at(key)

if not task and keep == 0 then
    return 'unknown'
end

if task and not is_alive(task) then
    return 'ended'
end

if redis.call('LLEN', events) >= limit then
    return 'crowded'
end

if remember > 0 then
    redis.call('SET', seen, id, 'EX', remember)
end

if not task then
    redis.call('RPUSH', events, event)
    redis.call('EXPIRE', events, keep)
    return 'kept'
end

give(stream, key, events, bell, timers, id, event, task, stamp, channel,
     service, claims)

return 'accepted'
