-- Publish a task for a service that is none of ours, once.
--
-- KEYS  sent
-- ARGV  task_id of the task that sends it, seconds for its result to come,
--       service, topic, message
-- returns the number of those who listen; or, if it was published before,
--         "?..." as long as there is no result, then "!" and the event

local sent = KEYS[1]
local id, wait, service, topic, message = unpack(ARGV)

local known = redis.call('GET', sent)

if known then
    return known
end

-- what PUBLISH counts are also those that listen to any channel

local n = redis.call('PUBSUB', 'NUMSUB', topic)[2]

if n > 0 then
    redis.call('SET', sent, '?' .. service .. ' ' .. id, 'EX', wait)

    -- a channel that the user may not publish to is an error: nothing was sent

    local reply = redis.pcall('PUBLISH', topic, message)

    if type(reply) == 'table' then
        redis.call('DEL', sent)
        return reply
    end
end

return n
