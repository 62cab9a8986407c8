-- Give a task that has not ended an event: whoever runs it is told; if it waits,
-- it goes back into the queue.  known: its state and worker.

local function give(stream, task, events, bell, timers, id, event, known,
                    channel, service)
    redis.call('RPUSH', events, event)
    redis.call('HSET', task, 'events', 1)

    if known[1] == 'running' then
        redis.call('PUBLISH', channel .. known[2],
                   'event ' .. service .. ' ' .. id)

    elseif known[1] == 'waiting' then
        local entry = redis.call('XADD', stream, '*', 'task', id,
                                 'input', redis.call('HGET', task, 'input'))
        local time = redis.call('TIME')

        redis.call('HDEL', task, 'input')
        redis.call('HSET', task, 'state', 'queued', 'entry', entry, 'resume', 1,
                   'updated', time[1]
                              .. string.format('%03d',
                                               math.floor(time[2] / 1000)))
        redis.call('ZREM', timers, id)

        if redis.call('LLEN', bell) == 0 then
            redis.call('RPUSH', bell, 1)
        end
    end
end
