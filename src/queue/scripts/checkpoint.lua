-- Save a run that goes on, together with what it has streamed until then.
--
-- KEYS  task, saved, leases, bell
-- ARGV  task_id, worker, claim, saved run ("" none: keep the last),
--       1: the worker gives the task up, another one is to go on with it,
--       channel, index of the first message, streamed message...,
--       1: events before these are lost, see stream.lua
-- returns 1, or 0: the task is not this worker's any more

local key, kept, leases, bell = unpack(KEYS)
local id, worker, claim, saved = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local leave, channel, index = ARGV[5] == '1', ARGV[6], tonumber(ARGV[7])

-- include task
-- include ring
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

stream_events(task, channel, index, 8)

if saved ~= '' then
    redis.call('SET', kept, saved)
    task.kept = true
end

if leave then
    task.resume = true
    redis.call('ZADD', leases, 0, id)
    ring(bell)
end

redis.call('SET', key, write_task(task))

return 1
