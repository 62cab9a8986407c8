-- Publish events that a running task streams.
--
-- KEYS  task
-- ARGV  worker, claim, channel, index of the first message, message...
-- returns 1, or 0: the task is not this worker's any more
--
-- An index that was published before is not published again.

local task = KEYS[1]
local worker, claim, channel = ARGV[1], ARGV[2], ARGV[3]
local index = tonumber(ARGV[4])

local known = redis.call('HMGET', task, 'state', 'worker', 'claim', 'streamed')

if known[1] ~= 'running' or known[2] ~= worker or known[3] ~= claim then
    return 0
end

local streamed = tonumber(known[4])

if index > streamed and #ARGV >= 5 then
    return redis.error_reply('GAP events before these have not come yet')
end

-- A first write that Redis allows when it is out of memory allows those behind
-- it; and nothing is published before something was written, so that a refusal
-- leaves nothing half done.

redis.call('PERSIST', task)

for i = 5, #ARGV do
    if index == streamed then
        redis.call('PUBLISH', channel, ARGV[i])
        streamed = streamed + 1
    end

    index = index + 1
end

redis.call('HSET', task, 'streamed', streamed)

return 1
