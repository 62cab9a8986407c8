-- Give a worker the first entry that is still to be claimed; whether it is this
-- one.  Another one is anybody's until the worker has repeated its claims.

local function is_next(stream, leases, worker, entry, stamp)
    local streams = redis.pcall('XREADGROUP', 'GROUP', 'workers', worker,
                                'COUNT', 1, 'STREAMS', stream, '>')
    local first = streams and not streams.err and streams[1][2][1]

    if first and first[1] ~= entry and first[2][1] == 'task' then
        redis.call('ZADD', leases, 'NX', stamp, first[2][2])
    end

    return first and first[1] == entry
end
