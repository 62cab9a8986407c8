-- Claim tasks for a worker: those whose worker has lost its lease, those whose
-- time has come, and queued ones.
--
-- KEYS  stream, bell, timers, leases
-- ARGV  prefix of the service's keys, worker, number of tasks,
--       1: repeat what this worker has claimed and not ended, because an answer
--       may have been lost, and nothing else,
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
local deadline = string.format('%.0f', now + lease)
local claims, size = {}, 0
local enough = 4 * 1024 * 1024

-- known: whether it was ever sent one

local function events_of(id, known)
    return known and redis.call('LRANGE', prefix .. 'events:' .. id, 0, 63)
           or {}
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

local function look_at(task)
    local known = redis.call('HMGET', task, 'state', 'entry', 'resume',
                             'attempts', 'claim', 'session', 'saved', 'cancel',
                             'expired', 'streamed', 'reply', 'events')
    return {
        state = known[1], entry = known[2], resume = known[3],
        attempts = tonumber(known[4]), claim = tonumber(known[5]),
        session = known[6], saved = known[7], cancel = known[8],
        expired = known[9], streamed = tonumber(known[10]), reply = known[11],
        events = known[12]
    }
end

-- The task is this worker's from now on, once it has its lease.

local taken = {}

local function take(id, task, fields, known)
    local attempt, fate = known.attempts, ''

    if known.cancel then
        fate = 'cancelled'

    elseif known.expired then
        fate = 'expired'

    elseif not known.resume and attempt >= limit then
        fate = 'exhausted'

    elseif not known.resume then
        attempt = attempt + 1
    end

    local claim = string.format('%.0f', known.claim + 1)

    redis.call('HSET', task, 'state', 'running', 'worker', worker,
               'claim', claim, 'attempts', attempt, 'updated', stamp)

    if known.resume then
        redis.call('HDEL', task, 'resume')
    end

    taken[#taken + 1] = deadline
    taken[#taken + 1] = id

    local session = session_of(known.session, known.saved)

    for _, text in ipairs(session) do
        size = size + #text
    end

    claims[#claims + 1] = {
        id, claim, attempt, known.session, fields.input or '',
        known.saved or '', events_of(id, known.events), fate, known.streamed,
        session, known.reply or ''
    }

    size = size + #(fields.input or '') + #(known.saved or '')
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
                                 'streamed', 'reply', 'events')

        if known[1] == 'running' and known[2] == item[1]
           and known[3] == worker
        then
            claims[#claims + 1] = {
                id, known[4], tonumber(known[5]), known[6],
                fields.input or '', known[7] or '', events_of(id, known[10]),
                '', tonumber(known[8]), session_of(known[6], known[7]),
                known[9] or ''
            }
        end
    end

    count = 0
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
    local known = look_at(task)

    if known.state == 'running' then
        local entry = redis.call('XRANGE', stream, known.entry, known.entry)

        redis.pcall('XCLAIM', stream, 'workers', worker, 0, known.entry,
                    'FORCE', 'JUSTID')
        take(id, task, fields_of(entry[1] and entry[1][2]), known)
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

    for _, item in ipairs(entries) do
        local fields = fields_of(item[2])
        local id = fields.task or ''
        local task = prefix .. 'task:' .. id
        local known = look_at(task)
        local state = known.entry == item[1] and known.state

        if state == 'queued' and #id <= 256 then
            take(id, task, fields, known)
            count = count - 1

        elseif state ~= 'running' then
            redis.call('XACK', stream, 'workers', item[1])
            redis.call('XDEL', stream, item[1])
        end
    end

    more = #entries == n
end

if #taken > 0 then
    redis.call('ZADD', leases, unpack(taken))
end

-- there may be more than this worker took: wake the next one

if more and redis.call('LLEN', bell) == 0 then
    redis.call('RPUSH', bell, 1)
end

table.insert(claims, 1, more and 1 or 0)
table.insert(claims, 1, redis.call('XLEN', stream)
                        + redis.call('ZCARD', timers))
return claims
