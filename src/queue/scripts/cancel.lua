-- Cancel a task.  Whichever worker has it, or claims it next, ends it.
--
-- KEYS  stream, task, bell, timers
-- ARGV  task_id, channel of workers ("<namespace>:worker:"), service
-- returns "accepted" | "unknown" | "ended"

local stream, task, bell, timers = unpack(KEYS)
local id, channel, service = ARGV[1], ARGV[2], ARGV[3]

local known = redis.call('HMGET', task, 'state', 'worker', 'input')
local state = known[1]

if not state then
    return 'unknown'
end

if state ~= 'queued' and state ~= 'running' and state ~= 'waiting' then
    return 'ended'
end

-- a first write that Redis allows when it is out of memory allows those
-- behind it
redis.call('PERSIST', task)
redis.call('HSET', task, 'cancel', 1)

if state == 'running' then
    redis.call('PUBLISH', channel .. known[2],
               'cancel ' .. service .. ' ' .. id)

elseif redis.call('ZREM', timers, id) == 1 then
    -- it rests: into the queue with it
    local entry = redis.call('XADD', stream, '*', 'task', id,
                             'input', known[3])

    redis.call('HDEL', task, 'input')
    redis.call('HSET', task, 'state', 'queued', 'entry', entry)

    if redis.call('LLEN', bell) == 0 then
        redis.call('RPUSH', bell, 1)
    end
end

return 'accepted'
