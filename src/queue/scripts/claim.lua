-- Claim tasks for a worker: those whose worker has lost its lease, those whose
-- time has come, and queued ones.
--
-- KEYS  stream, bell, timers, leases
-- ARGV  prefix of the service's keys, worker, number of tasks,
--       1: repeat first what this worker has claimed and not ended, because an
--       answer may have been lost,
--       milliseconds of a lease, number of attempts,
--       1: sessions are kept here
-- returns {outstanding tasks, 1 if there may be more, claim...}; a claim is
--         {task_id, claim, attempt, session_id | nil, input, saved run | "",
--          {event...}, fate, streamed, {key, value... of the session},
--          "service\ntask_id" of the task that has sent it | ""}
--
-- At most 64 events come with a claim; the worker asks for more.  Claims stop
-- when their inputs reach a few megabytes.
--
-- The claim number rises with every claim: with the worker's name it fences
-- all that follows.  A fate other than "" is that of a task that is only
-- claimed to be ended: "cancelled", "expired" (nobody sent the event that it
-- waited for), "exhausted" (its workers have died too often).

local stream, bell, timers, leases = unpack(KEYS)
local prefix, worker, count = ARGV[1], ARGV[2], tonumber(ARGV[3])
local again, lease, limit = ARGV[4] == '1', ARGV[5], tonumber(ARGV[6])
local sessions = ARGV[7] == '1'

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stamp = string.format('%.0f', now)
local claims, size = {}, 0
local enough = 4 * 1024 * 1024

local function events_of(id)
    return redis.call('LRANGE', prefix .. 'events:' .. id, 0, 63)
end

-- A saved run has what it needs of its session.

local function session_of(session, saved)
    if not sessions or not session or saved then
        return {}
    end

    return redis.call('HGETALL', prefix .. 'session:' .. session)
end

local function fields_of(entry)
    local fields = {}

    for i = 1, #(entry or {}), 2 do
        fields[entry[i]] = entry[i + 1]
    end

    return fields
end

-- The task is this worker's from now on.

local function take(id, task, fields, counts)
    local known = redis.call('HMGET', task, 'attempts', 'session', 'saved',
                             'cancel', 'expired', 'streamed', 'reply')
    local attempt, fate = tonumber(known[1]), ''

    if known[4] then
        fate = 'cancelled'

    elseif known[5] then
        fate = 'expired'

    elseif counts and attempt >= limit then
        fate = 'exhausted'

    elseif counts then
        attempt = redis.call('HINCRBY', task, 'attempts', 1)
    end

    local claim = redis.call('HINCRBY', task, 'claim', 1)

    redis.call('HSET', task, 'state', 'running', 'worker', worker,
               'updated', stamp)
    redis.call('HDEL', task, 'resume')
    redis.call('ZADD', leases, string.format('%.0f', now + lease), id)

    local session = session_of(known[2], known[3])

    for _, text in ipairs(session) do
        size = size + #text
    end

    claims[#claims + 1] = {
        id, tostring(claim), attempt, known[2], fields.input or '',
        known[3] or '', events_of(id), fate, tonumber(known[6]), session,
        known[7] or ''
    }

    size = size + #(fields.input or '') + #(known[3] or '')
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

-- what this worker has claimed before, as it was

if again then
    for _, item in ipairs(entries_from('0', count)) do
        local fields = fields_of(item[2])
        local id = fields.task or ''
        local task = prefix .. 'task:' .. id
        local known = redis.call('HMGET', task, 'state', 'entry', 'worker',
                                 'claim', 'attempts', 'session', 'saved',
                                 'streamed', 'reply')

        if known[1] == 'running' and known[2] == item[1]
           and known[3] == worker
        then
            claims[#claims + 1] = {
                id, known[4], tonumber(known[5]), known[6],
                fields.input or '', known[7] or '', events_of(id), '',
                tonumber(known[8]), session_of(known[6], known[7]),
                known[9] or ''
            }
        end
    end

    count = count - #claims
end

-- tasks whose time has come go back into the queue

local due = count > 0 and redis.call('ZRANGEBYSCORE', timers, '-inf', now,
                                     'LIMIT', 0, count) or {}

for _, id in ipairs(due) do
    local task = prefix .. 'task:' .. id
    local known = redis.call('HMGET', task, 'state', 'input')

    redis.call('ZREM', timers, id)

    if known[1] == 'waiting' then
        redis.call('HSET', task, 'expired', 1, 'resume', 1)
    end

    if known[1] == 'waiting' or known[1] == 'queued' then
        local entry = redis.call('XADD', stream, '*', 'task', id,
                                 'input', known[2])

        redis.call('HSET', task, 'state', 'queued', 'entry', entry)
        redis.call('HDEL', task, 'input')
    end
end

-- tasks whose worker has lost its lease

local orphans = count > 0 and redis.call('ZRANGEBYSCORE', leases, '-inf', now,
                                         'LIMIT', 0, count) or {}

for _, id in ipairs(orphans) do
    local task = prefix .. 'task:' .. id
    local known = redis.call('HMGET', task, 'state', 'entry', 'resume')

    if known[1] == 'running' then
        local entry = redis.call('XRANGE', stream, known[2], known[2])

        redis.pcall('XCLAIM', stream, 'workers', worker, 0, known[2], 'FORCE',
                    'JUSTID')
        take(id, task, fields_of(entry[1] and entry[1][2]), not known[3])
    else
        redis.call('ZREM', leases, id)
    end
end

count = count - #orphans

-- queued tasks

local more = true

while more and count > 0 and size < enough do
    local n = math.min(count, 32)
    local entries = entries_from('>', n)

    for _, item in ipairs(entries) do
        local fields = fields_of(item[2])
        local id = fields.task or ''
        local task = prefix .. 'task:' .. id
        local known = redis.call('HMGET', task, 'state', 'entry', 'resume')
        local state = known[2] == item[1] and known[1]

        if state == 'queued' and #id <= 256 then
            take(id, task, fields, not known[3])
            count = count - 1

        elseif state ~= 'running' then
            redis.call('XACK', stream, 'workers', item[1])
            redis.call('XDEL', stream, item[1])
        end
    end

    more = #entries == n
end

-- there may be more than this worker took: wake the next one

if more and redis.call('LLEN', bell) == 0 then
    redis.call('RPUSH', bell, 1)
end

table.insert(claims, 1, more and 1 or 0)
table.insert(claims, 1, redis.call('XLEN', stream)
                        + redis.call('ZCARD', timers))
return claims
