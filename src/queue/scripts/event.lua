-- Take an event for a task; wake the task if it waits.
--
-- KEYS  stream, task, events, bell, timers, seen, leases, saved, epoch
-- ARGV  task_id, event, seconds to remember the message (0: it has no id),
--       seconds to keep events of a task that is not known yet (0: refuse
--       them), most events kept, channel of workers ("<namespace>:worker:"),
--       service, and the worker that claims the task and its lease, as
--       accept.lua has them
-- returns "accepted" | "kept" | "known" | "unknown" | "ended" |
--         "crowded": too many events wait for the task;
--         or, of a task that is to be claimed at once, what accept.lua returns

local stream, key, events, bell, timers, seen, leases, saved, epoch
    = unpack(KEYS)
local id, event, remember = ARGV[1], ARGV[2], tonumber(ARGV[3])
local keep, limit = tonumber(ARGV[4]), tonumber(ARGV[5])
local channel, service, worker, lease = ARGV[6], ARGV[7], ARGV[8], ARGV[9]

-- include clock
-- include task
-- include ring
-- include requeue
-- include epoch
-- include give
-- include next

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

local waited, input = task.state == 'waiting', task.input

give(stream, key, events, bell, timers, epoch, id, event, task, stamp,
     channel, service, worker ~= '')

if not waited or worker == '' or worker == '-' then
    return 'accepted'
end

local queued = redis.call('XLEN', stream)
local outstanding = queued + redis.call('ZCARD', timers)
local state = task.saved

if not state
   or not is_next(stream, leases, worker, task.entry, queued == 1)
then
    return {'accepted', outstanding}
end

-- as claim.lua takes it

redis.call('SET', saved, state)

task.state, task.worker, task.resume = 'running', worker, nil
task.claim = string.format('%d', task.claim + 1)
task.saved, task.kept = nil, true

local record = write_task(task)

redis.call('SET', key, record)
redis.call('ZADD', leases, string.format('%.0f', now + lease), id)

return {
    'accepted', outstanding,
    {id, record, input or '', state, redis.call('LRANGE', events, 0, 63), '',
     {}}
}
