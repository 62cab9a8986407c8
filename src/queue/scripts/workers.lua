-- The workers that have claimed tasks of a service and whose names begin with
-- a prefix, that of a machine; those of other machines that have not been seen
-- for long and have nothing left are forgotten.
--
-- KEYS  stream
-- ARGV  prefix of names, milliseconds after which a worker is forgotten
-- returns {name...}

local stream, prefix, limit = KEYS[1], ARGV[1], tonumber(ARGV[2])

local reply = redis.pcall('XINFO', 'CONSUMERS', stream, 'workers')
local names = {}

if type(reply) ~= 'table' or reply.err then
    -- there is no stream yet, or no group
    return names
end

for _, item in ipairs(reply) do
    local fields = {}

    for i = 1, #item, 2 do
        fields[item[i]] = item[i + 1]
    end

    if string.sub(fields.name, 1, #prefix) == prefix then
        names[#names + 1] = fields.name

    elseif fields.pending == 0 and fields.idle > limit then
        redis.call('XGROUP', 'DELCONSUMER', stream, 'workers', fields.name)
    end
end

return names
