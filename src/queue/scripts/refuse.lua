-- End a task that was never queued, because its message was bad or the queue
-- is full, so that whoever sent it by Pub/Sub is told.
--
-- KEYS  task, events, seen
-- ARGV  task_id, session_id ("" none), error, seconds to keep the result,
--       seconds to remember the message (0: it has no id of its own),
--       channel, message...
-- returns 1, or 0: the task or the message is known

local key, events, seen = unpack(KEYS)
local id, session, failure = ARGV[1], ARGV[2], ARGV[3]
local keep, remember, channel = ARGV[4], tonumber(ARGV[5]), ARGV[6]

-- include clock
-- include task

if redis.call('EXISTS', key) == 1
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

redis.call('SET', key, write_task({
    state = 'failed', worker = '-', claim = '0', attempts = '0',
    streamed = #ARGV - 7, updated = stamp, entry = '-',
    origin = stamp .. ' -', error = failure, session = session ~= '' and session
}), 'EX', keep)

for i = 7, #ARGV do
    redis.call('PUBLISH', channel, ARGV[i])
end

return 1
