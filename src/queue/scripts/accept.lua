-- Take new tasks into the queue, and claim what is to be claimed next.
--
-- KEYS  stream
-- ARGV  prefix of the service's keys, worker, number of tasks that it claims at
--       once (0: another one is woken), milliseconds of a lease, number of
--       attempts, 1: sessions are kept here, limit of the stream (0 none);
--       and for each task
--       task_id, input, its record from the digest on, and what is special of
--       it: "" or "remember only length seen reply", that is,
--       seconds to remember the message (0: it has no id of its own),
--       1: only if the service has been here,
--       what it is remembered by, after its length,
--       "service\ntask_id" of the task that sends it ("" none)
-- returns {outstanding tasks, 1 if there may be more to claim, an answer for each,
--          claim...}, claims as claim.lua has them;
--         an answer is "accepted" | "known" | "conflict" | "full" | "unknown"
--         or, to a task that another one sends,
--         {"ended", outstanding tasks, state, result | "", error | ""}
--
-- A known task is not queued again; "conflict" if it had another input.  Those
-- claimed are the first of the queue, whoever has put them into it.

local stream, prefix, worker, lease = KEYS[1], ARGV[1], ARGV[2], ARGV[4]
local count, sessions = tonumber(ARGV[3]), ARGV[6] == '1'
local leases, timers = prefix .. 'leases', prefix .. 'timers'
local queued = redis.call('XLEN', stream)

-- What the worker is handed of a new task, which may have had events before.

local function claim_of(at, record, is_marked)
    local claim, length, from = {ARGV[at], record, ARGV[at + 1]}

    if sessions then
        length, from = string.match(ARGV[at + 2],
                                    '^%S+ session=(%d+)[^\n]*\n()')
    end

    if length or is_marked then
        local given = is_marked and redis.pcall('LRANGE', prefix .. 'events:'
                                                .. ARGV[at], 0, 63) or {}
        local values = length and redis.pcall('HGETALL', prefix .. 'session:'
                       .. string.sub(ARGV[at + 2], from, from + length - 1))
                       or {}

        claim[4], claim[5] = '', given.err and {} or given
        claim[6], claim[7] = '', values.err and {} or values
    end

    return claim
end

-- One that comes alone, of which nothing is special, and that finds nothing else
-- in the queue, is claimed at once.

if #ARGV == 11 and ARGV[11] == '' and count > 0 and queued == 0 then
    local id = ARGV[8]
    local key = prefix .. 'task:' .. id

    if redis.call('EXISTS', key, prefix .. 'events:' .. id) == 0 then
        local entry = redis.call('XADD', stream, '*', 'task', id,
                                 'input', ARGV[9])
        local read = redis.pcall('XCLAIM', stream, 'workers', worker, 0, entry,
                                 'FORCE', 'JUSTID', 'LASTID', entry)

        if read[1] == entry then
-- include clock
            local record = 'running ' .. entry .. ' ' .. worker .. ' 1 1 0 - '
                           .. stamp .. ' ' .. string.match(entry, '^%d+') .. ' '
                           .. ARGV[10]

            redis.call('SET', key, record)
            redis.call('ZADD', leases, now + lease, id)

            return {1 + redis.call('ZCARD', timers), 0, 'accepted',
                    claim_of(8, record)}
        end

        -- nobody has claimed anything before: it comes again below

        redis.call('XDEL', stream, entry)
    end
end

local limit, n = tonumber(ARGV[7]), 0
local keys, events = {}, {}

for at = 8, #ARGV, 4 do
    n = n + 1
    keys[n], events[n] = prefix .. 'task:' .. ARGV[at],
                         prefix .. 'events:' .. ARGV[at]
end

local known = redis.call('MGET', unpack(keys))
local early = n == 1 or redis.call('EXISTS', unpack(events)) > 0

-- Answers, and claims behind them; entries of new ones; where their arguments
-- are; which of them have had events before.

local claims, entries, taken, marked, nnew = {0, 0}, {}, {}, {}, 0

