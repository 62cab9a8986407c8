-- Save a run that goes on, together with what it has streamed until then.
--
-- KEYS  task, leases, bell
-- ARGV  task_id, worker, claim, saved run ("" none: keep the last),
--       1: the worker gives the task up, another one is to go on with it,
--       channel, index of the first message, streamed message...
-- returns 1, or 0: the task is not this worker's any more

local task, leases, bell = unpack(KEYS)
local id, worker, claim, saved = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local leave, channel, index = ARGV[5] == '1', ARGV[6], tonumber(ARGV[7])

local known = redis.call('HMGET', task, 'state', 'worker', 'claim', 'streamed')

if known[1] ~= 'running' or known[2] ~= worker or known[3] ~= claim then
    return 0
end

local streamed = tonumber(known[4])

if index > streamed and #ARGV >= 8 then
    return redis.error_reply('GAP events before these have not come yet')
end

-- A first write that Redis allows when it is out of memory allows those behind
-- it; and nothing is published before something was written, so that a refusal
-- leaves nothing half done.

redis.call('PERSIST', task)

for i = 8, #ARGV do
    if index == streamed then
        redis.call('PUBLISH', channel, ARGV[i])
        streamed = streamed + 1
    end

    index = index + 1
end

redis.call('HSET', task, 'streamed', streamed)

if saved ~= '' then
    redis.call('HSET', task, 'saved', saved)
end

if leave then
    redis.call('HSET', task, 'resume', 1)
    redis.call('ZADD', leases, 0, id)

    if redis.call('LLEN', bell) == 0 then
        redis.call('RPUSH', bell, 1)
    end
end

return 1
