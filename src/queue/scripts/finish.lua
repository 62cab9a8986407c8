-- End running tasks: of each its last streamed events, its result, its removal
-- from the queue and completed_task, all at once and only once.
--
-- KEYS  stream, timers, leases, dead, epoch
-- ARGV  prefix of the service's keys, worker, seconds to keep results,
--       seconds to keep sessions, channel of workers ("<namespace>:worker:"),
--       channel, 1: tell the epoch, 2: begin one, as a transaction for the same
--       tasks may come late,
--       then for each task
--       task_id, its entry in the stream,
--       "claim state index n more marked": its state ("completed" | "failed" |
--       "cancelled" | "dead"), the index of the first message, the number of
--       messages, the number of what follows them (0, or 7 and more), 1: its
--       record as it was claimed has marks,
--       its record as it was claimed, its record if that has not changed since
--       and no message was published before, completed_task ("" publish none),
--       message..., and
--       its own channel, input (of a dead one), session ("" none is kept here),
--       prefix of the keys of the service whose task has sent this one ("" none
--       has), that service, that task's id, the event for it,
--       key, value... of the session that were set,
--       and at the end of all 1: events before these are lost, see stream.lua
-- returns {outstanding tasks, the epoch ("" none), for each task 1, or 0: it is
--         not this worker's any more...}
--
-- A dead task's input and error go to the dead-letter stream.
--
-- Most records are as they were claimed: the worker has written the next one
-- then.  It gives "" for the claimed one where it knows that this cannot be.
--
-- ngx_workflow_exec.c does the same without a script where that is enough.

local stream, timers, leases, dead, epoch = unpack(KEYS)
local prefix, worker, keep, session_ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local workers, control = ARGV[5], ARGV[6]

-- include task
-- include stream

-- What needs it is rare.

local said

local function clock()
    if not said then
-- include clock
        said = stamp
    end

    return said
end

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
        local claim, state, index, n, more, marked
            = string.match(text, '^(%d+) (%a+) (%d+) (%d+) (%d+) (%d)$')

        head = {claim = claim, state = state, index = tonumber(index),
                n = tonumber(n), more = tonumber(more), marked = marked == '1'}
        heads[text] = head
    end

    return head
end

local starts, keys, nstarts, at = {}, {}, 0, 8

while at < #ARGV do
    local head = head_of(ARGV[at + 2])

    nstarts = nstarts + 1
    starts[nstarts] = at
    keys[nstarts] = prefix .. 'task:' .. ARGV[at]
    at = at + 6 + head.n + head.more
end

local known = redis.call('MGET', unpack(keys))
local answers, n, ends, ids, entries = {0, ''}, 0, {}, {}, {}
local before, gone = {}, {}

-- of those that are not as they were claimed
local changed = {}

local function forget(id)
    gone[#gone + 1] = prefix .. 'events:' .. id
    gone[#gone + 1] = prefix .. 'saved:' .. id
end

-- Whether it is to be ended: it is this worker's, and runs.

local function check(i, id, head)
    local state, entry, owner, claim, attempts, streamed, marks
        = string.match(known[i] or '',
                       '^(%a+) (%S+) (%S+) (%d+) (%d+) (%d+) (%S+)')

    answers[i + 2] = 0

    if owner ~= worker or claim ~= head.claim then
        return false
    end

    if state == 'running' then
        streamed = tonumber(streamed)
        changed[i] = {entry = entry, attempts = attempts,
                      streamed = math.max(streamed, head.index),
                      gap = head.index > streamed and not is_lost}

        if marks ~= '-' then
            forget(id)
        end

        return true
    end

    if state == head.state then
        -- this very call, a second time: the first may have failed half way
        answers[i + 2] = 1
        before[#before + 1] = {i, entry}
        forget(id)
    end

    return false
end

for i = 1, nstarts do
    local at = starts[i]
    local id, entry, claimed = ARGV[at], ARGV[at + 1], ARGV[at + 3]
    local is_plain = claimed ~= '' and known[i] == claimed
    local head = head_of(ARGV[at + 2])

    if is_plain and head.marked then
        forget(id)
    end

    if is_plain or check(i, id, head) then
        local was = changed[i]

        if was and was.gap then
            return redis.error_reply(gap)
        end

        n = n + 1
        ends[n], ids[n] = i, id
        entries[n] = was and was.entry or entry
        answers[i + 2] = 1
    end
end

-- A first write that Redis allows when it is out of memory allows those behind
-- it; and nothing is published before something was written, so that a refusal
-- leaves nothing half done.

if n > 0 then
    redis.call('ZREM', leases, unpack(ids))
end

-- The record of one that has changed, from "created" on as the worker has it.

local function record_of(text, was, head, streamed)
    return head.state .. ' ' .. was.entry .. ' ' .. worker .. ' ' .. head.claim
           .. ' ' .. was.attempts .. ' ' .. streamed .. ' - ' .. clock()
           .. string.match(text, '^' .. string.rep('%S+ ', 7) .. '%S+( .*)$')
end

for k = 1, n do
    local i = ends[k]
    local at, was = starts[i], changed[i]
    local head, text, completed = head_of(ARGV[at + 2]), ARGV[at + 4],
                                  ARGV[at + 5]
    local index, first, last = head.index, at + 6, at + 5 + head.n
    local channel = head.more > 0 and ARGV[last + 1] or control
    local streamed = was and was.streamed or index

    for j = first, last do
        -- the last one, a StopEvent, has the first index that is free
        if index == streamed or j == last then
            redis.call('PUBLISH', channel, ARGV[j])
            streamed = streamed + 1
        end

        index = index + 1
    end

    if was then
        text = record_of(text, was, head, streamed)
    end

    redis.call('SET', keys[i], text, 'EX', keep)

    if head.more > 0 then
        local set = last + 8
        local input, session = ARGV[last + 2], ARGV[last + 3]

        if head.state == 'dead' then
            local task = read_task(text)

            write('XADD', dead, 'MAXLEN', '~', 10000, '*', 'task', ARGV[at],
                  'session', task.session or '', 'input', input, 'error',
                  task.error or '', 'attempts', task.attempts,
                  'created', string.match(task.origin, '^%d+'),
                  'updated', task.updated)
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
-- taken once.  What is included is rarely needed.

local function reply_for(at)
    local head = head_of(ARGV[at + 2])

    if head.more > 0 then
        local last = at + 5 + head.n
        local parent, service, id, event = unpack(ARGV, last + 4, last + 7)

        if parent ~= '' then
-- include ring
-- include requeue
-- include epoch
-- include give
-- include reply
            reply_to(parent, id, event, clock(), workers, service)
        end
    end
end

for k = 1, n do
    reply_for(starts[ends[k]])
end

for _, e in ipairs(before) do
    local i, entry = unpack(e)

    reply_for(starts[i])
    n = n + 1
    entries[n] = entry
end

if n > 0 then
    redis.call('XACK', stream, 'workers', unpack(entries))
    redis.call('XDEL', stream, unpack(entries))
end

answers[1] = redis.call('XLEN', stream) + redis.call('ZCARD', timers)

if ARGV[7] ~= '0' then
    local value = ARGV[7] == '1' and redis.pcall('GET', epoch)

    if type(value) == 'string' and string.find(value, '^%d+%.%d+$') then
        answers[2] = value

    elseif n > 0 then
-- include epoch
        answers[2] = begin_epoch(epoch)
    end
end

return answers
