-- Give the result of a task to the one that has sent it, unless that has ended.
-- prefix: of the keys of its service.

local function reply_to(prefix, id, event, stamp, channel, service)
    local key = prefix .. 'task:' .. id
    local task = task_at(key)

    if task and is_alive(task) then
        give(prefix .. 'queue', key, prefix .. 'events:' .. id,
             prefix .. 'bell', prefix .. 'timers', prefix .. 'epoch', id, event,
             task, stamp, channel, service)
    end
end
