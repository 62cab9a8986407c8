-- Cancel a task.  Whichever worker has it, or claims it next, ends it.
--
-- KEYS  stream, task, bell, timers
-- ARGV  task_id, channel of workers ("<namespace>:worker:"), service
-- returns "accepted" | "unknown" | "ended"

local stream, key, bell, timers = unpack(KEYS)
local id, channel, service = ARGV[1], ARGV[2], ARGV[3]

-- include task
-- include ring
-- include requeue

local task = task_at(key)

if not task then
    return 'unknown'
end

if not is_alive(task) then
    return 'ended'
end

-- a first write that Redis allows when it is out of memory allows those
-- behind it
redis.call('PERSIST', key)

task.cancel = true

if redis.call('ZREM', timers, id) == 1 then
    -- it rests: into the queue with it
    requeue(stream, task, id)
    ring(bell)
end

redis.call('SET', key, write_task(task))

if task.state == 'running' then
    redis.call('PUBLISH', channel .. task.worker,
               'cancel ' .. service .. ' ' .. id)
end

return 'accepted'
