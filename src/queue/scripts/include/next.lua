-- Give a worker the first entry that is still to be claimed; whether it is this
-- one.

local function is_next(stream, worker, entry)
    local streams = redis.pcall('XREADGROUP', 'GROUP', 'workers', worker,
                                'COUNT', 1, 'STREAMS', stream, '>')

    return streams and not streams.err and streams[1][2][1][1] == entry
end
