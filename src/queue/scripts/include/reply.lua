-- Give the result of a task to the one that has sent it, unless that has ended.
-- prefix: of the keys of its service.

local function reply_to(prefix, id, event, channel, service)
    local task = prefix .. 'task:' .. id
    local known = redis.call('HMGET', task, 'state', 'worker')
    local state = known[1]

    if state == 'queued' or state == 'running' or state == 'waiting' then
        give(prefix .. 'queue', task, prefix .. 'events:' .. id,
             prefix .. 'bell', prefix .. 'timers', id, event, known, channel,
             service)
    end
end
