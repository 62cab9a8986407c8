-- Wake an idle worker.

local function ring(bell)
    if redis.call('LLEN', bell) == 0 then
        redis.call('RPUSH', bell, 1)
    end
end
