-- Put a run that waits for an event to rest: its state is saved, its entry
-- leaves the stream.  The event that it waits for may have arrived meanwhile:
-- then nothing is saved, and the run goes on with it.  Or the task was cancelled,
-- which its worker has not heard yet: then the run has to end.
--
-- KEYS  stream, task, saved, events, timers, leases
-- ARGV  task_id, worker, claim, input, saved run, events that the run has
--       taken, milliseconds that it may wait (0 for ever), channel,
--       index of the first message, streamed message...,
--       1: events before these are lost, see stream.lua
-- returns {"parked" | "cancelled" | "lost", outstanding tasks}
--         or {"events", outstanding tasks, event...}

local stream, key, kept, events, timers, leases = unpack(KEYS)
local id, worker, claim = ARGV[1], ARGV[2], ARGV[3]
local input, saved, taken = ARGV[4], ARGV[5], tonumber(ARGV[6])
local wait, channel, index = tonumber(ARGV[7]), ARGV[8], tonumber(ARGV[9])

-- include clock
-- include task
-- include stream

local function outstanding()
    return redis.call('XLEN', stream) + redis.call('ZCARD', timers)
end

local task = task_at(key)

if not is_of(task, worker, claim) then
    return {'lost', outstanding()}
end

if task.state ~= 'running' then
    -- this very call, a second time
    return {'parked', outstanding()}
end

if is_gap(task, index) then
    return redis.error_reply(gap)
end

-- A first write that Redis allows when it is out of memory allows those behind
-- it; and nothing is published before something was written, so that a refusal
-- leaves nothing half done.

redis.call('PERSIST', key)

stream_events(task, channel, index, 10)

if task.cancel then
    redis.call('SET', key, write_task(task))

    return {'cancelled', outstanding()}
end

if redis.call('LLEN', events) > taken then
    local new = redis.call('LRANGE', events, taken, -1)

    redis.call('SET', key, write_task(task))

    table.insert(new, 1, 'events')
    table.insert(new, 2, outstanding())
    return new
end

redis.call('ZREM', leases, id)
redis.call('XACK', stream, 'workers', task.entry)
redis.call('XDEL', stream, task.entry)

if task.events or task.kept then
    redis.call('DEL', events, kept)
end

task.state, task.input, task.saved = 'waiting', input, saved
task.entry, task.updated = '-', stamp
task.events, task.kept = nil, nil

redis.call('SET', key, write_task(task))
redis.call('ZADD', timers,
           wait > 0 and string.format('%.0f', now + wait) or '+inf', id)

return {'parked', outstanding()}
