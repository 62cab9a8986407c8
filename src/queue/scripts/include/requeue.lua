-- Put a task that rests back into the queue.

local function requeue(stream, task, id)
    task.state = 'queued'
    task.entry = redis.call('XADD', stream, '*', 'task', id,
                            'input', task.input or '')
    task.input = nil
end
