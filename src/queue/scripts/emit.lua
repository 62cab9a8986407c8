-- Publish events that a running task streams.
--
-- KEYS  task
-- ARGV  worker, claim, channel, index of the first message, message...,
--       1: events before these are lost, see stream.lua
-- returns 1, or 0: the task is not this worker's any more
--
-- An index that was published before is not published again.

local key = KEYS[1]
local worker, claim, channel = ARGV[1], ARGV[2], ARGV[3]
local index = tonumber(ARGV[4])

-- include task
-- include stream

local task = task_at(key)

if not is_of(task, worker, claim) or task.state ~= 'running' then
    return 0
end

if is_gap(task, index) then
    return redis.error_reply(gap)
end

-- A first write that Redis allows when it is out of memory allows those behind
-- it; and nothing is published before something was written, so that a refusal
-- leaves nothing half done.

redis.call('PERSIST', key)

stream_events(task, channel, index, 5)

redis.call('SET', key, write_task(task))

return 1
