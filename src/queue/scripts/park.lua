-- Put a run that waits for an event to rest: its state is saved, its entry
-- leaves the stream.  The event that it waits for may have arrived meanwhile:
-- then nothing is saved, and the run goes on with it.
--
-- KEYS  stream, task, events, timers, leases
-- ARGV  task_id, worker, claim, input, saved run, events that the run has
--       taken, milliseconds that it may wait (0 for ever), channel,
--       index of the first message, streamed message...
-- returns {"parked" | "lost", outstanding tasks}
--         or {"events", outstanding tasks, event...}

local stream, task, events, timers, leases = unpack(KEYS)
local id, worker, claim = ARGV[1], ARGV[2], ARGV[3]
local input, saved, taken = ARGV[4], ARGV[5], tonumber(ARGV[6])
local wait, channel, index = tonumber(ARGV[7]), ARGV[8], tonumber(ARGV[9])

local function outstanding()
    return redis.call('XLEN', stream) + redis.call('ZCARD', timers)
end

local known = redis.call('HMGET', task, 'state', 'worker', 'claim', 'streamed',
                         'entry')

if known[2] ~= worker or known[3] ~= claim then
    return {'lost', outstanding()}
end

if known[1] ~= 'running' then
    -- this very call, a second time
    return {'parked', outstanding()}
end

local streamed = tonumber(known[4])

if index > streamed and #ARGV >= 10 then
    return redis.error_reply('GAP events before these have not come yet')
end

-- A first write that Redis allows when it is out of memory allows those behind
-- it; and nothing is published before something was written, so that a refusal
-- leaves nothing half done.

redis.call('PERSIST', task)

for i = 10, #ARGV do
    if index == streamed then
        redis.call('PUBLISH', channel, ARGV[i])
        streamed = streamed + 1
    end

    index = index + 1
end

redis.call('HSET', task, 'streamed', streamed)

if redis.call('LLEN', events) > taken then
    local new = redis.call('LRANGE', events, taken, -1)

    table.insert(new, 1, 'events')
    table.insert(new, 2, outstanding())
    return new
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

redis.call('DEL', events)
redis.call('ZREM', leases, id)
redis.call('XACK', stream, 'workers', known[5])
redis.call('XDEL', stream, known[5])
redis.call('HSET', task, 'state', 'waiting', 'input', input, 'saved', saved,
           'updated', string.format('%.0f', now))
redis.call('ZADD', timers,
           wait > 0 and string.format('%.0f', now + wait) or '+inf', id)

return {'parked', outstanding()}
