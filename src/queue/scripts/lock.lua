-- Take a lock, or give it back.
--
-- KEYS  lock
-- ARGV  token, milliseconds after which it is gone (0: give it back)
-- returns 1: it is this one's (was, when it is given back) | 0

local lock = KEYS[1]
local token, keep = ARGV[1], tonumber(ARGV[2])

-- an answer may have been lost, and this be the call that took it once more

local mine = redis.call('GET', lock) == token

if keep == 0 then
    return mine and redis.call('DEL', lock) or 0
end

if mine then
    redis.call('PEXPIRE', lock, keep)
    return 1
end

-- a first write that Redis allows when it is out of memory allows those
-- behind it
redis.call('DEL', lock .. ':')

return redis.call('SET', lock, token, 'NX', 'PX', keep) and 1 or 0
