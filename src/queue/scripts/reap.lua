-- End the leases of a worker whose process is known to be gone.
--
-- KEYS  stream, leases, bell
-- ARGV  prefix of the service's keys, worker
-- returns the number of tasks that others may take over

local stream, leases, bell = unpack(KEYS)
local prefix, worker = ARGV[1], ARGV[2]

-- include task
-- include ring

local pending = redis.pcall('XPENDING', stream, 'workers', '-', '+', 1000,
                            worker)
local n = 0

if type(pending) ~= 'table' or pending.err then
    return 0
end

for _, item in ipairs(pending) do
    local entry = redis.call('XRANGE', stream, item[1], item[1])
    local fields = entry[1] and entry[1][2] or {}
    local id

    for i = 1, #fields, 2 do
        if fields[i] == 'task' then
            id = fields[i + 1]
        end
    end

    local task = id and task_at(prefix .. 'task:' .. id)

    -- it may have read a task and no more

    if task and task.entry == item[1]
       and (task.state == 'queued'
            or task.state == 'running' and task.worker == worker)
    then
        redis.call('ZADD', leases, 0, id)
        n = n + 1
    end
end

if n > 0 then
    ring(bell)
end

if n == 0 and #pending == 0 then
    redis.call('XGROUP', 'DELCONSUMER', stream, 'workers', worker)
end

return n
