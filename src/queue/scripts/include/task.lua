-- A task in Redis: a line that says where it stands,
--
--     state entry worker claim attempts streamed marks updated created digest
--     parts
--
-- "-" where there is nothing, and behind it what may be long, as it is: the
-- parts that the line names with their lengths, "session=36,input=230".  While
-- "updated" is nothing it is as "created".  See also claim.lua, finish.lua and
-- ngx_workflow_record.c.

local all_marks = {'resume', 'kept', 'events', 'cancel', 'expired',
                   'exhausted'}
local all_parts = {'session', 'reply', 'input', 'saved', 'result', 'error'}

-- nil: there is none

local function read_task(text)
    local state, entry, worker, claim, attempts, streamed, marks, updated,
          origin, parts, at
        = string.match(text or '', '^(%a+) (%S+) (%S+) (%d+) (%d+) (%d+) (%S+)'
                                   .. ' (%S+) (%d+ %S+) (%S+)\n()')
    if not state then
        return nil
    end

    local task = {
        state = state, entry = entry, worker = worker, claim = claim,
        attempts = attempts, streamed = streamed, updated = updated,
        origin = origin
    }

    if marks ~= '-' then
        for mark in string.gmatch(marks, '%a+') do
            task[mark] = true
        end
    end

    if parts ~= '-' then
        for name, n in string.gmatch(parts, '(%a+)=(%d+)') do
            task[name] = string.sub(text, at, at + n - 1)
            at = at + n
        end
    end

    return task
end

local function write_task(task)
    local marks, parts, rest = '', '', ''

    for _, mark in ipairs(all_marks) do
        if task[mark] then
            marks = marks .. ',' .. mark
        end
    end

    for _, name in ipairs(all_parts) do
        local part = task[name]

        if part then
            parts = parts .. ',' .. name .. '=' .. #part
            rest = rest .. part
        end
    end

    return task.state .. ' ' .. task.entry .. ' ' .. task.worker .. ' '
           .. task.claim .. ' ' .. task.attempts .. ' ' .. task.streamed .. ' '
           .. (marks == '' and '-' or string.sub(marks, 2)) .. ' '
           .. task.updated .. ' ' .. task.origin .. ' '
           .. (parts == '' and '-' or string.sub(parts, 2)) .. '\n' .. rest
end

-- What is there but is no string is none, either.

local function task_at(key)
    return read_task(redis.call('MGET', key)[1])
end

-- it has not ended

local function is_alive(task)
    local state = task.state

    return state == 'queued' or state == 'running' or state == 'waiting'
end

local function is_of(task, worker, claim)
    return task ~= nil and task.worker == worker and task.claim == claim
end
