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
local again, lease, limit = ARGV[4] == '1', ARGV[5], tonumber(ARGV[6])
local sessions = ARGV[7] == '1'

-- include clock
-- include task
-- include ring
-- include requeue
-- include epoch

local deadline = string.format('%.0f', now + lease)
local claims, nclaims, size = {0, 0}, 2, 0
local enough = 4 * 1024 * 1024

-- What cannot be read is not there: it must not keep others from being claimed.

local function value_of(...)
    local value = redis.pcall(...)

    return (type(value) ~= 'table' or not value.err) and value or nil
end

-- Why a task is only claimed to be ended.

local function fate_of(task)
    return task.cancel and 'cancelled' or task.expired and 'expired'
           or task.exhausted and 'exhausted' or ''
end

-- What is handed to the worker.

local function hand_out(id, record, input, task, saved, fate)
    local claim, session = {id, record, input}, {}

    -- a saved run has what it needs of its session

    if sessions and task.session and saved == '' then
        session = value_of('HGETALL', prefix .. 'session:' .. task.session)
                  or {}

        for _, text in ipairs(session) do
            size = size + #text
        end
    end

    if saved ~= '' or task.events or fate ~= '' or #session > 0 then
        claim[4], claim[6], claim[7] = saved, fate, session
        claim[5] = task.events and value_of('LRANGE', prefix .. 'events:' .. id,
                                            0, 63) or {}
    end

    nclaims = nclaims + 1
    claims[nclaims] = claim
    size = size + #input + #saved
end

-- The task is this worker's from now on, once it is written and has its lease.

local taken, written, owned = {}, {}, 0

local function own(id, key, record)
    written[owned + 1], written[owned + 2] = key, record
    taken[owned + 1], taken[owned + 2] = deadline, id
    owned = owned + 2
end

local function take(id, key, task, input)
    local attempts, saved, fate = tonumber(task.attempts), '', fate_of(task)

    if fate == '' and not task.resume then
        if attempts >= limit then
            fate, task.exhausted = 'exhausted', true
        else
            task.attempts = string.format('%d', attempts + 1)
        end
    end

    if task.saved then
        saved, task.saved, task.kept = task.saved, nil, true
        redis.call('SET', prefix .. 'saved:' .. id, saved)

    elseif task.kept then
        saved = value_of('GET', prefix .. 'saved:' .. id) or ''
    end

    task.state, task.worker, task.updated = 'running', worker, stamp
    task.claim = string.format('%d', task.claim + 1)
    task.resume = nil

    local record = write_task(task)

    own(id, key, record)
    hand_out(id, record, input, task, saved, fate)
end

-- The same for one that was queued and nothing else, as most are.

local after = ' ' .. worker .. ' 1 1 0 - ' .. stamp .. ' '

local function take_new(id, key, entry, rest, input)
    local record = 'running ' .. entry .. after .. rest

    own(id, key, record)

    if sessions and string.find(rest, 'session=', 1, true) then
        hand_out(id, record, input, read_task(record), '', '')
    else
        nclaims = nclaims + 1
        claims[nclaims] = {id, record, input}
        size = size + #input
    end
end

local function read(from, n)
    return redis.pcall('XREADGROUP', 'GROUP', 'workers', worker,
                       'COUNT', n, 'STREAMS', stream, from)
end

local function entries_from(from, n)
    local reply = read(from, n)

    if type(reply) == 'table' and reply.err
       and string.find(reply.err, 'NOGROUP', 1, true)
    then
        redis.call('XGROUP', 'CREATE', stream, 'workers', '0', 'MKSTREAM')
        reply = read(from, n)
    end

    if type(reply) == 'table' and reply.err then
        error(reply.err)
    end

    return reply and reply[1] and reply[1][2] or {}
end

-- The id and the input of an entry.

local function parts_of(entry)
    if entry and entry[1] == 'task' and entry[3] == 'input' then
        return entry[2], entry[4]
    end

    return '', ''
end

-- For each entry its task's id, key, record and input.

local function look_at(entries)
    local ids, keys, inputs, texts = {}, {}, {}, {}

    for i, item in ipairs(entries) do
        ids[i], inputs[i] = parts_of(item[2])
        keys[i] = prefix .. 'task:' .. ids[i]
    end

    for i = 1, #keys, 1000 do
        local last = math.min(i + 999, #keys)

        for j, text in ipairs(redis.call('MGET', unpack(keys, i, last))) do
            texts[i + j - 1] = text
        end
    end

    return ids, keys, texts, inputs
end

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
    local ids, keys, known, inputs = look_at(entries)

    for i, item in ipairs(entries) do
        local new = 'queued ' .. item[1] .. ' - 0 0 0 - - '
        local text = #ids[i] <= 256 and known[i] or ''

        if string.sub(text, 1, #new) == new then
            take_new(ids[i], keys[i], item[1], string.sub(text, #new + 1),
                     inputs[i])
            count = count - 1
        else
            local task = read_task(text)
            local state = task and task.entry == item[1] and task.state

            if state == 'queued' then
                take(ids[i], keys[i], task, inputs[i])
                count = count - 1

            elseif state ~= 'running' then
                redis.call('XACK', stream, 'workers', item[1])
                redis.call('XDEL', stream, item[1])
            end
        end
    end

    more = #entries == n
end

if owned > 0 then
    redis.call('MSET', unpack(written))
    redis.call('ZADD', leases, unpack(taken))
end

-- there may be more than this worker took: wake the next one

if more then
    ring(bell)
end

claims[1] = redis.call('XLEN', stream) + redis.call('ZCARD', timers)
claims[2] = more and 1 or 0

return claims
