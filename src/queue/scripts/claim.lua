-- Claim tasks for a worker: those whose worker has lost its lease, those whose
-- time has come, and queued ones.
--
-- KEYS  stream, bell, timers, leases, epoch
-- ARGV  prefix of the service's keys, worker, number of tasks,
--       1: repeat what this worker has claimed and not ended, because an answer
--       may have been lost, or what it has only read, and nothing else,
--       milliseconds of a lease, number of attempts,
--       1: sessions are kept here
-- returns {outstanding tasks, 1 if there may be more, claim...}; a claim is
--         {task_id, record, input}, as most are, or
--         {task_id, record, input, saved run | "", {event...}, fate,
--          {key, value... of the session}}
--
-- At most 64 events come with a claim; the worker asks for more.  Claims stop
-- when their inputs reach a few megabytes.
--
-- The claim number rises with every claim: with the worker's name it fences
-- all that follows.  A fate other than "" is that of a task that is only
-- claimed to be ended: "cancelled", "expired" (nobody sent the event that it
-- waited for), "exhausted" (its workers have died too often).

local stream, bell, timers, leases, epoch = unpack(KEYS)
local prefix, worker, count = ARGV[1], ARGV[2], tonumber(ARGV[3])
local again, lease, max_attempts = ARGV[4] == '1', ARGV[5], ARGV[6]
local sessions = ARGV[7] == '1'

-- include clock
-- include task
-- include ring
-- include requeue
-- include epoch

local claims, nclaims = {0, 0}, 2
local enough = 4 * 1024 * 1024

-- include claims

-- What this worker has claimed before, as it was; or, where it was only read, as
-- if it did so now: another one was to be claimed, or a call has failed.

if again then
    local entries = entries_from('0', count)
    local ids, keys, known, inputs = look_at(entries)

    for i, item in ipairs(entries) do
        local task = read_task(known[i])

        if not task or task.entry ~= item[1] or not is_alive(task) then
            redis.call('XACK', stream, 'workers', item[1])
            redis.call('XDEL', stream, item[1])

        elseif task.state == 'queued' then
            take(ids[i], keys[i], task, inputs[i])

        elseif task.state == 'running' and task.worker == worker
               and not task.resume
        then
            redis.call('ZADD', leases, deadline, ids[i])
            hand_out(ids[i], known[i], inputs[i], task,
                     task.kept and value_of('GET', prefix .. 'saved:'
                                            .. ids[i]) or '', fate_of(task))
        end
    end

    count = 0
end

-- tasks whose time has come go back into the queue

local due = count > 0 and redis.call('ZRANGEBYSCORE', timers, '-inf', now,
                                     'LIMIT', 0, count) or {}

for _, id in ipairs(due) do
    local key = prefix .. 'task:' .. id
    local task = task_at(key)

    redis.call('ZREM', timers, id)

    if task and task.state == 'waiting' then
        task.expired, task.resume = true, true
    end

    if task and (task.state == 'waiting' or task.state == 'queued') then
        requeue(stream, task, id)
        redis.call('SET', key, write_task(task))
    end
end

-- tasks whose worker has lost its lease

local orphans = count > 0 and redis.call('ZRANGEBYSCORE', leases, '-inf', now,
                                         'LIMIT', 0, count) or {}

for _, id in ipairs(orphans) do
    local key = prefix .. 'task:' .. id
    local task = task_at(key)

    if task and task.entry ~= '-'
       and (task.state == 'running' or task.state == 'queued')
    then
        local entry = redis.call('XRANGE', stream, task.entry, task.entry)
        local _, input = parts_of(entry[1] and entry[1][2])

        redis.pcall('XCLAIM', stream, 'workers', worker, 0, task.entry,
                    'FORCE', 'JUSTID')

        -- unless its worker has given it up itself

        if task.state == 'running' and not task.resume then
            begin_epoch(epoch)
        end

        take(id, key, task, input)
    else
        redis.call('ZREM', leases, id)
    end
end

count = count - #orphans

-- queued tasks

local more = true

while more and count > 0 and size < enough do
    local n = math.min(count, 64)
    local entries = entries_from('>', n)

    count = count - take_entries(entries)
    more = #entries == n
end

keep_claims()

-- there may be more than this worker took: wake the next one

if more then
    ring(bell)
end

claims[1] = redis.call('XLEN', stream) + redis.call('ZCARD', timers)
claims[2] = more and 1 or 0

return claims
