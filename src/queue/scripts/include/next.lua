-- Give a worker the first entry that is still to be claimed; whether it is this
-- one, as it must be if it is the only one.  Another one is anybody's until the
-- worker has repeated its claims.

local function is_next(stream, leases, worker, entry, is_only)
    if is_only then
        local taken = redis.pcall('XCLAIM', stream, 'workers', worker, 0, entry,
                                  'FORCE', 'JUSTID', 'LASTID', entry)

        return taken[1] == entry
    end

    local streams = redis.pcall('XREADGROUP', 'GROUP', 'workers', worker,
                                'COUNT', 1, 'STREAMS', stream, '>')
    local first = streams and not streams.err and streams[1][2][1]

    if first and first[1] ~= entry and first[2][1] == 'task' then
        redis.call('ZADD', leases, 'NX', 0, first[2][2])
    end

    return first and first[1] == entry
end
