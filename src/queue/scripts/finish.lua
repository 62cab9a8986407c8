-- End running tasks: of each its last streamed events, its result, its removal
-- from the queue and completed_task, all at once and only once.
--
-- KEYS  stream, timers, leases, dead
-- ARGV  prefix of the service's keys, worker, seconds to keep results,
--       seconds to keep sessions, channel of workers ("<namespace>:worker:"),
--       channel,
--       then for each task
--       task_id,
--       "claim state index n more": its state ("completed" | "failed" |
--       "cancelled" | "dead"), the index of the first message, the number of
--       messages, the number of what follows them (0, or 7 and more),
--       its record from "created" on, completed_task ("" publish none),
--       message..., and
--       its own channel, input (of a dead one), session ("" none is kept here),
--       prefix of the keys of the service whose task has sent this one ("" none
--       has), that service, that task's id, the event for it,
--       key, value... of the session that were set
-- returns {outstanding tasks, for each task 1, or 0: it is not this worker's
--         any more...}
--
-- A dead task's input and error go to the dead-letter stream.

local stream, timers, leases, dead = unpack(KEYS)
local prefix, worker, keep, session_ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local workers, control = ARGV[5], ARGV[6]

-- include clock
-- include task
-- include ring
-- include requeue
-- include stream
-- include give
-- include reply

-- A key of another type makes room: see claim.lua.

local function write(command, key, ...)
    local reply = redis.pcall(command, key, ...)

    if type(reply) == 'table' and reply.err then
        if string.find(reply.err, 'WRONGTYPE', 1, true) then
            redis.call('DEL', key)
        end

        redis.call(command, key, ...)
    end
end

-- Of most tasks it is the same.

local heads = {}

local function head_of(text)
    local head = heads[text]

    if not head then
        local claim, state, index, n, more
            = string.match(text, '^(%d+) (%a+) (%d+) (%d+) (%d+)$')

        head = {claim = claim, state = state, index = tonumber(index),
                n = tonumber(n), more = tonumber(more)}
        heads[text] = head
    end

    return head
end

local starts, keys = {}, {}
local at = 7

while at <= #ARGV do
    local head = head_of(ARGV[at + 1])

    starts[#starts + 1] = at
    keys[#keys + 1] = prefix .. 'task:' .. ARGV[at]
    at = at + 4 + head.n + head.more
end

local known = redis.call('MGET', unpack(keys))
local answers, n, ends, ids, entries, before, gone = {0}, 0, {}, {}, {}, {}, {}

-- A record, as far as it matters here.  Most are as they were when they were
-- claimed for the first time.

local first_claim = ' ' .. worker .. ' 1 1 0 - '

local function fields_of(text)
    local after = string.find(text, ' ', 9, true)

    if after and string.sub(text, 1, 8) == 'running '
       and string.sub(text, after, after + #first_claim - 1) == first_claim
    then
        return 'running', string.sub(text, 9, after - 1), worker, '1', '1', 0,
               '-'
    end

    return string.match(text, '^(%a+) (%S+) (%S+) (%d+) (%d+) (%d+) (%S+)')
end

for i, at in ipairs(starts) do
    local head = head_of(ARGV[at + 1])
    local state, entry, owner, claim, attempts, streamed, marks
        = fields_of(known[i] or '')

    if owner ~= worker or claim ~= head.claim then
        answers[i + 1] = 0

    elseif state == 'running' then
        streamed = tonumber(streamed)

        if head.index > streamed and head.n > 0 then
            return redis.error_reply(gap)
        end

        n = n + 1
        answers[i + 1] = 1
        ids[n], entries[n] = ARGV[at], entry
        ends[n] = {at, head, keys[i], entry, attempts, streamed}

        if marks ~= '-' then
            gone[#gone + 1] = prefix .. 'events:' .. ARGV[at]
            gone[#gone + 1] = prefix .. 'saved:' .. ARGV[at]
        end
    elseif state == head.state then
        -- this very call, a second time: the first may have failed half way
        answers[i + 1] = 1
        before[#before + 1] = {at, head, entry}
        gone[#gone + 1] = prefix .. 'events:' .. ARGV[at]
        gone[#gone + 1] = prefix .. 'saved:' .. ARGV[at]

    else
        answers[i + 1] = 0
    end
end

-- A first write that Redis allows when it is out of memory allows those behind
-- it; and nothing is published before something was written, so that a refusal
-- leaves nothing half done.

if n > 0 then
    redis.call('ZREM', leases, unpack(ids))
end

for _, e in ipairs(ends) do
    local at, head, key, entry, attempts, streamed = unpack(e)
    local id, _, record, completed = unpack(ARGV, at, at + 3)
    local state, index, first, last = head.state, head.index, at + 4,
                                      at + 3 + head.n
    local channel = head.more > 0 and ARGV[last + 1] or control

    for i = first, last do
        -- the last one, a StopEvent, has the first index that is free
        if index == streamed or i == last then
            redis.call('PUBLISH', channel, ARGV[i])
            streamed = streamed + 1
        end

        index = index + 1
    end

    local text = state .. ' ' .. entry .. ' ' .. worker .. ' ' .. head.claim
                 .. ' ' .. attempts .. ' ' .. streamed .. ' - ' .. stamp .. ' '
                 .. record

    redis.call('SET', key, text, 'EX', keep)

    if head.more > 0 then
        local set = last + 8
        local input, session = ARGV[last + 2], ARGV[last + 3]

        if state == 'dead' then
            local task = read_task(text)

            write('XADD', dead, 'MAXLEN', '~', 10000, '*', 'task', id,
                  'session', task.session or '', 'input', input, 'error',
                  task.error or '', 'attempts', attempts,
                  'created', string.match(task.origin, '^%d+'),
                  'updated', stamp)
        end

        -- tasks of a session that run at a time overwrite each other key by key

        if session ~= '' then
            local kept = prefix .. 'session:' .. session

            for i = set, last + head.more, 2 do
                write('HSET', kept, ARGV[i], ARGV[i + 1])
            end

            redis.call('EXPIRE', kept, session_ttl)
        end
    end

    if completed ~= '' then
        redis.call('PUBLISH', channel, completed)
    end
end

if #gone > 0 then
    redis.call('DEL', unpack(gone))
end

-- To those that have not ended, here or before.  A result that comes twice is
-- taken once.

local function reply_for(at, head)
    if head.more > 0 then
        local last = at + 3 + head.n
        local parent, service, id, event = unpack(ARGV, last + 4, last + 7)

        if parent ~= '' then
            reply_to(parent, id, event, stamp, workers, service)
        end
    end
end

for _, e in ipairs(ends) do
    reply_for(e[1], e[2])
end

for _, e in ipairs(before) do
    reply_for(e[1], e[2])
    n = n + 1
    entries[n] = e[3]
end

if n > 0 then
    redis.call('XACK', stream, 'workers', unpack(entries))
    redis.call('XDEL', stream, unpack(entries))
end

answers[1] = redis.call('XLEN', stream) + redis.call('ZCARD', timers)

return answers
