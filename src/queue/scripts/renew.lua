-- Renew the leases of the tasks that a worker runs.
--
-- KEYS  leases
-- ARGV  prefix of the service's keys, worker, milliseconds of a lease,
--       then for each task its id and claim
-- returns for each task 1, 0: it is not this worker's any more, or
--         2: it was cancelled

local leases = KEYS[1]
local prefix, worker, lease = ARGV[1], ARGV[2], ARGV[3]

local time = redis.call('TIME')
local deadline = string.format('%.0f', time[1] * 1000
                               + math.floor(time[2] / 1000) + lease)
local answers = {}

-- a first write that Redis allows when it is out of memory allows those
-- behind it
redis.call('PERSIST', leases)

for i = 4, #ARGV, 2 do
    local known = redis.call('HMGET', prefix .. 'task:' .. ARGV[i], 'state',
                             'worker', 'claim', 'cancel', 'resume')

    if known[1] == 'running' and known[2] == worker
       and known[3] == ARGV[i + 1] and not known[5]
    then
        redis.call('ZADD', leases, deadline, ARGV[i])
        answers[#answers + 1] = known[4] and 2 or 1
    else
        answers[#answers + 1] = 0
    end
end

return answers
