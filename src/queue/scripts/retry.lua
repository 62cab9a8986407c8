-- Put a task that has failed back into the queue, after a while.  It begins
-- from its last saved state, if there is one; what it streams again under an
-- index that was published before is not published again.  One that was
-- cancelled, which its worker has not heard yet, is to be claimed, and so ended,
-- at once.
--
-- KEYS  stream, task, timers, leases, bell
-- ARGV  task_id, worker, claim, input, error, milliseconds to wait, channel,
--       index of the first message, streamed message...,
--       1: events before these are lost, see stream.lua
-- returns {1, outstanding tasks}, or {0, outstanding tasks}: the task is not
--         this worker's any more

local stream, key, timers, leases, bell = unpack(KEYS)
local id, worker, claim, input = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local failure, wait, channel = ARGV[5], tonumber(ARGV[6]), ARGV[7]
local index = tonumber(ARGV[8])

-- include clock
-- include task
-- include stream
-- include requeue
-- include ring

local function outstanding()
    return redis.call('XLEN', stream) + redis.call('ZCARD', timers)
end

local task = task_at(key)

if not is_of(task, worker, claim) then
    return {0, outstanding()}
end

if task.state ~= 'running' then
    -- this very call, a second time
    return {1, outstanding()}
end

if is_gap(task, index) then
    return redis.error_reply(gap)
end

-- A first write that Redis allows when it is out of memory allows those behind
-- it; and nothing is published before something was written, so that a refusal
-- leaves nothing half done.

redis.call('ZREM', leases, id)

stream_events(task, channel, index, 9)

redis.call('XACK', stream, 'workers', task.entry)
redis.call('XDEL', stream, task.entry)

task.state, task.input, task.error = 'queued', input, failure
task.entry, task.updated = '-', stamp

if task.cancel then
    requeue(stream, task, id)
    ring(bell)
else
    redis.call('ZADD', timers, string.format('%.0f', now + wait), id)
end

redis.call('SET', key, write_task(task))

return {1, outstanding()}
