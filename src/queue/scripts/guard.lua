-- Touch the epoch of a service if it is not the expected one: a transaction that
-- watches it is not executed then.
--
-- KEYS  epoch
-- ARGV  the expected one

local epoch = KEYS[1]

-- its value stays; what is not there cannot be touched, and is made

if redis.pcall('GET', epoch) ~= ARGV[1]
   and redis.call('EXPIRE', epoch, 30 * 24 * 3600) == 0
then
    redis.call('SET', epoch, '', 'EX', 30 * 24 * 3600)
end
