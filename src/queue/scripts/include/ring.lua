-- Wake an idle worker.

local function ring(bell)
    if redis.call('LLEN', bell) == 0 then
        redis.call('RPUSH', bell, 1)
    end
end

-- Put a task that rests back into the queue.

local function requeue(stream, task, id)
    task.state = 'queued'
    task.entry = redis.call('XADD', stream, '*', 'task', id,
                            'input', task.input or '')
    task.input = nil
end
