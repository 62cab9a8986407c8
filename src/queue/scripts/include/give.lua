-- Give a task that has not ended an event: whoever runs it is told; if it
-- waits, it goes back into the queue.  claims: no worker need be woken.

local function give(stream, key, events, bell, timers, epoch, id, event, task,
                    stamp, channel, service, claims)
    redis.call('RPUSH', events, event)
    task.events = true

    if task.state == 'waiting' then
        requeue(stream, task, id)
        task.resume = true
        task.updated = stamp
        redis.call('ZREM', timers, id)

        if not claims then
            ring(bell)
        end
    end

    redis.call('SET', key, write_task(task))

    if task.state == 'running' then
        begin_epoch(epoch)
        redis.call('PUBLISH', channel .. task.worker,
                   'event ' .. service .. ' ' .. id)
    end
end
