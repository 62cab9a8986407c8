-- Renew the leases of the tasks that a worker runs.
--
-- KEYS  leases
-- ARGV  prefix of the service's keys, worker, milliseconds of a lease,
--       then for each task its id and claim
-- returns for each task 1, 0: it is not this worker's any more, or
--         2: it was cancelled

local leases = KEYS[1]
local prefix, worker, lease = ARGV[1], ARGV[2], ARGV[3]

-- include clock
-- include task

local deadline = string.format('%.0f', now + lease)
local answers = {}

-- a first write that Redis allows when it is out of memory allows those
-- behind it
redis.call('PERSIST', leases)

for i = 4, #ARGV, 2 do
    local task = task_at(prefix .. 'task:' .. ARGV[i])

    if is_of(task, worker, ARGV[i + 1]) and task.state == 'running'
       and not task.resume
    then
        redis.call('ZADD', leases, deadline, ARGV[i])
        answers[#answers + 1] = task.cancel and 2 or 1
    else
        answers[#answers + 1] = 0
    end
end

return answers
