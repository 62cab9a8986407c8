-- Take the result of a task that send.lua has published, once.
--
-- KEYS  sent
-- ARGV  prefix of the keys of the service whose task has sent it, what follows
--       "service" in the fields of the event, seconds to keep it, channel of
--       workers ("<namespace>:worker:"), that service
-- returns 1, or 0: no task of this service waits for it

local sent = KEYS[1]
local prefix, fields, keep, channel, service = unpack(ARGV)

-- include clock
-- include task
-- include ring
-- include requeue
-- include epoch
-- include give
-- include reply

local known = redis.call('GET', sent)
local from, id = string.match(known or '', '^%?(%S+) (.*)$')

if not from then
    return 0
end

-- a first write that Redis allows when it is out of memory allows those
-- behind it
redis.call('PERSIST', sent)

local event = 'TaskResultEvent\n{"service": "' .. from .. '", ' .. fields

redis.call('SET', sent, '!' .. event, 'EX', keep)

reply_to(prefix, id, event, stamp, channel, service)

return 1
