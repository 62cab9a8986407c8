-- Tell the workers of a service that a task which one of them runs may not be as
-- that has claimed it any more: see ngx_workflow_epoch.c.  No value comes twice,
-- and one that is of no use any more goes away.

local function begin_epoch(epoch)
    local time = redis.call('TIME')
    local value = time[1] .. '.' .. time[2]

    redis.call('SET', epoch, value, 'EX', 30 * 24 * 3600)

    return value
end
