-- milliseconds since the epoch, and as text

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stamp = time[1] .. string.sub('00000' .. time[2], -6, -4)
