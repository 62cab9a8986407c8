-- Put a task that has failed back into the queue, after a while.  It begins
-- from its last saved state, if there is one; what it streams again under an
-- index that was published before is not published again.
--
-- KEYS  stream, task, timers, leases
-- ARGV  task_id, worker, claim, input, error, milliseconds to wait, channel,
--       index of the first message, streamed message...
-- returns {1, outstanding tasks}, or {0, outstanding tasks}: the task is not
--         this worker's any more

local stream, task, timers, leases = unpack(KEYS)
local id, worker, claim, input = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local failure, wait, channel = ARGV[5], tonumber(ARGV[6]), ARGV[7]
local index = tonumber(ARGV[8])

local function outstanding()
    return redis.call('XLEN', stream) + redis.call('ZCARD', timers)
end

local known = redis.call('HMGET', task, 'state', 'worker', 'claim', 'streamed',
                         'entry')

if known[2] ~= worker or known[3] ~= claim then
    return {0, outstanding()}
end

if known[1] ~= 'running' then
    -- this very call, a second time
    return {1, outstanding()}
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local streamed = tonumber(known[4])

if index > streamed and #ARGV >= 9 then
    return redis.error_reply('GAP events before these have not come yet')
end

-- A first write that Redis allows when it is out of memory allows those behind
-- it; and nothing is published before something was written, so that a refusal
-- leaves nothing half done.

redis.call('ZREM', leases, id)

for i = 9, #ARGV do
    if index == streamed then
        redis.call('PUBLISH', channel, ARGV[i])
        streamed = streamed + 1
    end

    index = index + 1
end

redis.call('HSET', task, 'state', 'queued', 'streamed', streamed,
           'input', input, 'error', failure,
           'updated', string.format('%.0f', now))
redis.call('XACK', stream, 'workers', known[5])
redis.call('XDEL', stream, known[5])
redis.call('ZADD', timers, string.format('%.0f', now + wait), id)

return {1, outstanding()}
