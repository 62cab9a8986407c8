-- End one task that is as it was claimed.  finish.lua ends all others.
--
-- KEYS  stream
-- ARGV  prefix of the service's keys, seconds to keep the result, channel, and
--       as for finish.lua
--       task_id, its entry in the stream, "claim state index n more marked",
--       its record as it was claimed, its record, completed_task ("" publish
--       none), message...
-- returns outstanding tasks; or nil, and nothing is done: it is not as it was

local stream, prefix, channel = KEYS[1], ARGV[1], ARGV[3]
local id, entry, completed = ARGV[4], ARGV[5], ARGV[9]
local call, key = redis.call, prefix .. 'task:' .. id

if redis.pcall('GET', key) ~= ARGV[7] then
    return false
end

-- A first write that Redis allows when it is out of memory allows those behind
-- it; and nothing is published before something was written, so that a refusal
-- leaves nothing half done.

call('ZREM', prefix .. 'leases', id)

for i = 10, #ARGV do
    call('PUBLISH', channel, ARGV[i])
end

call('SET', key, ARGV[8], 'EX', ARGV[2])

if completed ~= '' then
    call('PUBLISH', channel, completed)
end

if string.sub(ARGV[6], -1) == '1' then
    call('DEL', prefix .. 'events:' .. id, prefix .. 'saved:' .. id)
end

call('XACK', stream, 'workers', entry)
call('XDEL', stream, entry)

return call('XLEN', stream) + call('ZCARD', prefix .. 'timers')