for i = 1, n do
    local at = 4 + 4 * i
    local id, special, text = ARGV[at], ARGV[at + 3], known[i]
    local remember, only, seen, reply = '0', '0', nil, ''
    local answer

    if special ~= '' then
        local length, from

        remember, only, length, from = string.match(special,
                                                    '^(%d+) (%d) (%d+) ()')
        seen = prefix .. 'seen:' .. string.sub(special, from, from + length - 1)
        reply = string.sub(special, from + length + 1)
    end

    if text then
-- include task

        local task = read_task(text)
        local digest = task and string.match(task.origin, ' (%S+)$')

        -- a task that was refused has no digest
        if task and digest ~= '-'
           and digest ~= string.match(ARGV[at + 2], '^%S+')
        then
            answer = 'conflict'

        elseif task and reply ~= '' and not is_alive(task) then
            answer = {'ended', queued + redis.call('ZCARD', timers), task.state,
                      task.result or '', task.error or ''}

        elseif task then
            answer = 'known'

            if reply ~= '' and not task.reply then
                task.reply = reply
                redis.call('SET', keys[i], write_task(task))
            end
        end
    end

    if not answer and taken[id] then
        answer = string.match(ARGV[taken[id] + 2], '^%S+')
                 == string.match(ARGV[at + 2], '^%S+') and 'known' or 'conflict'
    end

    if answer then
        -- it is told

    elseif only == '1' and redis.call('EXISTS', stream) == 0 then
        answer = 'unknown'

    elseif remember ~= '0' and redis.call('EXISTS', seen) == 1 then
        answer = 'known'

    elseif limit > 0 and queued >= limit then
        answer = 'full'

    else
        if remember ~= '0' then
            redis.call('SET', seen, id, 'EX', remember)
        end

        answer, queued, nnew = 'accepted', queued + 1, nnew + 1
        entries[nnew] = redis.call('XADD', stream, '*', 'task', id,
                                   'input', ARGV[at + 1])

        if n > 1 then
            taken[id] = at
        end

        if early and redis.call('PERSIST', events[i]) == 1 then
            marked[i] = true
        end
    end

    claims[2 + i] = answer
end

-- What is to be claimed: so many new ones, or others; whether there may be more.

local nowned, others, more = 0, nil, nnew > 0

if nnew > 0 and count > 0 then
    local read = redis.pcall('XREADGROUP', 'GROUP', 'workers', worker,
                             'COUNT', count, 'STREAMS', stream, '>')

    read = read and not read.err and read[1][2] or {}

    if read[1] and read[1][1] == entries[1] then
        nowned = #read
    elseif read[1] then
        others = read
    end

    more = #read == 0 or read[#read][1] ~= entries[nnew]
end

local nclaims, written, owned, j, updated, deadline = 2 + n, {}, {}, 0

if nowned > 0 then
-- include clock
    updated, deadline = stamp, string.format('%.0f', now + lease)
end

for i = 1, n do
    if claims[2 + i] == 'accepted' then
        local at = 4 + 4 * i
        local entry, mark, record

        j = j + 1
        entry, mark = entries[j], marked[i] and 'events ' or '- '
        record = ' ' .. string.match(entry, '^%d+') .. ' ' .. ARGV[at + 2]

        if j > nowned then
            record = 'queued ' .. entry .. ' - 0 0 0 ' .. mark .. '-' .. record
        else
            record = 'running ' .. entry .. ' ' .. worker .. ' 1 1 0 ' .. mark
                     .. updated .. record

            nclaims = nclaims + 1
            claims[nclaims] = claim_of(at, record, marked[i])
            owned[2 * j - 1], owned[2 * j] = deadline, ARGV[at]
        end

        written[2 * j - 1], written[2 * j] = keys[i], record
    end
end

if j > 0 then
    redis.call('MSET', unpack(written))
end

if nowned > 0 then
    redis.call('ZADD', leases, unpack(owned))
end

if others then
    local max_attempts = ARGV[5]

-- include clock
-- include task
-- include claims
    take_entries(others)
    keep_claims()
end

-- another worker may have what this one does not claim

if more then
-- include ring
    ring(prefix .. 'bell')
end

claims[1] = queued + redis.call('ZCARD', timers)
claims[2] = more and 1 or 0

return claims
