-- What is claimed for a worker: claims[nclaims] is the last one; see claim.lua.
-- Nothing is written before keep_claims().

local deadline = string.format('%.0f', now + lease)
local size = 0

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
        if attempts >= tonumber(max_attempts) then
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

-- Claim what was queued; how many there were.

local function take_entries(entries)
    local ids, keys, known, inputs = look_at(entries)
    local n = 0

    for i, item in ipairs(entries) do
        local new = 'queued ' .. item[1] .. ' - 0 0 0 - - '
        local text = #ids[i] <= 256 and known[i] or ''

        if string.sub(text, 1, #new) == new then
            take_new(ids[i], keys[i], item[1], string.sub(text, #new + 1),
                     inputs[i])
            n = n + 1
        else
            local task = read_task(text)
            local state = task and task.entry == item[1] and task.state

            if state == 'queued' then
                take(ids[i], keys[i], task, inputs[i])
                n = n + 1

            elseif state ~= 'running' then
                redis.call('XACK', stream, 'workers', item[1])
                redis.call('XDEL', stream, item[1])
            end
        end
    end

    return n
end

-- Write what was claimed.

local function keep_claims()
    if owned > 0 then
        redis.call('MSET', unpack(written))
        redis.call('ZADD', leases, unpack(taken))
    end
end
