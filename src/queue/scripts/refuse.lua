-- End a task that was never queued, because its message was bad or the queue
-- is full, so that whoever sent it by Pub/Sub is told.
--
-- KEYS  task, events, seen
-- ARGV  task_id, session_id ("" none), error, seconds to keep the result,
--       seconds to remember the message (0: it has no id of its own),
--       channel, message...
-- returns 1, or 0: the task or the message is known

local task, events, seen = unpack(KEYS)
local id, session, failure = ARGV[1], ARGV[2], ARGV[3]
local keep, remember, channel = ARGV[4], tonumber(ARGV[5]), ARGV[6]

if redis.call('EXISTS', task) == 1
   or (remember > 0 and redis.call('EXISTS', seen) == 1)
then
    return 0
end

-- a first write that Redis allows when it is out of memory allows those
-- behind it
redis.call('DEL', events)

if remember > 0 then
    redis.call('SET', seen, id, 'EX', remember)
end

local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))

redis.call('HSET', task, 'state', 'failed', 'error', failure, 'attempts', 0,
           'claim', 0, 'streamed', #ARGV - 7, 'digest', '',
           'created', now, 'updated', now)

if session ~= '' then
    redis.call('HSET', task, 'session', session)
end

redis.call('EXPIRE', task, keep)

for i = 7, #ARGV do
    redis.call('PUBLISH', channel, ARGV[i])
end

return 1
