-- Claim queued tasks for a worker.
--
-- KEYS  stream, bell, waiting
-- ARGV  prefix of the service's keys, worker, number of tasks,
--       1: repeat instead what this worker has claimed and not ended, because
--       an answer may have been lost
-- returns {outstanding tasks, claim...}; a claim is
--         {task_id, claim, attempt, session_id | nil, input, saved run | "",
--          {event...}}
--
-- The claim number rises with every claim: with the worker's name it fences
-- all that follows.  A run that goes on after waiting is the same attempt.

local stream, bell, waiting = unpack(KEYS)
local prefix, worker, count = ARGV[1], ARGV[2], ARGV[3]
local again = ARGV[4] == '1'

local function read()
    return redis.pcall('XREADGROUP', 'GROUP', 'workers', worker,
                       'COUNT', count, 'STREAMS', stream, again and '0' or '>')
end

local reply = read()

if type(reply) == 'table' and reply.err then
    if not string.find(reply.err, 'NOGROUP', 1, true) then
        return reply
    end

    redis.call('XGROUP', 'CREATE', stream, 'workers', '0', 'MKSTREAM')
    reply = read()
end

local entries = reply and reply[1] and reply[1][2] or {}
local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
local claims = {}

for _, item in ipairs(entries) do
    local entry, fields = item[1], {}

    for i = 1, #(item[2] or {}), 2 do
        fields[item[2][i]] = item[2][i + 1]
    end

    local id = fields.task or ''
    local task = prefix .. 'task:' .. id
    local known = redis.call('HMGET', task, 'state', 'entry', 'session',
                             'worker')
    local state = known[2] == entry and known[1]

    if state == 'queued' then
        redis.call('HINCRBY', task, 'claim', 1)

        if not fields.saved then
            redis.call('HINCRBY', task, 'attempts', 1)
        end

        redis.call('HSET', task, 'state', 'running', 'worker', worker,
                   'updated', now)
    end

    if state == 'queued'
       or (again and state == 'running' and known[4] == worker)
    then
        local numbers = redis.call('HMGET', task, 'claim', 'attempts')

        claims[#claims + 1] = {
            id, tonumber(numbers[1]), tonumber(numbers[2]), known[3],
            fields.input, fields.saved or '',
            redis.call('LRANGE', prefix .. 'events:' .. id, 0, -1)
        }

    elseif state ~= 'running' then
        redis.call('XACK', stream, 'workers', entry)
        redis.call('XDEL', stream, entry)
    end
end

-- there may be more than this worker took: wake the next one

if #entries == tonumber(count) and redis.call('LLEN', bell) == 0 then
    redis.call('RPUSH', bell, 1)
end

table.insert(claims, 1, redis.call('XLEN', stream)
                        + redis.call('ZCARD', waiting))
return claims
